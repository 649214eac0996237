"""Which requests a rule means: conditions on method, path, headers and query, compiled once, tested on
bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote_to_bytes

from registry import regexp

Headers = Sequence[tuple[bytes, bytes]]
HTTP_PORT = 80


@dataclass(frozen=True, slots=True)
class Text:
    """One condition on a value: exact, prefix, regex (of the whole value; as in Envoy, `ignore_case` is
    nothing to it) or present.
    """

    kind: Literal["exact", "prefix", "regex", "present"]
    value: bytes = b""
    ignore_case: bool = False
    _fits: Callable[[bytes], bool] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind == "regex":
            object.__setattr__(self, "_fits", regexp.compile(self.value.decode()).fullmatch)
        elif self.ignore_case:
            object.__setattr__(self, "value", self.value.lower())

    def test(self, value: bytes) -> bool:
        """Does the value meet the condition."""
        if self._fits is not None:
            return self._fits(value)
        if self.ignore_case:
            value = value.lower()
        if self.kind == "exact":
            return value == self.value
        return self.kind == "present" or value.startswith(self.value)


@dataclass(frozen=True, slots=True)
class Match:
    """All conditions must hold. Names of headers are lower case; a header given several times is joined by a
    comma.
    """

    path: Text | None = None
    method: Text | None = None
    authority: Text | None = None
    headers: tuple[tuple[bytes, Text], ...] = ()
    without: tuple[tuple[bytes, Text], ...] = ()
    query: tuple[tuple[bytes, Text], ...] = ()
    port: int | None = None

    def matches(self, method: bytes, path: bytes, headers: Headers, authority: bytes = b"") -> bool:
        """`path` is the origin-form target with its query; the path condition sees it without."""
        bare, _, query = path.partition(b"?")
        if self.path is not None and not self.path.test(bare):
            return False
        if self.method is not None and not self.method.test(method):
            return False
        if self.authority is not None and not self.authority.test(authority):
            return False
        if self.port is not None and self.port != port_of(authority):
            return False
        for name, text in self.headers:
            value = value_of(headers, name)
            if value is None or not text.test(value):
                return False
        for name, text in self.without:
            value = value_of(headers, name)
            if value is not None and text.test(value):
                return False
        if self.query:
            given = parse_query(query)
            for name, text in self.query:
                parameter = given.get(name)
                if parameter is None or not text.test(parameter):
                    return False
        return True

    def covers(self, other: "Match") -> bool:
        """Is every request that `other` means meant by this one too (said only where it is certain)."""
        return (
            _wider(self.path, other.path)
            and (self.method is None or self.method == other.method)
            and (self.authority is None or self.authority == other.authority)
            and (self.port is None or self.port == other.port)
            and set(self.headers) <= set(other.headers)
            and set(self.without) <= set(other.without)
            and set(self.query) <= set(other.query)
        )


def _wider(wide: Text | None, narrow: Text | None) -> bool:
    if wide is None or wide == narrow or (wide.kind == "prefix" and wide.value in (b"", b"/")):
        return True  # every path begins with a slash
    if narrow is None or wide.ignore_case != narrow.ignore_case:
        return False
    return (
        wide.kind == "prefix" and narrow.kind in ("prefix", "exact") and narrow.value.startswith(wide.value)
    )


def port_of(authority: bytes) -> int:
    """The port that `host[:port]` names; 80 if none, as HTTP has it."""
    _, colon, port = authority.rpartition(b":")
    return int(port) if colon and port.isdigit() and len(port) <= 5 else HTTP_PORT


def value_of(headers: Headers, wanted: bytes) -> bytes | None:
    """The value of a header (lower-case name); given several times, joined by commas; None if it is not
    there.
    """
    found: bytes | None = None
    for name, value in headers:
        if len(name) == len(wanted) and name.lower() == wanted:
            found = value if found is None else found + b"," + value
    return found


def parse_query(query: bytes) -> dict[bytes, bytes]:
    """First value of each parameter, percent-decoded."""
    found: dict[bytes, bytes] = {}
    for part in query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            found.setdefault(unquote_to_bytes(name), unquote_to_bytes(value.replace(b"+", b" ")))
    return found
