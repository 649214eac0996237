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

# Headers that the mesh believes only from itself (design: "Headers between sidecars and services").
MESH_ONLY: frozenset[bytes] = frozenset(
    (
        b"x-envoy-attempt-count",
        b"x-envoy-expected-rq-timeout-ms",
        b"x-envoy-overloaded",
        b"x-envoy-upstream-service-time",
        b"x-envoy-peer-metadata-id",
        b"x-mesh-criticality",
        b"x-mesh-reason",
        b"endpoint-load-metrics",
    )
)

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


def forwardable(headers: Iterable[Header], drop: frozenset[bytes]) -> list[bytes]:
    """The field lines that pass, as they go out: original case and order, repeated fields repeated."""
    return [b"%b: %b\r\n" % (name, value) for name, low, value in headers if low not in drop]


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
