"""Answers of a route's own, without any service: redirect, fixed answer, CORS preflight, fallback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .header_values import Answered, resolved

if TYPE_CHECKING:
    from .exchange_state import ExchangeState
    from .routing.route import Route
    from .wire.events import RequestHead

Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class DirectAnswer:
    """`detail` goes to the access log, in Envoy's words where it has them."""

    status: int
    fields: Fields
    body: bytes
    detail: str


def pairs(head: RequestHead) -> Fields:
    """The fields as the routing code takes them."""
    return [(name, value) for name, _, value in head.headers]


def of_route(route: Route, head: RequestHead, exchange: ExchangeState) -> DirectAnswer | None:
    """What the route answers by itself to this request; None = it goes to a service."""
    if route.cors is not None:
        allowed = route.cors.preflight(head.method, pairs(head))
        if allowed is not None:
            return DirectAnswer(200, allowed, b"", "cors_preflight")
    if route.redirect is not None:
        where = route.redirect.location("http", head.host.decode("latin-1"), head.target)
        return _answer(route, exchange, route.redirect.code, [(b"location", where)], b"", "redirect")
    if route.direct is not None:
        kind = (b"content-type", b"text/plain; charset=utf-8")
        fields = [kind] if route.direct.body else []
        return _answer(route, exchange, route.direct.status, fields, route.direct.body, "direct_response")
    return None


def _answer(
    route: Route, exchange: ExchangeState, status: int, fields: Fields, body: bytes, detail: str
) -> DirectAnswer:
    operations = resolved(route.response_headers, exchange, Answered(status, fields, "direct_response"))
    return DirectAnswer(status, operations.apply(fields), body, detail)
