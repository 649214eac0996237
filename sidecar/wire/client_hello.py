"""The name that a TLS client asks for (SNI), read from its first bytes (RFC 8446 section 4.1.2, RFC 6066).

Nothing is decrypted, and nothing is checked but what it takes to find the name: the server judges the rest.
"""

from __future__ import annotations

from typing import Final

HELLO_MAX: Final = 64 * 1024
"""Bytes of a hello, as in Envoy's tls_inspector; with post-quantum keys it has two thousand."""

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
_VERSION_AND_RANDOM: Final = 34


class Incomplete(Exception):
    """More bytes are needed to tell."""


def server_name(data: bytes) -> str | None:
    """The name, in lower case, '' if the client names none; None if this is no TLS.

    Raises:
        Incomplete: when the hello is not whole.
    """
    if not data:
        raise Incomplete
    if data[0] != _HANDSHAKE or (len(data) > 1 and data[1] != 3):
        return None
    hello = _handshake(data)
    if hello is None:
        return None
    try:
        return _name_of(hello)
    except IndexError:  # its lengths do not fit
        return None


def _handshake(data: bytes) -> bytes | None:
    """The first handshake message, put together from its records."""
    found = b""
    at = 0
    while True:
        if len(data) < at + 5:
            raise Incomplete
        length = int.from_bytes(data[at + 3 : at + 5], "big")
        if data[at] != _HANDSHAKE or not length:
            return None
        found += data[at + 5 : at + 5 + length]
        if found[0:1] and found[0] != _CLIENT_HELLO:
            return None
        if len(found) >= 4:
            size = int.from_bytes(found[1:4], "big")
            if size > HELLO_MAX:
                return None
            if len(found) >= 4 + size:
                return found[4 : 4 + size]
        at += 5 + length
        if at > len(data):
            raise Incomplete


def _name_of(hello: bytes) -> str:
    """Raises IndexError for lengths that do not fit."""
    rest = hello[_VERSION_AND_RANDOM:]
    for width in (1, 2, 1):  # session id, cipher suites, compression methods
        rest = _cut(rest, width)[1]
    if not rest:
        return ""  # no extensions at all
    extensions = _cut(rest, 2)[0]
    while extensions:
        kind = int.from_bytes(extensions[:2], "big")
        body, extensions = _cut(extensions[2:], 2)
        if kind == _SERVER_NAME:
            names = _cut(body, 2)[0]
            while names:
                form = names[0]
                name, names = _cut(names[1:], 2)
                if form == _HOST_NAME:
                    return name.decode("latin-1").lower().rstrip(".")
    return ""


def _cut(data: bytes, width: int) -> tuple[bytes, bytes]:
    """(a field that begins with its length, what is behind it)."""
    if len(data) < width:
        raise IndexError
    end = width + int.from_bytes(data[:width], "big")
    if end > len(data):
        raise IndexError
    return data[width:end], data[end:]
