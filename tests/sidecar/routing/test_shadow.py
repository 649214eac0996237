"""The look-up of rules that take others' requests says what a comparison of every pair says."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.routing import shadow
from sidecar.routing.match import Match, Text
from sidecar.routing.shadow import Earlier

TEXTS = st.builds(
    Text,
    st.sampled_from(["exact", "prefix", "regex"]),
    st.sampled_from([b"", b"/", b"/a", b"/ab", b"/abc", b"/b"]),
    st.booleans(),
)
NAMED = st.lists(st.tuples(st.sampled_from([b"x", b"y", b"z"]), TEXTS), max_size=2).map(tuple)
WORDS = st.none() | st.builds(Text, st.just("exact"), st.sampled_from([b"GET", b"POST"]))
MATCHES = st.builds(Match, st.none() | TEXTS, WORDS, WORDS, NAMED, NAMED, NAMED)
RULES = st.lists(st.lists(MATCHES, max_size=3), max_size=12)


def by_pairs(rules: Sequence[Sequence[Match]]) -> list[int | None]:
    """The first rule before each that takes all of its requests."""
    found: list[int | None] = []
    for index, matches in enumerate(rules):
        takers = (
            number
            for number, before in enumerate(rules[:index])
            if not before or (matches and all(any(wide.covers(one) for wide in before) for one in matches))
        )
        found.append(next(takers, None))
    return found


def by_look_up(rules: Sequence[Sequence[Match]]) -> list[int | None]:
    earlier = Earlier(rules)
    found: list[int | None] = []
    for index, matches in enumerate(rules):
        found.append(earlier.taker(matches))
        if found[-1] is None:
            earlier.add(index, matches)
    return found


@settings(max_examples=200)
@given(RULES)
def test_it_finds_what_a_comparison_of_every_pair_finds(rules: list[list[Match]]) -> None:
    """Though a rule that is taken is not kept: whoever takes it takes what it would."""
    assert by_look_up(rules) == by_pairs(rules)


def test_its_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of rules of which each might take each: it gives up, and says so."""
    monkeypatch.setattr(shadow, "STEPS_MAX", 10_000)
    names = [b"h%d" % number for number in range(30)]
    rules = [
        [Match(headers=tuple((name, Text("exact", b"1")) for name in three))]
        for three in ((a, b, c) for a in names for b in names for c in names if a < b < c)
    ]
    earlier = Earlier(rules)
    for index, matches in enumerate(rules):
        assert earlier.taker(matches) is None
        earlier.add(index, matches)
        if earlier.tired:
            break
    assert 10_000 < earlier.steps < 20_000
    plain = [[Match(path=Text("prefix", b"/api/%d/" % number))] for number in range(1500)]
    earlier = Earlier(plain)
    for index, matches in enumerate(plain):
        earlier.taker(matches)
        earlier.add(index, matches)
    assert earlier.steps < 20 * len(plain)
