"""The shapes: their areas are the integrals of their values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.patterns import parse_pattern

SHAPES = [
    "constant",
    "ramp:start=0,end=3,over=7s",
    "ramp:start=2,end=0,over=5s",
    "step:levels=0/2/0.5,every=3s",
    "sine:amplitude=1,period=4s",
    "sine:amplitude=0.3,period=11s",
    "spike:factor=6,lasting=500ms,every=4s",
    "spike:factor=0,lasting=1s,every=3s",
]


@pytest.mark.parametrize("text", SHAPES)
def test_area_is_the_integral_of_the_value(text: str) -> None:
    """A midpoint sum over 20 s comes to the closed form."""
    shape = parse_pattern(text).shape
    step = 0.001
    area = 0.0
    for i in range(20_000):
        area += shape.value((i + 0.5) * step) * step
        if i % 1000 == 999:
            assert shape.integral((i + 1) * step) == pytest.approx(area, abs=0.01)


@pytest.mark.parametrize("text", SHAPES)
@given(a=st.floats(0, 1e5), b=st.floats(0, 1e5))
def test_area_never_falls_and_never_outruns_the_peak(text: str, a: float, b: float) -> None:
    """Between any two times the area lies between 0 and the peak times the span."""
    shape = parse_pattern(text).shape
    low, high = sorted((a, b))
    gain = shape.integral(high) - shape.integral(low)
    assert -1e-6 <= gain <= shape.peak() * (high - low) + 1e-6
    assert 0 <= shape.value(a) <= shape.peak() + 1e-12


def test_ramp_holds_its_end() -> None:
    """After the climb the rate stays."""
    shape = parse_pattern("ramp:start=0,end=2,over=10s").shape
    assert [shape.value(t) for t in (0, 5, 10, 1000)] == [0, 1, 2, 2]


def test_step_holds_its_last_level() -> None:
    """After the stairs the rate stays."""
    shape = parse_pattern("step:levels=1/2/4,every=5s").shape
    assert [shape.value(t) for t in (0, 4.9, 5, 10, 1000)] == [1, 1, 2, 4, 4]
