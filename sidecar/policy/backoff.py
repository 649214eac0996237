"""Full-jitter backoff: delays that do not line up."""

import random
from dataclasses import dataclass

from .errors import PolicyError, check_range

RETRY_AFTER_JITTER = 1.5  # a server's hint x is waited U[x, 1.5x], so that its callers do not return as one


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """Attempt n waits U[0, base x 2^(n-1)], never more than `cap_s` (both seconds)."""

    base_s: float = 0.025
    cap_s: float = 0.25

    def __post_init__(self) -> None:
        check_range("backoff.base_s", self.base_s, 0.0, 60.0)
        check_range("backoff.cap_s", self.cap_s, 0.0, 300.0)
        if self.cap_s < self.base_s:
            raise PolicyError("backoff.cap_s", f"must be at least base_s ({self.base_s:g})")


def full_jitter(policy: BackoffPolicy, attempts: int, rng: random.Random) -> float:
    """Seconds to wait after `attempts` (1 or more) failed attempts."""
    return rng.random() * min(policy.cap_s, policy.base_s * (1 << min(attempts - 1, 16)))


def after_hint(retry_after_s: float, rng: random.Random) -> float:
    """Seconds to wait when the server said `Retry-After: retry_after_s`."""
    return retry_after_s * (1.0 + rng.random() * (RETRY_AFTER_JITTER - 1.0))
