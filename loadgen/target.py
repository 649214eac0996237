"""What is requested: the address of the one target and the bytes of a request to it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""HEAD is left out: the parser cannot be told that its answers have no body."""

MAX_HEADERS = 50
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OURS = frozenset({"host", "traceparent", "connection", "content-length", "transfer-encoding"})


class TargetError(ValueError):
    """A target that cannot be requested; its text is one line with the remedy."""


@dataclass(frozen=True, slots=True)
class Target:
    """One URL, ready to be sent: `head` lacks only the traceparent line and the empty line after it."""

    url: str
    host: str
    port: int
    head: bytes

    def request(self, traceparent: str) -> bytes:
        """The whole request, which never has a body."""
        return b"%btraceparent: %b\r\n\r\n" % (self.head, traceparent.encode())


def parse_target(url: str, *, method: str = "GET", headers: Iterable[str] = ()) -> Target:
    """Check a URL, a method and `Name: value` headers; TargetError says what is wrong with them."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError as error:
        raise TargetError(f"URL {url[:80]!r}: {error}") from error
    if parts.scheme != "http":
        raise TargetError(f"URL {url[:80]!r}: only http:// is spoken here; TLS belongs to the mesh")
    if not parts.hostname or not parts.hostname.isascii() or re.search(r"[\s%]", parts.hostname):
        raise TargetError(f"URL {url[:80]!r}: it needs a host, as in http://127.0.0.1:8080/")
    if parts.username is not None:
        raise TargetError(f"URL {url[:80]!r}: put credentials into --header 'Authorization: ...'")
    if method not in METHODS:
        raise TargetError(f"method {method[:20]!r}: one of {', '.join(METHODS)}")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        path += "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._[]")
    netloc = parts.netloc.rpartition("@")[2]
    lines = [f"{method} {path} HTTP/1.1", f"host: {netloc}", *_checked(headers)]
    if not any(line.lower().startswith("user-agent:") for line in lines):
        lines.append("user-agent: loadgen")
    if method not in ("GET", "DELETE"):
        lines.append("content-length: 0")
    head = "".join(f"{line}\r\n" for line in lines).encode("ascii")
    return Target(f"http://{netloc}{path}", parts.hostname, port if port is not None else 80, head)


def _checked(headers: Iterable[str]) -> list[str]:
    lines = []
    for header in headers:
        name, colon, value = header.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise TargetError(f"header {header[:60]!r}: write it as 'Name: value', in ASCII, on one line")
        if name.lower() in _OURS:
            raise TargetError(f"header {name!r}: the generator sets it itself")
        lines.append(f"{name}: {value}")
    if len(lines) > MAX_HEADERS:
        raise TargetError(f"{len(lines)} headers: at most {MAX_HEADERS}")
    return lines
