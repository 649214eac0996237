"""One rule for the listeners of the registry, of the sidecar's admin and of the load generator."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from guard.caller import foreign_page, is_loopback, names_this_machine
from guard.token import Token

# Methods that change nothing.
READS = frozenset({"GET", "HEAD", "OPTIONS"})
# Of a Host header that is named in a refusal.
SHOWN = 80


@dataclass(frozen=True, slots=True)
class Refusal:
    """401 when a token would open, else 403; `words` are one line."""

    status: int
    words: str


class Gate:
    """Who may do what at one listener.

    No page of another site may use it. Without a token this machine may do all. With one, what acts needs it,
    whoever asks, because a machine may have several users; this machine still reads without. Another machine
    needs the token for all but what is `public`; when `anybody` may, it is as this machine.
    """

    def __init__(
        self, what: str, token: Token, public: Container[str] = frozenset(), *, anybody: bool = False
    ) -> None:
        self._what = what
        self._token = token
        self._public = public
        self._anybody = anybody

    def refusal(
        self, method: str, path: str, peer: str | None, headers: Mapping[str, str], given: str | None
    ) -> Refusal | None:
        """Why this request is refused; None when it is not. `given` is the token that it brings."""
        local = is_loopback(peer)
        host = headers.get("Host")
        # who asks from elsewhere calls us by a name that we need not know, and then needs the token
        if local and host is not None and not names_this_machine(host):
            return Refusal(403, f"this is {self._what} of this machine, not {host[:SHOWN]!r}: use 127.0.0.1")
        if foreign_page(method, headers):
            return Refusal(403, f"a page from elsewhere may not use {self._what}")
        reads = method in READS
        if reads and (local or self._anybody or path in self._public):
            return None
        if self._token.known:
            if self._token.matches(given):
                return None
            return Refusal(401, f"{self._what} wants its token: send Authorization: Bearer TOKEN")
        if local or self._anybody:
            return None
        return Refusal(403, f"{self._what} has no token: without one it takes this from its own machine only")


def bearer(headers: Mapping[str, str]) -> str | None:
    """The word after `Authorization: Bearer`."""
    scheme, _, word = headers.get("Authorization", "").partition(" ")
    return word.strip() if scheme.lower() == "bearer" else None
