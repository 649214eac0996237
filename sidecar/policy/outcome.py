"""How an attempt ended, and the ONE table of what each ending feeds.

| outcome         | breaker    | may be retried   | balancer penalty | service ok-share | sample of latency |
| --------------- | ---------- | ---------------- | ---------------- | ---------------- | ----------------- |
| SUCCESS         | good       | -                | -                | ok               | yes               |
| CLIENT_ERROR    | good       | never            | -                | ok               | yes               |
| RATE_LIMITED    | ratio only | by policy        | hard             | failed           | no                |
| SHED            | neutral    | never            | hard             | failed           | no                |
| APP_FAILURE     | bad        | if idempotent    | soft             | failed           | no                |
| CONNECT_FAILURE | certain    | always           | hard             | failed           | no                |
| RESET           | certain    | if idempotent    | hard             | failed           | no                |
| REUSED_RESET    | neutral    | if idempotent    | -                | not counted      | no                |
| TIMEOUT_TRY     | by silence | if idempotent    | hard             | failed           | at least elapsed  |
| TIMEOUT_TOTAL   | if slow    | never            | hard if slow     | failed           | at least elapsed  |
| CANCELLED       | if slow    | never            | -                | not counted      | at least elapsed  |

Why: a 4xx proves that the endpoint works. 429 worsens the ratio but is no dead process. SHED is an endpoint
whose own protection works: ejecting it would move its load to the others, so only the balancer turns away. No
byte was processed after a failed connect, so repeating it is always safe. A kept-alive connection that dies
before any answer byte is the normal keep-alive race: nobody is charged. A caller that gave up early says
nothing about the endpoint, unless the attempt was already slow: then it is what a grey failure looks like
from here.
"""

from enum import IntEnum
from typing import Final, NamedTuple


class Outcome(IntEnum):
    """How one attempt ended; the number indexes the tables below."""

    SUCCESS = 0
    CLIENT_ERROR = 1
    RATE_LIMITED = 2
    SHED = 3
    APP_FAILURE = 4
    CONNECT_FAILURE = 5
    RESET = 6
    REUSED_RESET = 7
    TIMEOUT_TRY = 8
    TIMEOUT_TOTAL = 9
    CANCELLED = 10


class Evidence(IntEnum):
    """What a breaker learns from an outcome."""

    GOOD = 0  # the endpoint works
    NEUTRAL = 1  # says nothing
    RATIO = 2  # worsens the ratio, does not make a run, does not pass a probe
    BAD = 3  # it answered, with a failure
    CERTAIN = 4  # it does not answer at all: three in a row are enough
    SILENT = 5  # no answer in time, to anyone: as certain as CERTAIN, but a slow call, not a failed one
    LATE = 6  # no answer in time, though others get theirs: a slow call
    BY_SILENCE = 7  # SILENT if the endpoint answered nobody since, else LATE
    IF_SLOW = 8  # LATE if the attempt was already slow, else NEUTRAL


class RetryRule(IntEnum):
    """When an attempt with this outcome may be repeated at all."""

    NEVER = 0
    IDEMPOTENT = 1
    ALWAYS = 2
    BY_POLICY = 3  # idempotent, and only if the policy names the condition


class Penalty(IntEnum):
    """How the balancer's latency estimate takes a failure (fast errors must attract nothing)."""

    NONE = 0
    SOFT = 1  # blended in: one failure of a thousand must not drain an endpoint
    HARD = 2  # the estimate jumps at once


class Share(IntEnum):
    """What counts for the service-level share of success."""

    UNCOUNTED = 0
    OK = 1
    FAILED = 2


class Feeds(NamedTuple):
    """One row of the table."""

    evidence: Evidence
    retry: RetryRule
    penalty: Penalty
    share: Share
    latency: bool  # elapsed time is a sample of the endpoint's latency (or a lower bound of it)
    answered: bool  # bytes of an answer came back: the endpoint is not silent


FEEDS: Final[tuple[Feeds, ...]] = (
    Feeds(Evidence.GOOD, RetryRule.NEVER, Penalty.NONE, Share.OK, True, True),  # SUCCESS
    Feeds(Evidence.GOOD, RetryRule.NEVER, Penalty.NONE, Share.OK, True, True),  # CLIENT_ERROR
    Feeds(Evidence.RATIO, RetryRule.BY_POLICY, Penalty.HARD, Share.FAILED, False, True),  # RATE_LIMITED
    Feeds(Evidence.NEUTRAL, RetryRule.NEVER, Penalty.HARD, Share.FAILED, False, True),  # SHED
    Feeds(Evidence.BAD, RetryRule.IDEMPOTENT, Penalty.SOFT, Share.FAILED, False, True),  # APP_FAILURE
    Feeds(Evidence.CERTAIN, RetryRule.ALWAYS, Penalty.HARD, Share.FAILED, False, False),  # CONNECT_FAILURE
    Feeds(Evidence.CERTAIN, RetryRule.IDEMPOTENT, Penalty.HARD, Share.FAILED, False, False),  # RESET
    Feeds(
        Evidence.NEUTRAL, RetryRule.IDEMPOTENT, Penalty.NONE, Share.UNCOUNTED, False, False
    ),  # REUSED_RESET
    Feeds(Evidence.BY_SILENCE, RetryRule.IDEMPOTENT, Penalty.HARD, Share.FAILED, True, False),  # TIMEOUT_TRY
    Feeds(Evidence.IF_SLOW, RetryRule.NEVER, Penalty.NONE, Share.FAILED, True, False),  # TIMEOUT_TOTAL
    Feeds(Evidence.IF_SLOW, RetryRule.NEVER, Penalty.NONE, Share.UNCOUNTED, True, False),  # CANCELLED
)

# 501 and 505 speak about the request, not about the endpoint's health.
_ABOUT_THE_REQUEST: Final = frozenset({501, 505})


def classify_status(status: int, overloaded: bool) -> Outcome:
    """The outcome of a complete answer; `overloaded` = it carried `x-envoy-overloaded` (429 or 503 by
    protection).
    """
    if status < 400:
        return Outcome.SUCCESS
    if overloaded and status in (429, 503):
        return Outcome.SHED
    if status == 429:
        return Outcome.RATE_LIMITED
    if status < 500 or status in _ABOUT_THE_REQUEST:
        return Outcome.CLIENT_ERROR
    return Outcome.APP_FAILURE
