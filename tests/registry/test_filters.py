"""The filter grammar; that it agrees with Consul is shown in tests/contract."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.filters import HEALTH, Filter, FilterError
from registry.filters.parse import MAX_LENGTH, parse

ROW: dict[str, Any] = {
    "Node": {"Node": "n1", "Meta": None},
    "Service": {
        "ID": "w1",
        "Port": 80,
        "Tags": ["v1", "prod"],
        "Meta": {"version": "1", "a-b": "x"},
        "EnableTagOverride": True,
        "Weights": {"Passing": 3, "Warning": 1},
    },
    "Checks": [{"Status": "passing", "ServiceTags": ["v1"]}, {"Status": "warning", "ServiceTags": []}],
}


@pytest.mark.parametrize(
    ("text", "keeps"),
    [
        ("Service.ID == w1", True),
        ('Service.ID == "w1"', True),
        ("Service.ID==`w1`", True),
        ("Service.ID != w1", False),
        ("Service.Port == 80", True),
        ('Service.Port == "80"', True),
        ("v1 in Service.Tags", True),
        ("v1 not in Service.Tags", False),
        ("Service.Tags contains prod", True),
        ("Service.Tags not contains prod", False),
        ("Service.Tags is empty", False),
        ("Service.Tags is not empty", True),
        ("Node.Meta is empty", True),
        ("Node.Meta.x == 1", False),
        ("Node.Meta.x != 1", True),
        ("Service.Meta.version == 1", True),
        ('Service.Meta["a-b"] == x', True),
        ("version in Service.Meta", True),
        ("Service.ID matches `^w[0-9]$`", True),
        ("Service.ID not matches `^w[0-9]$`", False),
        ("Service.ID contains w", True),
        ("Service.EnableTagOverride == true", True),
        ("Service.Weights.Passing == 3", True),
        ("Checks.Status == warning", True),
        ("Checks.Status == critical", False),
        ("Checks.Status != passing", True),
        ("v1 in Checks.ServiceTags", True),
        ("Checks is not empty", True),
        ("Service.Kind == ``", True),
        ("not Service.ID == w1", False),
        ("not (Service.ID == x or Service.ID == y)", True),
        ("Service.ID == x and Service.ID == w1 or Service.Port == 80", True),
        ("Service.ID == w1 and (Service.Port == 81 or Service.Port == 80)", True),
        (" ( Service.ID==w1 ) ", True),
    ],
)
def test_what_an_expression_says_of_a_row(text: str, keeps: bool) -> None:
    assert Filter(text, HEALTH).keeps(ROW) is keeps


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no match found"),
        ("Service.ID", r"1:11 \(10\)"),
        ("Service.ID ==", "no match found"),
        ("Service.ID == w1 and", "no match found"),
        ("Service.ID == w1)", "no match found"),
        ("(Service.ID == w1", r'expected: "\)"'),
        ("Service.Port > 80", "no match found"),
        ("Service.Port == abc", "Failed to coerce"),
        ("Service.Port == 9223372036854775808", "value out of range"),
        ("Service.ID matches `(?u)x`", "error parsing regexp: invalid or unsupported Perl syntax"),
        ("Service.ID matches `x{1001}`", "error parsing regexp: invalid repeat count"),
        (r"Service.ID matches `(?:\pL{999})`", "error parsing regexp: expression too large"),
        ("Service.EnableTagOverride == yes", "ParseBool"),
        ("Service.Address == 10.0.0.1", "Invalid number literal"),
        ("Service.Tags == v1", 'Invalid match operator "Equal"'),
        ("Service is empty", 'Invalid match operator "Is Empty"'),
        ("Service.ID is empty", 'Invalid match operator "Is Empty"'),
        ("Service.Port matches 8", 'Invalid match operator "Matches"'),
        ("Bogus == 1", 'Selector "Bogus" is not valid'),
        ("service.ID == 1", 'Selector "service" is not valid'),
        ("Service.ID.x == 1", 'Selector "Service.ID.x" is not valid'),
        ("Service.ID matches `(`", "Failed to compile regular expression"),
        ('Service.ID == "a\\q"', "invalid syntax"),
        ("x in 5", "Invalid selector"),
        ("not " * 100 + "Service.ID == 1", "levels deep"),
        ("Service.ID == " + "x" * MAX_LENGTH, "longer than"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(FilterError, match=words):
        Filter(text, HEALTH)


def test_an_expression_takes_linear_time() -> None:
    """A minute of the registry for one GET, with forty letters in an id."""
    wanted = Filter('Service.ID matches "^(([a-f0-9]+-?)+)+Z$"', HEALTH)
    assert not wanted.keeps({"Service": {"ID": "a" * 100_000}})
    assert Filter(r"Service.ID matches `^[[:alpha:]]\pN\z`", HEALTH).keeps({"Service": {"ID": "w1"}})
    assert not Filter("Service.ID matches `^..$`", HEALTH).keeps({"Service": {"ID": "é"}})


@pytest.mark.parametrize("value", [5, "text", [1], {"a": 1}, None])
@pytest.mark.parametrize(
    "text",
    [
        "Service.ID matches `x`",
        "Service.ID contains x",
        "x in Service.Tags",
        "Service.Tags is empty",
        "Service.Meta.a == 1",
        "Service.Port == 1",
        "Service.Proxy.Upstreams.DestinationName matches `x`",
        "Checks.Status == x",
    ],
)
def test_a_row_that_was_kept_as_it_came_breaks_no_question(text: str, value: object) -> None:
    """Some parts of a registration are not looked at until they are asked of."""
    for row in (
        {"Service": value, "Checks": value},
        {"Service": {"ID": value, "Tags": value, "Meta": value, "Proxy": value}},
        {"Service": {"Proxy": {"Upstreams": value}}},
    ):
        assert Filter(text, HEALTH).keeps(row) in (True, False)


@given(st.text(alphabet='Service.ID()andornti=!"`[] 0', max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    """It parses, or it is refused; nothing else."""
    with suppress(FilterError):
        parse(text)
