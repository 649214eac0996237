"""HTTPRetry -> the retries of a route."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ..policy.backoff import BackoffPolicy
from ..policy.retry import CONDITIONS, RetryPolicy
from .virtual_service import HTTPRetry

_REFUSED: Final = {
    **dict.fromkeys(
        ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"),
        "is about gRPC, which is not honoured here",
    ),
    "retriable-4xx": "is not honoured: a 4xx would be the same again",
    "retriable-headers": "is not honoured: use status codes",
    "http3-post-connect-failure": "is not honoured: there is no HTTP/3",
}
BACKOFF_CAP: Final = 10.0  # x base, as in Envoy


def compile_retry(
    block: HTTPRetry | None, path: str, unsafe_too: bool, wrong: Callable[[str, str], None]
) -> RetryPolicy | None:
    """None = as the upstream has it. `path` is the block's place; `wrong(path, words)` hears of problems."""
    if block is None:
        return RetryPolicy(unsafe_too=True) if unsafe_too else None
    policy = RetryPolicy(max_attempts=block.attempts + 1, unsafe_too=unsafe_too)
    if block.attempts == 0:
        return policy
    policy = replace(policy, max_connect_attempts=max(block.attempts + 1, policy.max_connect_attempts))
    if block.perTryTimeout:
        policy = replace(policy, per_try_s=block.perTryTimeout)
    if block.backoff:
        policy = replace(policy, backoff=BackoffPolicy(block.backoff, BACKOFF_CAP * block.backoff))
    if block.retryOn is not None:
        conditions, statuses = set(), set()
        for word in filter(None, (part.strip() for part in block.retryOn.split(","))):
            if word.isascii() and word.isdigit():
                if word == "429":
                    conditions.add("rate-limited")
                elif 500 <= int(word) <= 599:
                    conditions.add("retriable-status-codes")
                    statuses.add(int(word))
                else:
                    wrong(f"{path}.retryOn", f"{word} is no failure of the service")
            elif word == "envoy-ratelimited":
                conditions.add("rate-limited")
            elif word in CONDITIONS:
                conditions.add(word)
            else:
                known = ", ".join(sorted(CONDITIONS))
                words = _REFUSED.get(word, f"is unknown; known are status codes and {known}")
                wrong(f"{path}.retryOn", f"{word!r} {words}")
        policy = replace(policy, retry_on=frozenset(conditions), statuses=frozenset(statuses))
    return policy
