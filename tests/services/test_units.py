"""Durations, sizes, shares and rates are read as isotope reads them, and refused with a remedy."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import FieldError
from services.units import parse_duration, parse_probability, parse_rate, parse_share, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10ms", 0.010),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("1m2.5s", 62.5),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("100ns", 1e-7),
        ("1h", 3600.0),
        ("0", 0.0),
        (0, 0.0),
        ("0s", 0.0),
    ],
)
def test_durations_are_gos(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (10, '10 has no unit of time (write "10ms" or "10s")'),
        ("10", '"10" is not a duration (write a number with a unit, like "10ms" or "1.5s")'),
        ("10 ms", '"10 ms" is not a duration (write a number with a unit, like "10ms" or "1.5s")'),
        ("-5ms", '"-5ms" is not a duration (write a number with a unit, like "10ms" or "1.5s")'),
        ("5 minutes", '"5 minutes" is not a duration (write a number with a unit, like "10ms" or "1.5s")'),
        ("61m", '61m is longer than an hour (write a number with a unit, like "10ms" or "1.5s")'),
        (True, 'True is not a duration (write a number with a unit, like "10ms" or "1.5s")'),
        (None, 'None is not a duration (write a number with a unit, like "10ms" or "1.5s")'),
    ],
)
def test_bad_durations_say_how_to_write_one(text: object, message: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse_duration(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (516, 516),
        ("128", 128),
        ("1 KB", 1024),
        ("1KB", 1024),
        ("16KiB", 16384),
        ("10k", 10240),
        ("10K", 10240),
        ("80B", 80),
        ("1.5 mb", 1572864),
        ("64MB", 64 * 1024 * 1024),
    ],
)
def test_sizes_are_binary_whatever_their_spelling(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (-1, "-1 is not a size"),
        (1.5, "1.5 is not a size"),
        ("1  KB", '"1  KB" is not a size'),
        ("many", '"many" is not a size'),
        (float("inf"), "inf is not a size"),
        (float("nan"), "nan is not a size"),
        ("65MB", "65MB is more than 64 MB"),
        ("32 PB", "32 PB is more than 64 MB"),
        (True, "True is not a size"),
    ],
)
def test_bad_sizes(text: object, problem: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse_size(text)
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("text", "share"), [("0.1%", 0.001), ("100%", 1.0), ("0 %", 0.0), (0.25, 0.25), (0, 0.0), (1, 1.0)]
)
def test_shares_are_percentages_or_fractions(text: object, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (5, '5 is more than 1, which is all requests (write "5%")'),
        (101, '101 is not a share of requests (write a percentage like "0.1%", or a number between 0 and 1)'),
        (
            -0.1,
            '-0.1 is not a share of requests (write a percentage like "0.1%", or a number between 0 and 1)',
        ),
        (
            "101%",
            '"101%" is not a share of requests (write a percentage like "0.1%", or a number between 0 and 1)',
        ),
        (
            "0.1",
            '"0.1" is not a share of requests (write a percentage like "0.1%", or a number between 0 and 1)',
        ),
    ],
)
def test_bad_shares(text: object, message: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse_share(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "chance"), [(1, 0.01), (50, 0.5), (100, 1.0), ("0.5%", 0.005), ("50%", 0.5), (2.0, 0.02)]
)
def test_probabilities_are_whole_numbers_of_percent(text: object, chance: float) -> None:
    assert parse_probability(text) == pytest.approx(chance)


@pytest.mark.parametrize("text", [0, "0%", 0.5, 101, "101%", -1, True, "often", None])
def test_a_probability_that_could_be_misread_is_refused(text: object) -> None:
    with pytest.raises(FieldError):
        parse_probability(text)


@pytest.mark.parametrize(("text", "rate"), [(50, 50.0), ("50/s", 50.0), ("0.5 / s", 0.5), (0, 0.0)])
def test_rates_are_requests_per_second(text: object, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", [-1, "50", "50/m", float("inf"), float("nan"), False, 2_000_000])
def test_bad_rates(text: object) -> None:
    with pytest.raises(FieldError):
        parse_rate(text)


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(anything)
def test_no_value_breaks_a_parser(value: object) -> None:
    """Whatever stands in the file, a parser gives a number in its range or says how to write it."""
    for parse, high in (
        (parse_duration, 3600),
        (parse_size, 64 << 20),
        (parse_share, 1),
        (parse_probability, 1),
        (parse_rate, 1_000_000),
    ):
        with contextlib.suppress(FieldError):
            assert 0 <= parse(value) <= high


@given(st.integers(min_value=0, max_value=3_600_000))
def test_milliseconds_survive_the_reading(milliseconds: int) -> None:
    assert parse_duration(f"{milliseconds}ms") == pytest.approx(milliseconds / 1000)
