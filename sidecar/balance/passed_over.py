"""How many attempts went elsewhere while an endpoint's breaker was open: what its open breaker kept from it.

Attempts are counted per endpoint anyway, so all that is needed is their sum when a breaker opens and when it
no longer is: a request pays nothing.
"""

from collections.abc import Sequence

from ..policy.machine import State
from .endpoints import Endpoint


def note_open(endpoints: Sequence[Endpoint]) -> None:
    """Breakers may have changed: begin and end the counts."""
    total = _attempts(endpoints)
    for endpoint in endpoints:
        is_open = endpoint.breaker.state is State.OPEN
        if is_open and endpoint.passed_from is None:
            endpoint.passed_from = total
        elif not is_open and endpoint.passed_from is not None:
            endpoint.passed_over += max(0, total - endpoint.passed_from)
            endpoint.passed_from = None


def passed_over(endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> int:
    """Attempts that it did not get because of its breaker, so far; never goes back."""
    if endpoint.passed_from is None:
        return endpoint.passed_over
    return endpoint.passed_over + max(0, _attempts(endpoints) - endpoint.passed_from)


def _attempts(endpoints: Sequence[Endpoint]) -> int:
    return sum(endpoint.requests for endpoint in endpoints)
