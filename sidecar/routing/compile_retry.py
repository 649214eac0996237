"""HTTPRetry -> the retries of a route."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ..policy.backoff import BackoffPolicy
from ..policy.retry import RetryPolicy
from ..policy.retry_on import read_retry_on
from .virtual_service import HTTPRetry

BACKOFF_CAP: Final = 10.0  # x base, as in Envoy


def compile_retry(
    block: HTTPRetry | None, path: str, unsafe_too: bool, wrong: Callable[[str, str], None]
) -> RetryPolicy | None:
    """None = as the upstream has it. `path` is the block's place; `wrong(path, words)` hears of problems.

    `retryOn` acts on requests of every method, as Envoy's does. Without it Istio repeats any request that was
    never processed, which is what `unsafe_too` False leaves; whatever is idempotent is repeated on our terms.
    """
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
        read = read_retry_on(block.retryOn)
        for words in read.wrong:
            wrong(f"{path}.retryOn", words)
        policy = replace(policy, retry_on=read.conditions, statuses=read.statuses, unsafe_too=True)
    return policy
