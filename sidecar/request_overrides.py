"""What an app asks for with one of its requests, in Envoy's headers: they stand above the route's words.

Believed from the app behind this sidecar only; an ingress drops them. A value that is not understood is
ignored, as Envoy does. Source: Envoy's router filter, 'HTTP headers (consumed)'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from .policy.deadline import parse_remaining
from .policy.retry import MAX_ATTEMPTS, RetryPolicy
from .policy.retry_on import read_retry_on

TIMEOUT: Final = b"x-envoy-upstream-rq-timeout-ms"
PER_TRY: Final = b"x-envoy-upstream-rq-per-try-timeout-ms"
MAX_RETRIES: Final = b"x-envoy-max-retries"
RETRY_ON: Final = b"x-envoy-retry-on"


def asked_timeout(fields: Mapping[bytes, bytes]) -> float | None:
    """Seconds for the whole answer; `inf` for 0, None when nothing is asked."""
    return _seconds(fields.get(TIMEOUT))


def asked_retry(fields: Mapping[bytes, bytes], base: RetryPolicy) -> RetryPolicy | None:
    """`base` with what is asked; None when nothing is."""
    if not (RETRY_ON in fields or MAX_RETRIES in fields or PER_TRY in fields):
        return None
    policy = base
    per_try = _seconds(fields.get(PER_TRY))
    if per_try is not None:
        policy = replace(policy, per_try_s=per_try)
    words = fields.get(RETRY_ON)
    if words is not None:
        read = read_retry_on(words.decode("latin-1"))
        attempts = 2 if policy.max_attempts == 1 else policy.max_attempts  # Envoy's num_retries is 1 then
        policy = replace(
            policy, retry_on=read.conditions, statuses=read.statuses, unsafe_too=True, max_attempts=attempts
        )
    count = fields.get(MAX_RETRIES)
    if count is not None and count.isdigit() and len(count) < 4:
        attempts = min(int(count) + 1, MAX_ATTEMPTS)
        policy = replace(policy, max_attempts=attempts, max_connect_attempts=attempts)
    return policy


def _seconds(value: bytes | None) -> float | None:
    given = None if value is None else parse_remaining(value)
    return math.inf if given == 0.0 else given
