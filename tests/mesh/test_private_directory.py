"""A directory is used only when it is ours alone; what else it could be is refused in one line."""

import os
import stat
from pathlib import Path

import pytest

from mesh.errors import StateRefused
from mesh.private_directory import open_private, private_directory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_one_of_an_earlier_version_is_closed_to_others(folder: Path) -> None:
    """Ours, but readable by all: what was in it stays."""
    (folder / "file").write_text("words")
    folder.chmod(0o755)
    with private_directory(folder) as here:
        assert here.read("file", 100) == b"words"
    assert mode(folder) == 0o700


@pytest.mark.parametrize("open_to", [0o720, 0o770, 0o702, 0o1777])
def test_one_that_others_may_write_in_is_refused(folder: Path, open_to: int) -> None:
    """They may have put there what is in it; it is not changed either."""
    folder.chmod(open_to)
    words = (
        rf"^others may write in {folder} \(mode {open_to:04o}\): nothing in it is believed \(remove it, .*\)$"
    )
    with pytest.raises(StateRefused, match=words), private_directory(folder):
        pass
    assert mode(folder) == open_to


def test_one_of_somebody_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when its mode is right; so is a file in our own."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    words = (
        rf"^{folder} belongs to .*uid {os.getuid()}\)?, not to you: nothing in it is believed \(move it .*\)$"
    )
    with pytest.raises(StateRefused, match=words), private_directory(folder):
        pass
    (folder / "file").touch()
    with pytest.raises(StateRefused, match="belongs to"):
        open_private(folder / "file", os.O_RDONLY)


def test_a_link_or_a_file_in_its_place_is_refused(folder: Path, tmp_path: Path) -> None:
    """A link to a folder that would be fine, a link to nothing, a file; nothing is made behind a link."""
    link, dangling, file = tmp_path / "link", tmp_path / "dangling", tmp_path / "file"
    link.symlink_to(folder)
    dangling.symlink_to(tmp_path / "nothing")
    file.touch()
    for path, what in ((link, "a link"), (dangling, "a link"), (file, "no folder")):
        with (
            pytest.raises(StateRefused, match=f"^{path} is {what}: remove it"),
            private_directory(path, make=True),
        ):
            pass
    assert not (tmp_path / "nothing").exists()


def test_there_need_not_be_one(tmp_path: Path) -> None:
    """And one that is made is ours alone."""
    with pytest.raises(FileNotFoundError), private_directory(tmp_path / "none"):
        pass
    with (
        private_directory(tmp_path / "new", make=True) as here,
        private_directory(here.path / "in", here, make=True),
    ):
        pass
    assert (mode(tmp_path / "new"), mode(tmp_path / "new" / "in")) == (0o700, 0o700)


def test_a_file_is_replaced_as_a_whole(folder: Path) -> None:
    """Not through a link, of which the half-written one could be one too."""
    victim = folder.parent / "victim"
    victim.write_text("precious")
    (folder / "file").symlink_to(victim)
    (folder / "file.new").symlink_to(victim)
    with private_directory(folder) as here:
        here.replace("file", b"new")
        assert here.files() == ["file"]
    assert (folder / "file").read_text() == "new"
    assert mode(folder / "file") == 0o600
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    "flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_TRUNC]
)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "two names"])
def test_what_is_no_file_of_one_name_is_refused(folder: Path, kind: str, flags: int) -> None:
    """At once, with its path, and its content is what it was."""
    victim = folder.parent / "victim"
    victim.write_text("precious")
    path = folder / "file"
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.hardlink_to(victim)
    with private_directory(folder) as here:
        with pytest.raises(StateRefused, match=f"^{path} is .*: remove it"):
            here.open("file", flags)
        if kind == "folder":
            for act in (lambda: here.remove("file"), lambda: here.replace("file", b"")):
                with pytest.raises(StateRefused, match="is a folder: remove it"):
                    act()
    assert victim.read_text() == "precious"


def test_reading_stops_at_the_limit(folder: Path) -> None:
    """One byte more says that there is more."""
    (folder / "file").write_bytes(b"x" * 100)
    with private_directory(folder) as here:
        assert here.read("file", 100) == b"x" * 100
        assert here.read("file", 10) == b"x" * 11
        assert here.read("none", 10) is None
