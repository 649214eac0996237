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
from functools import partial
from pathlib import Path
from typing import IO, cast

from mesh.errors import MeshError, UsageError

VERSION = 1
# An hour of the shop; a browser has to hold all of it to play it.
MAX_BYTES = 400 * 1024 * 1024
GZIP = b"\x1f\x8b"
PIECE_BYTES = 1 << 20
# The first line says what it is, in three short fields; within these the first message begins, too.
MAX_HEADER_BYTES = 4096
MAX_NAME = 256
# More than a year is no recording of a mesh.
MAX_SECONDS = 1e8
# In these last bytes the last whole message is looked for, which says how long the recording is.
TAIL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Recording:
    """One that was looked through: `seconds` is its length, `pieces(path)` its text."""

    name: str
    mesh: str
    seconds: float
    path: Path


def read_recording(path: Path) -> Recording:
    """Raises UsageError for what is not a recording; one that was cut off is played as far as it goes."""
    text = pieces(path)
    start = b""
    while len(start) <= MAX_HEADER_BYTES and (piece := next(text, b"")):
        start += piece
    first, _, rest = start.partition(b"\n")
    header = _object(first) if len(first) <= MAX_HEADER_BYTES else None
    if header is None or header.get("recording") != VERSION:
        raise UsageError(f"{path}: not a recording (the page's Record button and mesh record make them)")
    if not rest.lstrip().startswith(b"{"):
        raise UsageError(f"{path}: the recording is empty")
    tail = rest[-TAIL_BYTES:]
    for piece in text:
        tail = (tail + piece)[-TAIL_BYTES:]
    return Recording(path.name, str(header.get("mesh") or "mesh")[:MAX_NAME], _last_time(tail), path)


def pieces(path: Path) -> Iterator[bytes]:
    """The text of the file, unpacked, a megabyte at a time; raises UsageError when too long or damaged."""
    size = 0
    too_long = f"longer than {MAX_BYTES >> 20} MiB, too long for a page to play"
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP)) == GZIP
            file.seek(0)
            for piece in _unpacked(file, path) if packed else iter(partial(file.read, PIECE_BYTES), b""):
                size += len(piece)
                if size > MAX_BYTES:
                    raise UsageError(f"{path}: {too_long}")
                yield piece
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error


def _unpacked(file: IO[bytes], path: Path) -> Iterator[bytes]:
    unpack = zlib.decompressobj(wbits=31)
    try:
        while not unpack.eof and (data := file.read(PIECE_BYTES)):
            piece = b"."
            # a megabyte may hold a gigabyte: never more than a piece of it at once
            while data or len(piece) == PIECE_BYTES:
                piece = unpack.decompress(data, PIECE_BYTES)
                data = unpack.unconsumed_tail
                if piece:
                    yield piece
    except zlib.error as error:
        raise UsageError(f"{path}: a damaged gzip file ({error})") from error


def _object(line: bytes) -> dict[str, object] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _last_time(text: bytes) -> float:
    for line in reversed(text.split(b"\n")):
        found = _object(line) if line else None
        at = None if found is None else found.get("t")
        if isinstance(at, int | float) and 0 <= at < MAX_SECONDS:
            return float(at)
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
