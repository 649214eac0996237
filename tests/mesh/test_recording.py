"""Recordings: written as they come, read as far as they go, refused in one line when they are none."""

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.errors import MeshError, UsageError
from mesh.recording import PIECE_BYTES, pieces, read_recording, record
from tests.fakes.clock import FakeClock

HELLO = json.dumps({"graph": {"name": "shop"}, "picture": {}})


def messages(
    clock: FakeClock, count: int, end: type[BaseException] | None = None
) -> Iterator[tuple[str, str]]:
    """One a second, `hello` first."""
    yield "hello", HELLO
    for number in range(1, count):
        clock.advance(1.0)
        yield "second", json.dumps({"row": number})
    if end is not None:
        raise end("over")


def written(
    path: Path, clock: FakeClock, source: Iterator[tuple[str, str]], seconds: float | None = None
) -> int:
    count, _ = record(source, path, seconds, clock, lambda: 1700.0)
    return count


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    """Plain or compressed; with its name, its times and its length."""
    clock = FakeClock()
    assert written(tmp_path / name, clock, messages(clock, 5)) == 5
    found = read_recording(tmp_path / name)
    assert (found.name, found.mesh, found.seconds) == (name, "shop", 4.0)
    lines = [json.loads(line) for line in b"".join(pieces(found.path)).splitlines()]
    assert lines[0] == {"recording": 1, "mesh": "shop", "at": 1700.0}
    assert lines[1] == {"t": 0.0, "event": "hello", "data": json.loads(HELLO)}
    assert lines[5] == {"t": 4.0, "event": "second", "data": {"row": 4}}


def test_it_ends_when_its_time_is_over(tmp_path: Path) -> None:
    """And never later."""
    clock = FakeClock()
    assert written(tmp_path / "a.jsonl", clock, messages(clock, 100), seconds=10.0) == 11


@pytest.mark.parametrize("end", [KeyboardInterrupt, MeshError])
def test_what_came_until_the_end_is_kept(tmp_path: Path, end: type[BaseException]) -> None:
    """Ctrl-C, or a mesh that is gone."""
    clock = FakeClock()
    assert written(tmp_path / "a.jsonl.gz", clock, messages(clock, 3, end)) == 3
    assert read_recording(tmp_path / "a.jsonl.gz").seconds == 2.0


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    """Nobody's recording is written over."""
    path = tmp_path / "a.jsonl"
    path.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        written(path, FakeClock(), messages(FakeClock(), 2))
    assert path.read_text() == "mine"


def test_one_that_was_cut_off_is_played_as_far_as_it_goes(tmp_path: Path) -> None:
    """The machine went down while it was written."""
    clock = FakeClock()
    written(tmp_path / "whole.jsonl.gz", clock, messages(clock, 2000))
    data = (tmp_path / "whole.jsonl.gz").read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(data[: len(data) // 2])
    found = read_recording(tmp_path / "cut.jsonl.gz")
    assert 100 < found.seconds < 1999


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a recording"),
        (b"\x00\x01 nonsense", "not a recording"),
        (b'{"some": "json"}\n', "not a recording"),
        (b'{"recording": 2}\n{"t": 1}\n', "not a recording"),
        (b'{"recording": 1, "mesh": "shop"}\n', "is empty"),
        (b"\x1f\x8b not gzip at all", "a damaged gzip file"),
        (gzip.compress(b"[" * 100_000), "not a recording"),
    ],
)
def test_what_is_no_recording_is_one_line(tmp_path: Path, data: bytes, words: str) -> None:
    """With the file's name."""
    path = tmp_path / "some.file"
    path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read_recording(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """In the system's words."""
    with pytest.raises(UsageError, match="No such file"):
        read_recording(tmp_path / "none")


def bomb(path: Path, megabytes: int) -> None:
    """So many megabytes of a recording's lines in a thousandth of that."""
    line = json.dumps({"t": 1.0, "event": "second", "data": " " * 1_000_000}).encode() + b"\n"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"recording": 1, "mesh": "shop"}\n')
        for _ in range(megabytes):
            file.write(line)


def test_a_bomb_is_refused_by_the_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, and no more than some pieces of it were ever in memory."""
    monkeypatch.setattr("mesh.recording.MAX_BYTES", 30 << 20)
    bomb(tmp_path / "a.jsonl.gz", 60)
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="longer than 30 MiB, too long for a page to play"):
            read_recording(tmp_path / "a.jsonl.gz")
        assert tracemalloc.get_traced_memory()[1] < 8 * PIECE_BYTES
    finally:
        tracemalloc.stop()


def test_a_long_recording_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    """Neither when it is looked through nor when it is played; plain or packed."""
    bomb(tmp_path / "a.jsonl.gz", 60)
    (tmp_path / "b.jsonl").write_bytes(gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()))
    for name in ("a.jsonl.gz", "b.jsonl"):
        tracemalloc.start()
        try:
            found = read_recording(tmp_path / name)
            sizes = [len(piece) for piece in pieces(found.path)]
            assert tracemalloc.get_traced_memory()[1] < 8 * PIECE_BYTES
        finally:
            tracemalloc.stop()
        assert max(sizes) <= PIECE_BYTES
        assert sum(sizes) == (tmp_path / "b.jsonl").stat().st_size


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([b'{"t": 1, "event": "hello", "data": {}}', b'{"t": 7.5, "event": "second", "data": {}}', b""], 7.5),
        ([b'{"t": 1, "event": "hello", "data": {}}', b'{"t": 9, "event": "sec'], 1.0),
        (
            [b'{"t": 1, "event": "hello", "data": {}}', b'{"t": 1e308}', b'{"t": -3}', b'{"t": "x"}', b"[1]"],
            1.0,
        ),
        ([b"{}", b"\n" * 5000, b'{"t": 3, "event": "second", "data": {}}'], 3.0),
    ],
)
def test_the_last_whole_message_says_how_long_it_is(
    tmp_path: Path, lines: list[bytes], seconds: float
) -> None:
    """What is cut off or says nonsense does not."""
    (tmp_path / "a.jsonl").write_bytes(b'{"recording": 1}\n' + b"\n".join(lines))
    assert read_recording(tmp_path / "a.jsonl").seconds == seconds
