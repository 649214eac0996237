"""A recording: what the live page was told, as one file that plays again with no mesh running.

Gzip or plain text, one JSON object a line: first `{"recording": 1, "mesh": NAME, "at": seconds since the
epoch}`, then the messages of `/api/stream` as `{"t": seconds since the start, "event": NAME, "data": …}`.
The page writes the same (js/recorder.js) and reads it (js/recording.js).
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from mesh.errors import MeshError, UsageError

VERSION = 1
# An hour of the shop; a browser has to hold all of it to play it.
MAX_BYTES = 400 * 1024 * 1024
GZIP = b"\x1f\x8b"
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Recording:
    """One that was read; `text` is all of it, `seconds` its length."""

    name: str
    mesh: str
    seconds: float
    text: bytes


def read_recording(path: Path) -> Recording:
    """Raises UsageError for what is not a recording; one that was cut off is played as far as it goes."""
    try:
        with path.open("rb") as file:
            text = _unpacked(file, path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    lines = text.split(b"\n", 2)
    header = _object(lines[0])
    if header is None or header.get("recording") != VERSION:
        raise UsageError(f"{path}: not a recording (the page's Record button and mesh record make them)")
    if len(lines) < 2 or _object(lines[1]) is None:
        raise UsageError(f"{path}: the recording is empty")
    return Recording(path.name, str(header.get("mesh") or "mesh"), _last_time(text), text)


def _unpacked(file: IO[bytes], path: Path) -> bytes:
    head = file.read(2)
    file.seek(0)
    found = bytearray()
    unpack = zlib.decompressobj(wbits=31) if head == GZIP else None
    while len(found) <= MAX_BYTES and (data := file.read(READ_BYTES)):
        try:
            found += data if unpack is None else unpack.decompress(data, MAX_BYTES + 1 - len(found))
        except zlib.error as error:
            raise UsageError(f"{path}: a damaged gzip file ({error})") from error
    if len(found) > MAX_BYTES:
        raise UsageError(f"{path}: longer than {MAX_BYTES >> 20} MiB, too long for a page to play")
    return bytes(found)


def _object(line: bytes) -> dict[str, object] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _last_time(text: bytes) -> float:
    for line in reversed(text[-4 * READ_BYTES :].split(b"\n")):
        found = _object(line)
        if found is not None and isinstance(found.get("t"), int | float):
            return float(found["t"])  # type: ignore[arg-type]  # looked at above
    return 0.0


def record(
    messages: Iterable[tuple[str, str]],
    path: Path,
    seconds: float | None,
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
) -> tuple[int, float]:
    """Write (event, JSON) pairs as they come; returns how many, and how many seconds they span.

    It ends by itself after `seconds` (None: never) and at MAX_BYTES. Ctrl-C and the end of the mesh end it in
    the same way: what was written until then is whole.
    """
    count, size, began, last = 0, 0, clock(), 0.0
    try:
        raw = path.open("xb")
    except FileExistsError:
        raise UsageError(f"{path} is there already: choose another name (-o FILE)") from None
    except OSError as error:
        raise MeshError(f"cannot write {path}: {error.strerror or error}") from error
    with raw, _opened(raw, path) as file:
        try:
            for line, at in _lines(messages, seconds, clock, wall_clock, began):
                file.write(line)
                last = at
                size += len(line)
                count += 1
                if size > MAX_BYTES:
                    break
        except KeyboardInterrupt:
            pass
        except MeshError:
            if not count:
                raise
    return max(0, count - 1), last


def _opened(raw: IO[bytes], path: Path) -> IO[bytes]:
    if path.suffix != ".gz":
        return raw
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="wb"))  # it is one by shape only


def _lines(
    messages: Iterable[tuple[str, str]],
    seconds: float | None,
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
    began: float,
) -> Iterator[tuple[bytes, float]]:
    named = False
    for event, text in messages:
        at = clock() - began
        if seconds is not None and at > seconds:
            return
        if not named:
            named = True
            name = json.loads(text).get("graph", {}).get("name", "mesh")
            header = {"recording": VERSION, "mesh": name, "at": round(wall_clock() - at, 3)}
            yield json.dumps(header).encode() + b"\n", 0.0
        yield f'{{"t":{at:.3f},"event":{json.dumps(event)},"data":{text}}}\n'.encode(), at
