"""Which fields pass a proxy, and which values may never leave it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .events import Header

# RFC 9110 section 7.6.1 and its forerunners. TE and Trailer are written anew where trailers pass.
HOP_BY_HOP: frozenset[bytes] = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"http2-settings",  # belongs to the h2c upgrade, which we do not forward
    )
)

# A client may not talk us out of these by naming them in Connection.
_NEVER_NOMINATED: frozenset[bytes] = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"authorization", b"close", b"keep-alive", b"")
)

# What the mesh believes only from itself: names, and how names begin.
MESH_ONLY: frozenset[bytes] = frozenset((b"endpoint-load-metrics", b"endpoint-load-metrics-bin"))
MESH_ONLY_PREFIXES: tuple[bytes, ...] = (b"x-envoy-", b"x-mesh-")

# CGI and its heirs (WSGI, PHP, Rack) make `_` of every byte that is no letter or digit, so `X_Mesh_Reason`
# and `x.mesh.reason` are as good as the name itself to an app.
_SPELLED = bytes(byte if bytes((byte,)).isalnum() else ord("-") for byte in range(256))

# Names whose verdict is remembered. Names come from anybody, so there is a bound; a busy mesh has some 50.
MAX_REMEMBERED = 1024

_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# RFC 3986 host, with an optional port; no userinfo, blank, comma or slash.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(:[0-9]{0,5})?")


def nominated(connection: bytes | None) -> frozenset[bytes]:
    """The fields that a Connection value asks to drop, without those that it may not name."""
    if connection is None or connection == b"keep-alive" or connection == b"close":
        return frozenset()
    tokens = {token.strip(b" \t").lower() for token in connection.split(b",")}
    return frozenset(tokens - _NEVER_NOMINATED)


def has_token(value: bytes | None, token: bytes) -> bool:
    """Whether a comma-separated field holds a token, in any case."""
    if value is None:
        return False
    return value.lower() == token or token in (part.strip(b" \t").lower() for part in value.split(b","))


class FieldFilter(dict[bytes, bool]):
    """Which fields pass: not those of some names or that begin in some way, in every spelling.

    `filter[low]` is the verdict on a name in lower case. A name is judged once and looked up ever after, for
    one look-up a field is all that the busiest path may cost.

    Args:
        of_app: they are an app's, which cannot say either that it is the mesh (`server: mesh`).
    """

    __slots__ = ("_names", "_prefixes", "of_app")

    def __init__(
        self, names: Iterable[bytes], prefixes: tuple[bytes, ...] = (), *, of_app: bool = False
    ) -> None:
        self._names = frozenset(names)
        self._prefixes = prefixes
        self.of_app = of_app

    def __missing__(self, low: bytes) -> bool:
        spelled = low.translate(_SPELLED)
        passes = spelled not in self._names and not spelled.startswith(self._prefixes)
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        self[low] = passes
        return passes

    def lines(self, headers: Iterable[Header], also: frozenset[bytes] | None) -> list[bytes]:
        """The field lines that pass, as they go out: original case and order, repeated fields repeated.

        Args:
            also: names in lower case that do not pass this time.
        """
        if also:
            return [
                b"%b: %b\r\n" % (name, value) for name, low, value in headers if self[low] and low not in also
            ]
        return [b"%b: %b\r\n" % (name, value) for name, low, value in headers if self[low]]

    def pairs(self, headers: Iterable[Header]) -> list[tuple[bytes, bytes]]:
        """(name, value) of the fields that pass."""
        return [(name, value) for name, low, value in headers if self[low]]


def is_mesh(server: bytes) -> bool:
    """Whether a Server value says what our own answers say."""
    return b"mesh" in server.lower() and has_token(server, b"mesh")


def is_safe_value(value: bytes) -> bool:
    """Whether a value has no CR, LF, NUL or other control byte in it."""
    return _UNSAFE.search(value) is None


def is_host(value: bytes) -> bool:
    """Whether a Host value is one host with an optional port."""
    return _HOST.fullmatch(value) is not None


def keeps_alive(http11: bool, connection: bytes | None) -> bool:
    """Whether a sender with this Connection value wants the connection to stay (RFC 9112 section 9.3)."""
    if connection is None:
        return http11
    if has_token(connection, b"close"):
        return False
    return http11 or has_token(connection, b"keep-alive")
