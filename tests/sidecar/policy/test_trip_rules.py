"""When a closed endpoint is condemned, and when there is no proof yet."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.errors import PolicyError
from sidecar.policy.trip_rules import BreakerPolicy, judge, wilson_lower
from sidecar.policy.window import CountWindow


def window(total: int, bad: int, slow: int = 0) -> CountWindow:
    """Counts in one bucket."""
    made = CountWindow()
    for index in range(total):
        made.record(100.0, int(index < bad), int(bad <= index < bad + slow))
    return made


@pytest.mark.parametrize(
    ("bad", "total", "expected"), [(1, 1, 0.21), (3, 5, 0.23), (5, 5, 0.57), (10, 20, 0.30), (50, 100, 0.40)]
)
def test_wilson_at_95_percent(bad: int, total: int, expected: float) -> None:
    """The values of the reference, z = 1.96."""
    assert wilson_lower(bad, total, 1.96) == pytest.approx(expected, abs=0.007)


def test_three_silences_are_enough() -> None:
    """Refused, reset or silent: certain evidence needs no ratio."""
    verdict = judge(BreakerPolicy(), window(1000, 3), 1000, 3.0, 3, False)
    assert verdict is not None
    assert verdict.score == 1.0
    assert verdict.reason == "3 attempts in a row without any answer"


def test_three_silences_are_a_matter_of_time() -> None:
    """So the others are asked; two of them, or of anything else, are not yet any."""
    policy = BreakerPolicy()
    assert judge(policy, window(1000, 0, 2), 1000, 0.0, 2, True) is None
    verdict = judge(policy, window(1000, 0, 3), 1000, 0.0, 3, True)
    assert verdict is not None
    assert (verdict.slow, verdict.score) == (True, 1.0)


def test_seven_failures_are_a_run() -> None:
    """Less half a failure for each success between them."""
    policy = BreakerPolicy()
    assert judge(policy, window(1000, 20), 1000, 6.5, 0, False) is None
    verdict = judge(policy, window(1000, 20), 1000, 7.0, 0, False)
    assert verdict is not None
    assert (verdict.slow, verdict.score) == (False, 0.02)


def test_a_tenth_that_fails_is_normal_at_any_volume() -> None:
    """No ratio rule fires at 10 %, from one answer to a thousand."""
    for total in (20, 100, 1000):
        assert judge(BreakerPolicy(), window(total, total // 10), total, 1.0, 0, False) is None


def test_one_of_one_is_no_proof() -> None:
    """Nor is two of two; a young endpoint needs three failures, a settled one four."""
    policy = BreakerPolicy()
    assert judge(policy, window(1, 1), 1, 1.0, 0, False) is None
    assert judge(policy, window(2, 2), 2, 2.0, 0, False) is None
    assert judge(policy, window(3, 3), 3, 3.0, 0, False) is not None
    assert judge(policy, window(3, 3), 500, 3.0, 0, False) is None
    assert judge(policy, window(4, 4), 500, 4.0, 0, False) is not None
    assert judge(policy, window(3, 3), 30, 3.0, 0, False) is not None, "the last that is young"
    assert judge(policy, window(3, 3), 31, 3.0, 0, False) is None
    assert judge(policy, window(10, 3), 10, 3.0, 0, False) is None
    assert judge(BreakerPolicy(z=0.5), window(10, 3), 10, 3.0, 0, False) is not None, "surer than a young one"
    assert wilson_lower(0, 0, 2.6) == 0.0


def test_slow_calls_count_by_their_own_limit() -> None:
    """60 of 100 slow is a slow verdict with its numbers."""
    verdict = judge(BreakerPolicy(), window(100, 0, 60), 100, 0.0, 0, False)
    assert verdict is not None
    assert verdict.slow
    assert verdict.numbers == {"slow": 60, "failed": 0, "of": 100}


def test_slow_and_failed_ones_add_up() -> None:
    """Two of each are no proof of failure, but four calls of four that nobody wants to wait for."""
    verdict = judge(BreakerPolicy(), window(4, 2, 2), 500, 2.0, 0, False)
    assert verdict is not None
    assert verdict.slow
    assert judge(BreakerPolicy(), window(4, 3, 0), 500, 3.0, 0, False) is None


def test_strictly_in_a_row_is_a_setting() -> None:
    """Istio's consecutive5xxErrors compiles to an infinite forgiveness."""
    assert BreakerPolicy(forgive=math.inf).forgive == math.inf
    with pytest.raises(PolicyError, match="forgive"):
        BreakerPolicy(forgive=-1.0)
    with pytest.raises(PolicyError, match="ramp"):
        BreakerPolicy(ramp=(0.5, 0.1))


@given(st.lists(st.sampled_from(["good", "bad", "slow"]), min_size=1, max_size=60), st.randoms())
def test_ratio_verdicts_do_not_depend_on_the_order_within_a_bucket(kinds: list[str], dice: Random) -> None:
    """The same answers in another order give the same verdict by ratio."""
    verdicts = []
    for _ in range(2):
        seen = CountWindow()
        for kind in kinds:
            seen.record(100.0, int(kind == "bad"), int(kind == "slow"))
        verdicts.append(judge(BreakerPolicy(), seen, len(kinds), 0.0, 0, False))
        dice.shuffle(kinds)
    assert verdicts[0] == verdicts[1]
