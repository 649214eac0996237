"""Logs of the parts stay at a stated size, and what was written is there in the order in which it was."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh import log_rotation
from mesh.errors import StateRefused
from mesh.log_rotation import LogRotation
from mesh.logs import Follower, older, tail
from mesh.state import StateDirectory

LIMIT = 1000
LINE = "line {:05} with some words in it"  # 33 bytes with its end


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path)
    directory.create()
    return directory


@pytest.fixture
def path(state: StateDirectory) -> Path:
    return state.log_path("a-1", "app")


@pytest.fixture
def out(path: Path) -> Iterator[int]:
    """What a part got as its standard output: it appends, and knows nothing of files."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    yield fd
    os.close(fd)


def write(out: int, first: int, last: int) -> list[str]:
    lines = [LINE.format(number) for number in range(first, last)]
    os.write(out, "".join(f"{line}\n" for line in lines).encode())
    return lines


def test_three_files_of_the_stated_size_are_kept(state: StateDirectory, path: Path, out: int) -> None:
    """The oldest goes; the writer goes on at the beginning of its file, and nobody else may read any."""
    rotation = LogRotation(state, LIMIT)
    for first in range(0, 500, 40):  # 1,320 bytes each
        write(out, first, first + 40)
        rotation.look()
    write(out, 520, 525)
    rotation.look()
    assert sorted(file.name for file in state.logs.iterdir()) == [
        "a-1.app.log",
        "a-1.app.log.1",
        "a-1.app.log.2",
    ]
    assert path.read_text().splitlines() == [LINE.format(number) for number in range(520, 525)]
    assert [file.stat().st_size for file in older(path)] == [1320, 1320]
    assert {stat.S_IMODE(file.stat().st_mode) for file in state.logs.iterdir()} == {0o600}
    assert tail(path, 1000) == [LINE.format(number) for number in range(440, 525)]


def test_a_short_log_and_an_access_log_are_left_alone(state: StateDirectory, path: Path, out: int) -> None:
    """The sidecar that writes an access log moves it itself, and would go on in the old file."""
    write(out, 0, 30)
    state.access_log_path("a-1").write_text("x" * 2 * LIMIT)
    (state.logs / "notes.txt").write_text("x" * 2 * LIMIT)
    LogRotation(state, LIMIT).look()
    assert sorted(file.name for file in state.logs.iterdir()) == [
        "a-1.access.log",
        "a-1.app.log",
        "notes.txt",
    ]


def test_of_a_flood_the_last_lines_are_kept_whole(state: StateDirectory, path: Path, out: int) -> None:
    """A program that writes more between two looks than all files may hold."""
    lines = write(out, 0, 300)
    LogRotation(state, LIMIT).look()
    kept = tail(path, 1000)
    assert LIMIT - 33 < sum(len(line) + 1 for line in kept) <= LIMIT
    assert kept == lines[-len(kept) :]
    assert path.stat().st_size == 0


def test_one_that_is_written_faster_than_copied_comes_to_an_end(
    state: StateDirectory, path: Path, out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block that is read is followed by another one."""
    pread = os.pread

    def more(fd: int, size: int, at: int) -> bytes:
        write(out, 0, 40)
        return pread(fd, size, at)

    monkeypatch.setattr(log_rotation, "BLOCK_BYTES", 500)
    monkeypatch.setattr(os, "pread", more)
    write(out, 0, 40)
    LogRotation(state, LIMIT).look()
    assert older(path)[0].stat().st_size <= 1320 + LIMIT + 500


def test_the_tail_is_read_across_the_files(state: StateDirectory, path: Path, out: int) -> None:
    """A line that was cut by the rotation is one line again."""
    lines = write(out, 0, 40)
    os.write(out, b"half of")
    LogRotation(state, LIMIT).look()
    os.write(out, b" a line\nlast\n")
    assert tail(path, 3) == [lines[-1], "half of a line", "last"]
    assert tail(path, 1000) == [*lines, "half of a line", "last"]


def test_a_follower_goes_on_through_rotations(state: StateDirectory, path: Path, out: int) -> None:
    """Lines that it had not read yet, a line that was cut, and no line twice."""
    write(out, 0, 5)
    follower = Follower(path)
    rotation = LogRotation(state, LIMIT)
    expected: list[str] = []
    seen: list[str] = []
    for first in range(100, 600, 35):
        expected += write(out, first, first + 30)
        seen += follower.lines()
        expected += write(out, first + 30, first + 35)
        os.write(out, b"half of")
        rotation.look()
        os.write(out, b" a line\n")
        expected.append("half of a line")
        seen += follower.lines()
    assert seen == expected


@pytest.mark.parametrize("moment", ["ftruncate", "rename"])
def test_a_follower_that_looks_in_the_midst_of_a_rotation_loses_nothing(
    state: StateDirectory, path: Path, out: int, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the file is emptied, and after it but before the copy is in its place."""
    follower = Follower(path)
    seen: list[str] = []
    lines = write(out, 0, 20)
    seen += follower.lines()
    lines += write(out, 20, 40)

    def look_before(real):  # type: ignore[no-untyped-def]
        def act(*args, **kwargs):  # type: ignore[no-untyped-def]
            seen.extend(follower.lines())
            return real(*args, **kwargs)

        return act

    if moment == "ftruncate":
        monkeypatch.setattr(os, "ftruncate", look_before(os.ftruncate))
    else:
        monkeypatch.setattr(os, "replace", look_before(os.replace))
    LogRotation(state, LIMIT).look()
    monkeypatch.undo()
    lines += write(out, 40, 42)
    seen += follower.lines()
    assert seen == lines


def test_nearly_nothing_is_lost_under_load(state: StateDirectory, path: Path, out: int) -> None:
    """A writer that never pauses while its log is rotated: what is kept is whole lines in order."""
    done = threading.Event()

    def writer() -> None:
        number = 0
        while not done.is_set():
            os.write(out, f"{number}\n".encode())
            number += 1

    thread = threading.Thread(target=writer)
    thread.start()
    rotation = LogRotation(state, 20_000)
    try:
        for _ in range(50):
            while path.stat().st_size <= 20_000:
                pass
            rotation.look()
    finally:
        done.set()
        thread.join()
    numbers = [int(line) for line in tail(path, 10**6)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 5_000
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    assert missing < len(numbers) / 2


def test_a_planted_log_is_not_followed(state: StateDirectory, path: Path, tmp_path: Path) -> None:
    """A link would have another file emptied."""
    victim = tmp_path / "victim"
    victim.write_text("x" * 2 * LIMIT)
    path.hardlink_to(victim)
    with pytest.raises(StateRefused):
        LogRotation(state, LIMIT).look()
    path.unlink()
    path.symlink_to("/" + "x/" * LIMIT)  # its own size is that of the path
    with pytest.raises(StateRefused):
        LogRotation(state, LIMIT).look()
    assert victim.read_text() == "x" * 2 * LIMIT


async def test_a_folder_that_cannot_be_used_is_said_once(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the mesh goes on."""
    looks = 0

    def look(self: LogRotation) -> None:
        nonlocal looks
        looks += 1
        if looks == 4:
            raise InterruptedError("enough")
        raise StateRefused("not ours")

    async def no_time(seconds: float) -> None:
        if looks == 4:
            raise KeyError

    monkeypatch.setattr(LogRotation, "look", look)
    monkeypatch.setattr(log_rotation.asyncio, "sleep", no_time)
    with pytest.raises(KeyError):
        await LogRotation(state).run()
    assert [record.message for record in caplog.records] == [
        "logs are not rotated: not ours",
        "logs are not rotated: enough",
    ]
