"""The forms of a request target other than a path."""

from __future__ import annotations

import re

from .events import ProtocolError
from .headers import is_host

_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


def shadow_host(host: bytes) -> bytes:
    """The Host of a copy for a mirror, as Envoy marks it: `web:8080` becomes `web-shadow:8080`."""
    name, colon, port = host.rpartition(b":")
    return b"%b-shadow:%b" % (name, port) if colon and port.isdigit() else host + b"-shadow"


def other_form(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """(path or '*', host) of a target that does not begin with a slash.

    Absolute-form wins over Host (RFC 9112 section 3.2.2); '*' goes with OPTIONS alone.

    Raises:
        ProtocolError: 400 for what is no target.
    """
    if target == b"*":
        if method != b"OPTIONS":
            raise ProtocolError(400, "'*' goes with OPTIONS only")
        return target, host
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise ProtocolError(400, "bad request target")
    authority, path = absolute.groups()
    if not is_host(authority):
        raise ProtocolError(400, "bad authority in the request target")
    if not path.startswith(b"/"):
        path = b"*" if method == b"OPTIONS" and not path else b"/" + path
    return path, authority
