"""CORS: which origins may read answers, and the answer to a preflight, decided without the service."""

from collections.abc import Sequence
from dataclasses import dataclass

from .match import Text, value_of

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Cors:
    """`forward_unmatched`: a preflight from an origin that is not allowed goes to the service all the
    same.
    """

    origins: tuple[Text, ...]
    methods: tuple[bytes, ...] = ()
    headers: tuple[bytes, ...] = ()
    expose: tuple[bytes, ...] = ()
    max_age_s: int | None = None
    credentials: bool = False
    forward_unmatched: bool = True

    def preflight(self, method: bytes, headers: Headers) -> list[tuple[bytes, bytes]] | None:
        """The headers of a 200 without body, if this is a preflight that we answer; else None.

        An origin that is not allowed and not forwarded gets an empty list: a 200 that allows nothing.
        """
        if method != b"OPTIONS":
            return None
        origin = value_of(headers, b"origin")
        if origin is None or value_of(headers, b"access-control-request-method") is None:
            return None
        if not self._allows(origin):
            return None if self.forward_unmatched else []
        answer = self._common(origin)
        if self.methods:
            answer.append((b"access-control-allow-methods", b", ".join(self.methods)))
        if self.headers:
            answer.append((b"access-control-allow-headers", b", ".join(self.headers)))
        if self.max_age_s is not None:
            answer.append((b"access-control-max-age", b"%d" % self.max_age_s))
        return answer

    def answer(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """What to add to the service's answer to this request; nothing if its origin is not allowed."""
        origin = value_of(headers, b"origin")
        if origin is None or not self._allows(origin):
            return []
        fields = self._common(origin)
        if self.expose:
            fields.append((b"access-control-expose-headers", b", ".join(self.expose)))
        return fields

    def _allows(self, origin: bytes) -> bool:
        return any(text.test(origin) or text.value == b"*" for text in self.origins)

    def _common(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        fields = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
        if self.credentials:
            fields.append((b"access-control-allow-credentials", b"true"))
        return fields
