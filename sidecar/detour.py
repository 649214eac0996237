"""Where a request goes when its destination cannot take it: another arm of its split, or a fallback."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from .direct import DirectAnswer
from .routing.route import Route
from .stack import Upstream

if TYPE_CHECKING:
    from .attempt import Target
    from .proxy import Proxy
    from .wire.events import RequestHead


def other_arm(route: Route, failed: Collection[str], proxy: Proxy) -> tuple[Route, Target] | None:
    """The split drawn anew without the arms that `failed`: a route and its target, and a place there."""
    again = route.again(failed, proxy.rng)
    if again.upstream in failed:
        return None  # there is no other
    target = admit(again.upstream, proxy)
    return None if target is None else (again, target)


def admit(key: str, proxy: Proxy) -> Target | None:
    """A destination whose endpoints are known, with a place held there; None if it has none free now."""
    target = proxy.destination(key)
    if target is None or is_empty(target):
        return None
    rejection = target.start()
    if rejection is None:
        return target
    if rejection.wait_s > 0:
        target.abandon_wait()
    return None


def is_empty(target: Target) -> bool:
    """No instance at all, as when no label fits: a fault of the document, not one to be papered over."""
    return isinstance(target, Upstream) and not target.endpoints.all


def fallback(target: Target | None, head: RequestHead) -> DirectAnswer | str | None:
    """What stands in for a service that is open: an answer, or the key of another destination."""
    policy = target.policy.fallback if isinstance(target, Upstream) else None
    if policy is None or not isinstance(target, Upstream):
        return None
    if policy.static is not None:
        static = policy.static
        fields = [(b"content-type", static.content_type.encode()), (b"x-mesh-fallback", b"static")]
        return DirectAnswer(static.status, fields, static.body, "fallback: a static answer")
    if policy.upstream is not None:
        return policy.upstream
    if target.last_good is None or head.method != b"GET":
        return None
    found = target.last_good.get(head.host.decode("latin-1"), head.target)
    if found is None:
        return None
    kept, marks = found
    return DirectAnswer(kept.status, [*kept.headers, *marks], kept.body, "fallback: the last good answer")
