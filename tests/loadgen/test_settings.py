"""Limits and rates: nonsense is refused with words before it does harm."""

import math

import pytest

from loadgen.patterns import CONSTANT, parse_pattern
from loadgen.settings import MAX_RATE, Limits, SettingError, check_rate


@pytest.mark.parametrize("rate", [0, 1, 0.5, MAX_RATE])
def test_good_rates(rate: float) -> None:
    """0 is a rate: idle but alive."""
    assert check_rate(rate, CONSTANT) == rate


@pytest.mark.parametrize(
    "rate", [-1, -0.001, math.nan, math.inf, -math.inf, MAX_RATE + 1, 10**400, -(10**400)]
)
def test_rates_out_of_range(rate: float) -> None:
    """Also those that no float can hold."""
    with pytest.raises(SettingError, match="rate must be between 0 and 20000 requests/s, not"):
        check_rate(rate, CONSTANT)


@pytest.mark.parametrize("rate", ["5", None, True, [], {}])
def test_rates_of_another_type(rate: object) -> None:
    """A text with digits is no number, and true is not 1."""
    with pytest.raises(SettingError, match="rate must be a number"):
        check_rate(rate, CONSTANT)


def test_the_peak_of_the_pattern_counts() -> None:
    """A modest rate may hide in a tall spike."""
    with pytest.raises(SettingError, match="peaks at 50000"):
        check_rate(5000, parse_pattern("spike:factor=10"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0.0},
        {"timeout": 1000.0},
        {"timeout": math.nan},
        {"max_in_flight": 0},
        {"max_in_flight": 10**9},
        {"trace_sample": 1.1},
        {"trace_sample": math.nan},
    ],
)
def test_limits_are_checked_when_made(wrong: dict[str, float]) -> None:
    """The word that is wrong stands in the message."""
    name = next(iter(wrong)).replace("_", "-")
    with pytest.raises(SettingError, match=name):
        Limits(**wrong)  # type: ignore[arg-type]
