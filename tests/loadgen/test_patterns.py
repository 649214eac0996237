"""Patterns as people write them, in text and in JSON."""

import math
from typing import Any

import pytest

from loadgen.patterns import CONSTANT, NAMES, PatternError, parse_pattern, pattern_from


@pytest.mark.parametrize("name", NAMES)
def test_every_name_works_without_settings(name: str) -> None:
    """A name alone is a whole pattern."""
    assert parse_pattern(name).name == name


@pytest.mark.parametrize(
    "text",
    [
        *NAMES,
        "sine:amplitude=0.123456789,period=90",
        "step:levels=1/2.5/0,every=500ms",
        "ramp:start=0.1,end=7,over=1m,arrivals=poisson",
        "spike:factor=10,lasting=1s,every=1h",
    ],
)
def test_text_reads_back_to_an_equal_pattern(text: str) -> None:
    """What status shows can be given again."""
    pattern = parse_pattern(text)
    assert parse_pattern(str(pattern)) == pattern
    assert pattern_from(pattern.name, pattern.fields()) == pattern


def test_text_and_fields_mean_the_same() -> None:
    """The command line and the control API make equal patterns."""
    assert (
        parse_pattern("sine:period=1m")
        == pattern_from("sine", {"period": 60})
        == pattern_from("sine", {"period": "60s"})
    )


def test_only_poisson_and_those_that_ask_draw_their_gaps() -> None:
    """Spacing is even unless said otherwise."""
    assert not CONSTANT.poisson
    assert parse_pattern("poisson").poisson
    assert parse_pattern("sine:arrivals=poisson").poisson


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("squarewave", "no such pattern 'squarewave'; known: constant"),
        ("", "no such pattern"),
        ("sine:ampltude=1", "no such setting 'ampltude'; known: amplitude, period"),
        ("sine:amplitude", "'amplitude' is not KEY=VALUE"),
        ("sine:amplitude=", "not KEY=VALUE"),
        ("sine:amplitude=1,amplitude=1", "given twice"),
        ("sine:amplitude=1.5", "amplitude is 0 to 1"),
        ("sine:period=0s", "period must be between"),
        ("sine:period=2d", "'2d' is not a duration"),
        ("spike:factor=nan", "factor must be between 0"),
        ("spike:factor=inf", "factor must be between 0"),
        ("spike:factor=-1", "factor must be between 0"),
        ("spike:factor=x", "factor is not a number"),
        ("spike:lasting=5s,every=5s", "lasting must be shorter"),
        ("step:levels=", "not KEY=VALUE"),
        ("step:levels=" + "/".join("1" * 101), "levels is a list of 1 to 100"),
        ("constant:arrivals=random", "arrivals is 'even' or 'poisson'"),
        ("poisson:arrivals=even", "arrivals is"),
    ],
)
def test_nonsense_is_refused_by_name(text: str, words: str) -> None:
    """One line names what is wrong."""
    with pytest.raises(PatternError, match=r"^[^\n]+$") as refused:
        parse_pattern(text)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"period": True},
        {"period": None},
        {"period": [1]},
        {"amplitude": math.nan},
        {"amplitude": 10**400},
        {"amplitude": {}},
        {"arrivals": 5},
        {"arrivals": ["poisson"]},
    ],
)
def test_json_of_the_wrong_type_is_refused(fields: dict[str, Any]) -> None:
    """Whatever JSON can hold ends in one kind of error."""
    with pytest.raises(PatternError):
        pattern_from("sine", fields)
    with pytest.raises(PatternError):
        pattern_from("step", {"levels": fields})
