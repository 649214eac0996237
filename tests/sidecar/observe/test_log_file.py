"""A log file of the sidecar keeps its stated size, also when several processes write it or one moves it."""

import fcntl
import os
import stat
from pathlib import Path

import pytest

from sidecar.observe.log_file import LogFile

LIMIT = 1000


def batch(number: int, size: int = 300) -> bytes:
    return b"%03d" % number + b"x" * (size - 4) + b"\n"


def numbers(path: Path) -> list[int]:
    return [int(line[:3]) for line in path.read_bytes().splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_three_files_are_kept_none_longer_than_stated(tmp_path: Path) -> None:
    """The newest has the name; lines are whole and in order."""
    path = tmp_path / "access.log"
    file = LogFile(path, LIMIT)
    for number in range(20):
        file.write(batch(number))
    file.close()
    assert names(tmp_path) == ["access.log", "access.log.1", "access.log.2"]
    assert numbers(tmp_path / "access.log.2") == [12, 13, 14]
    assert numbers(tmp_path / "access.log.1") == [15, 16, 17]
    assert numbers(path) == [18, 19]


def test_a_batch_that_is_longer_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    """It is not split, and no empty file comes before it."""
    path = tmp_path / "access.log"
    file = LogFile(path, LIMIT)
    for number in range(3):
        file.write(batch(number, 2 * LIMIT))
    file.close()
    assert [numbers(tmp_path / name) for name in names(tmp_path)] == [[2], [1], [0]]


def test_several_processes_write_one_file(tmp_path: Path) -> None:
    """Workers: one moves it, the others follow, nothing is lost and nothing is moved twice."""
    path = tmp_path / "access.log"
    files = [LogFile(path, LIMIT) for _ in range(3)]
    for number in range(9):
        files[number % 3].write(batch(number))
    for file in files:
        file.close()
    assert [numbers(tmp_path / name) for name in names(tmp_path)] == [[6, 7, 8], [3, 4, 5], [0, 1, 2]]


def test_who_comes_second_does_not_move_the_new_file(tmp_path: Path) -> None:
    """While one holds the file to move it, another one writes on where it is."""
    path = tmp_path / "access.log"
    file = LogFile(path, LIMIT)
    for number in range(3):
        file.write(batch(number))
    mover = os.open(path, os.O_WRONLY)
    fcntl.flock(mover, fcntl.LOCK_EX)
    file.write(batch(3))
    assert names(tmp_path) == ["access.log"]
    path.rename(tmp_path / "access.log.1")
    path.write_bytes(b"")
    os.close(mover)
    file.write(batch(4))
    file.close()
    assert numbers(tmp_path / "access.log.1") == [0, 1, 2, 3]
    assert numbers(path) == [4]


def test_one_that_was_moved_while_waiting_for_it_is_not_moved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the name and the lock, another process did all of it."""
    path = tmp_path / "access.log"
    file, other = LogFile(path, LIMIT), LogFile(path, LIMIT)
    for number in range(3):
        file.write(batch(number))
    lock = fcntl.flock

    def late(fd: int, how: int) -> None:
        monkeypatch.undo()
        other.write(batch(3))
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    file.write(batch(4))
    file.close()
    other.close()
    assert names(tmp_path) == ["access.log", "access.log.1"]
    assert (numbers(tmp_path / "access.log.1"), numbers(path)) == ([0, 1, 2], [3, 4])


def test_a_file_that_somebody_moved_is_begun_anew(tmp_path: Path) -> None:
    """As logrotate does, or a person who removes it."""
    path = tmp_path / "access.log"
    file = LogFile(path, LIMIT)
    file.write(batch(0))
    path.rename(tmp_path / "kept")
    file.write(batch(1))
    assert (numbers(tmp_path / "kept"), numbers(path)) == ([0], [1])
    path.unlink()
    file.write(batch(2))
    file.close()
    assert numbers(path) == [2]


@pytest.mark.parametrize("what", ["link", "/dev/null"])
def test_what_is_no_ordinary_file_is_never_moved(tmp_path: Path, what: str) -> None:
    """/dev/stdout is a link; a moved /dev/null would be a fault of the whole machine."""
    target = tmp_path / "target"
    path = Path(what)
    if what == "link":
        path = tmp_path / "link"
        path.symlink_to(target)
    file = LogFile(path, LIMIT)
    for number in range(10):
        file.write(batch(number))
    file.close()
    assert not Path(f"{path}.1").exists()
    if what == "link":
        assert names(tmp_path) == ["link", "target"]
        assert numbers(target) == list(range(10))


def test_its_mode_is_the_users_choice(tmp_path: Path) -> None:
    """By umask: in a supervised mesh nobody else may read it."""
    before = os.umask(0o027)
    try:
        file = LogFile(tmp_path / "a.log", 10)
        os.umask(0o077)
        file.write(b"0123456789\n")
        file.write(b"0123456789\n")
        file.close()
    finally:
        os.umask(before)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    assert modes == {"a.log": 0o600, "a.log.1": 0o640}


def test_a_full_disk_costs_the_lines_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not the requests that they are about."""
    file = LogFile(tmp_path / "a.log", LIMIT)

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for number in range(3):
        file.write(batch(number))
    monkeypatch.undo()
    file.write(batch(3))
    file.close()
    assert numbers(tmp_path / "a.log") == [3]
    assert len(caplog.records) == 1
    assert "lines are lost: [Errno 28] No space left on device" in caplog.text


def test_where_nothing_can_be_renamed_the_log_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once."""
    path = tmp_path / "a.log"
    file = LogFile(path, LIMIT)

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    for number in range(10):
        file.write(batch(number))
    file.close()
    assert numbers(path) == list(range(10))
    assert len(caplog.records) == 1
    assert "it cannot be renamed" in caplog.text
