"""Durations as people write them."""

import pytest

from loadgen.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30), ("2m", 120), ("1h", 3600), ("1.5", 1.5), (" 5s ", 5), ("0s", 0)],
)
def test_units(text: str, seconds: float) -> None:
    """Each unit is what it says; no unit is seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "1e3s", "nan", "inf", "1 s", "5d", "1s1s", "9" * 400 + "h", "٣s"]
)
def test_anything_else_is_refused(text: str) -> None:
    """No guessing, and no way to an infinite wait."""
    with pytest.raises(ValueError, match=r"duration|longer"):
        parse_duration(text)
