"""A secret that opens a listener: a word, or a file with it that is read again when it changes or appears."""

import hmac
import os
import stat
from collections.abc import Callable
from pathlib import Path

# A token is a word; a file that is larger is another file.
MAX_BYTES = 4096

_Seen = tuple[int, int, int, int, int, int]


class TokenError(ValueError):
    """A token that cannot be used; one line with the remedy."""


class Token:
    """Compares what a caller gives with the secret, in constant time and as bytes.

    With a `file` it is the word in there. Once known it stays known: a file that is lost opens nothing.
    `say` is told once of each fault of the file.
    """

    def __init__(
        self, value: str = "", file: Path | None = None, say: Callable[[str], None] = lambda words: None
    ) -> None:
        self._value = _checked(value.encode("utf-8", "surrogateescape"), "the token") if value else b""
        self._file = None if value else file
        self._say = say
        self._said = ""
        self._seen: _Seen | None = None

    def __repr__(self) -> str:
        return f"<Token of {self._file}>" if self._file else "<Token>"

    def check(self) -> None:
        """For a start: raises TokenError when the file is there and cannot be used."""
        if self._file is not None and os.path.exists(self._file):
            read_token(self._file)

    @property
    def known(self) -> bool:
        """Whether there is a secret to know."""
        self._look()
        return bool(self._value)

    @property
    def word(self) -> str:
        """The secret itself, for who has to send it; "" as long as there is none."""
        self._look()
        return self._value.decode("utf-8", "surrogateescape")

    def matches(self, given: str | None) -> bool:
        """False as long as there is no secret."""
        self._look()
        if not self._value or given is None:
            return False
        # as they came: a header's bytes that are no UTF-8 are surrogates here
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._value)

    def _look(self) -> None:
        if self._file is None:
            return
        try:
            is_now = _seen(os.stat(self._file))
        except OSError:
            self._seen = None
            return
        if is_now == self._seen:
            return
        try:
            self._value = read_token(self._file)
            self._seen = is_now
        except TokenError as error:
            if str(error) != self._said:
                self._said = str(error)
                self._say(self._said)


def read_token(file: Path) -> bytes:
    """The word in a file that only its owner reads; raises TokenError.

    As with the keys of PostgreSQL's clients, a group may read root's: so one container hands it to others.
    """
    try:
        # not blocking: a pipe in its place must not hold up who looks
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise TokenError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise TokenError(f"{file}: is no file")
        if found.st_uid not in (0, os.geteuid()):
            raise TokenError(f"{file}: belongs to somebody else: make one of your own")
        if found.st_mode & (0o037 if found.st_uid == 0 else 0o077):
            raise TokenError(f"{file}: others may use it: chmod 600 {file}")
        return _checked(os.read(fd, MAX_BYTES + 1), str(file))
    finally:
        os.close(fd)


def _checked(text: bytes, what: str) -> bytes:
    word = text.strip()
    if not word:
        raise TokenError(f"{what}: is empty: put one word in")
    if len(word) > MAX_BYTES or any(byte <= 0x20 or byte == 0x7F for byte in word):
        raise TokenError(f"{what}: is not one word of at most {MAX_BYTES} bytes")
    return word


def _seen(found: os.stat_result) -> _Seen:
    return (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_mode,
        found.st_uid,
    )
