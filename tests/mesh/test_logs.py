"""The last lines of a log, and the lines that come."""

from pathlib import Path

import pytest

from mesh.logs import BLOCK_BYTES, Follower, last_line, tail


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
