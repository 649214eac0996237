"""A secret, and the file that it may stand in."""

import os
import stat
from pathlib import Path

import pytest

from guard import token as module
from guard.token import MAX_BYTES, Token, TokenError, read_token


def written(path: Path, text: str | bytes = "secret\n", mode: int = 0o600) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def test_only_the_same_word_matches() -> None:
    """And never the word that is not there."""
    token = Token("secret")
    assert token.known
    assert (token.word, Token().word) == ("secret", "")
    assert token.matches("secret")
    for wrong in ("", "secre", "secrets", "Secret", "sécret", "\udcff\udcfe", None):
        assert not token.matches(wrong)
    nobody = Token()
    assert not nobody.known
    assert not nobody.matches("")
    assert not nobody.matches(None)


def test_it_is_compared_as_bytes() -> None:
    """What a header holds that is no UTF-8 comes as surrogates, and is the bytes again."""
    raw = b"\xff\xfe\x80"
    token = Token(raw.decode("utf-8", "surrogateescape"))
    assert token.matches(raw.decode("utf-8", "surrogateescape"))
    assert not token.matches("\ufffd\ufffd\ufffd")


def test_it_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the function that is made for it, with bytes on both sides."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return False

    monkeypatch.setattr(module.hmac, "compare_digest", compare)
    assert not Token("secret").matches("secret")
    assert compared == [(b"secret", b"secret")]


def test_it_is_not_shown() -> None:
    """Neither in a log nor in a traceback."""
    assert "secret" not in repr(Token("secret"))


def test_a_file_may_appear_and_change(tmp_path: Path) -> None:
    """Containers start in any order; and once known it stays known."""
    file = tmp_path / "token"
    token = Token(file=file)
    token.check()
    assert not token.known
    assert not token.matches("first")
    written(file, "first\n")
    assert token.matches("first")
    written(file, "second\n")
    assert token.matches("second")
    assert not token.matches("first")
    file.unlink()
    assert token.known
    assert token.matches("second")
    assert not token.matches("")


def test_a_file_that_becomes_useless_opens_nothing_and_is_said_once(tmp_path: Path) -> None:
    """The word of before stays."""
    said: list[str] = []
    file = written(tmp_path / "token", "first\n")
    token = Token(file=file, say=said.append)
    assert token.matches("first")
    written(file, "", 0o600)
    assert not token.matches("")
    assert token.matches("first")
    written(file, "other\n", 0o644)
    assert not token.matches("other")
    assert token.matches("first")
    assert said == [f"{file}: is empty: put one word in", f"{file}: others may use it: chmod 600 {file}"]


def test_the_word_of_the_environment_wins(tmp_path: Path) -> None:
    """Over a file that says another."""
    token = Token("given", written(tmp_path / "token", "filed\n"))
    assert token.matches("given")
    assert not token.matches("filed")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604, 0o602, 0o660, 0o666, 0o610])
def test_a_file_that_others_may_use_is_refused(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line with the remedy."""
    file = written(tmp_path / "token", mode=mode)
    if os.geteuid() == 0:
        os.chown(file, 12345, -1)
        monkeypatch.setattr(module.os, "geteuid", lambda: 12345)
    with pytest.raises(TokenError, match=r"token: others may use it: chmod 600 /"):
        read_token(file)
    with pytest.raises(TokenError):
        Token(file=file).check()


def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They know what is in it."""
    file = written(tmp_path / "token")
    if os.geteuid() == 0:
        os.chown(file, 12345, -1)
    monkeypatch.setattr(module.os, "geteuid", lambda: 54321)
    with pytest.raises(TokenError, match="belongs to somebody else"):
        read_token(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of root")
@pytest.mark.parametrize(
    ("mode", "taken"), [(0o640, True), (0o600, True), (0o644, False), (0o660, False), (0o650, False)]
)
def test_roots_file_may_be_read_by_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, taken: bool
) -> None:
    """So one container hands it to others; nobody else reads it, and nobody but root writes it."""
    file = written(tmp_path / "token", mode=mode)
    monkeypatch.setattr(module.os, "geteuid", lambda: 12345)
    if taken:
        assert read_token(file) == b"secret"
    else:
        with pytest.raises(TokenError, match="others may use it"):
            read_token(file)


@pytest.mark.parametrize("text", ["two words", "two\nlines", "a\x00b", "a\x7fb", "x" * (MAX_BYTES + 1)])
def test_what_is_no_word_is_refused(tmp_path: Path, text: str) -> None:
    """No header could carry it, or it is another file."""
    with pytest.raises(TokenError, match="is not one word"):
        read_token(written(tmp_path / "token", text))
    with pytest.raises(TokenError, match="is not one word"):
        Token(text)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder, nothing, and a pipe, for which nobody waits."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    for path, words in (
        (tmp_path, "is no file"),
        (pipe, "is no file"),
        (tmp_path / "none", "cannot be read"),
    ):
        with pytest.raises(TokenError, match=words):
            read_token(path)
