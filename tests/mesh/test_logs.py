"""The last lines of a log, and the lines that come."""

import tracemalloc
from pathlib import Path

import pytest

from mesh.logs import BLOCK_BYTES, MAX_TAIL_BYTES, Follower, last_line, tail


def test_the_tail_of_a_long_file_is_whole_lines(tmp_path: Path) -> None:
    """Read from the end, over more than one block."""
    file = tmp_path / "a.log"
    lines = [f"line {number} {'x' * 100}" for number in range(2 * BLOCK_BYTES // 100)]
    file.write_text("\n".join(lines) + "\n")
    assert tail(file, 3) == lines[-3:]
    assert tail(file, 1000) == lines[-1000:]
    assert tail(file, 10**6) == lines
    assert tail(file, 0) == []


@pytest.mark.parametrize(("text", "expected"), [("", []), ("a", ["a"]), ("a\nb", ["a", "b"]), ("\n", [""])])
def test_short_files_and_none(tmp_path: Path, text: str, expected: list[str]) -> None:
    """A file without a last line end, an empty one, no file at all."""
    file = tmp_path / "a.log"
    file.write_text(text)
    assert tail(file, 5) == expected
    assert tail(tmp_path / "none", 5) == []


def test_the_last_line_is_the_one_that_says_something(tmp_path: Path) -> None:
    """For a traceback that is the error."""
    file = tmp_path / "a.log"
    file.write_text("Traceback:\n  File\nValueError: no\n\n")
    assert last_line(file) == "ValueError: no"
    file.write_text("  + Exception Group Traceback:\n    | ValueError: in a group\n    +------------\n")
    assert last_line(file) == "ValueError: in a group"
    assert last_line(tmp_path / "none") == ""


def test_a_follower_gives_what_is_new_in_whole_lines(tmp_path: Path) -> None:
    """Half a line waits for its end; a file that was emptied is read anew."""
    file = tmp_path / "a.log"
    file.write_text("old\n")
    follower = Follower(file)
    assert list(follower.lines()) == []
    with file.open("a") as log:
        log.write("one\ntw")
    assert list(follower.lines()) == ["one"]
    with file.open("a") as log:
        log.write("o\n")
    assert list(follower.lines()) == ["two"]
    file.write_text("new\n")
    assert list(follower.lines()) == ["new"]
    file.unlink()
    assert list(follower.lines()) == []


def test_lines_end_where_their_writer_ended_them(tmp_path: Path) -> None:
    """What else Unicode takes for the end of a line is text; and with its errors kept, so are all bytes."""
    file = tmp_path / "a.log"
    data = "one\x0b\x0c\x1c\x85\u2028still one\r\n".encode() + b"\xff\xfe two\n"
    file.write_bytes(data)
    assert tail(file, 5) == ["one\x0b\x0c\x1c\x85\u2028still one\r", "\ufffd\ufffd two"]
    lines = tail(file, 5, "surrogateescape")
    assert "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape") == data


def test_a_log_without_a_line_end_is_read_no_further_than_its_last_bytes(tmp_path: Path) -> None:
    """Neither in memory nor in time: each block is read once."""
    file = tmp_path / "a.log"
    with file.open("wb") as log:
        log.seek(20 * MAX_TAIL_BYTES)  # a hole: it takes no disk
        log.write(b"the end")
    tracemalloc.start()
    try:
        [line] = tail(file, 10_000)
        assert tracemalloc.get_traced_memory()[1] < 5 * MAX_TAIL_BYTES
    finally:
        tracemalloc.stop()
    assert len(line) <= MAX_TAIL_BYTES + BLOCK_BYTES
    assert line.endswith("the end")


def test_a_follower_comes_past_a_line_that_is_too_long(tmp_path: Path) -> None:
    """It is given in pieces, and what comes behind it is not held up."""
    file = tmp_path / "a.log"
    file.write_text("")
    follower = Follower(file)
    file.write_bytes(b"x" * (MAX_TAIL_BYTES + 10) + b"\nnext\n")
    assert [len(line) for line in follower.lines()] == [MAX_TAIL_BYTES]
    assert list(follower.lines()) == ["x" * 10, "next"]
