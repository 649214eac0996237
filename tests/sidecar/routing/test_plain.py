"""Values of others are plain, or refused with their place; and no text holds anybody up."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.routing.plain import DEPTH_MAX, TEXT_MAX, VALUES_MAX, NotPlain, check, read_json, read_yaml

NESTED = DEPTH_MAX + 1


def refused(text: str | bytes) -> NotPlain:
    """Why this JSON is not plain."""
    with pytest.raises(NotPlain) as caught:
        read_json(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff", "is no UTF-8 text"),
        ("", "is no JSON: Expecting value"),
        ("{'a': 1}", "is no JSON: "),
        ('{"a": NaN}', "is no JSON: NaN is no number"),
        ('{"a": [1, 1e400]}', "a[1]: inf is no number with an end"),
        ('{"a": {"b": "\\ud800"}}', "a.b: has half of a surrogate pair"),
        ('{"\\ud800": 1}', "has half of a surrogate pair"),
        ('{"a\\u0000": 1}', "the key 'a\\x00' has characters that cannot be printed"),
        (f'{{"a": {2**63}}}', "a: is a number of more than 64 bits"),
        ("9" * 5000, "holds a number of 5000 digits"),
        ("1" + "0" * 390 + ".5", "inf is no number with an end"),
        ("[" * NESTED + "]" * NESTED, f"is nested more than {DEPTH_MAX} deep"),
        ("[" * 100_000, f"is nested more than {DEPTH_MAX} deep"),
        ("[" + "0," * VALUES_MAX + "0]", f"holds more than {VALUES_MAX:,} values"),
    ],
)
def test_json_that_is_not_plain(text: str | bytes, words: str) -> None:
    assert words in str(refused(text))


@pytest.mark.parametrize("value", [b"x", (1,), {1: 2}, {None: 1}, {"a": object()}])
def test_what_json_cannot_say_is_not_plain(value: Any) -> None:
    """A set, a date or bytes of YAML, a key that is no text."""
    with pytest.raises(NotPlain):
        check(value)


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
KEYS = st.text("abcé .", max_size=5)


@given(
    st.recursive(
        PLAIN,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=20,
    )
)
def test_what_is_plain_passes(value: Any) -> None:
    check(value)


def test_yaml_means_what_it_means_to_others() -> None:
    """Dates stay text, merges and aliases are followed, the key that stands there itself wins."""
    text = (
        "a: &a {x: 1, y: [yes, ~, 0x1F, 1.5, '1']}\n"
        "b: {<<: [*a, {x: 2, z: 3}], y: 4}\n"
        "d: 2020-13-45\n---\n- *nothing\n".replace("*nothing", "'x'")
    )
    assert read_yaml(text) == [
        {"a": {"x": 1, "y": [True, None, 31, 1.5, "1"]}, "b": {"x": 1, "z": 3, "y": 4}, "d": "2020-13-45"},
        ["x"],
    ]


TWICE = [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 21)]
MERGES = "\n".join(["a0: &a0 {k: 1}", *TWICE])
TENFOLD = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
ALIASES = "\n".join(["a0: &a0 [1]", *TENFOLD])


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        (MERGES, "more than 200,000 values", 1),
        (ALIASES, "more than 200,000 values", 1),
        ("a: &a [*a]", "an alias that contains itself", 1),
        ("a: {b: &b {<<: *b}}", "an alias that contains itself", 1),
        ("x:\n - " + "[" * 50_000, "nested more than 40 deep", 2),
        ("- " * 50_000, "nested more than 40 deep", 1),
        ("a:\n  b: " + "9" * 5000, "which is no int here", 2),
        ("a: 1" + ":1" * 100_000, "which is no int here", 1),
        ("a: !!binary aGk=", "which is no binary here", 1),
        ("a: !!python/object/apply:os.system [x]", "which means nothing here", 1),
        ("a: !!set {x}", "which means nothing here", 1),
        ("a: !!int x", "is no YAML: ", None),
        ("a: .inf", "a: inf is no number with an end", None),
        ("? [a]\n: 1", "a key that is a list", 1),
        ("1: 2", "the key 1 is no text", None),
        ("a: {<<: 1}", "that takes no mapping", 1),
        ("a: 'x", "is no YAML: ", 1),
        ("a: \ud800", "half of a surrogate pair", None),
        ("a: \x01", "is no YAML: ", None),
        ("x" * (TEXT_MAX + 1), "more than 1000000 characters", None),
    ],
)
def test_yaml_that_is_not_plain(text: str, words: str, line: int | None) -> None:
    with pytest.raises(NotPlain) as caught:
        read_yaml(text)
    assert words in str(caught.value)
    assert caught.value.line == line


@given(st.text(alphabet=st.sampled_from("a1:-&*<[]{},'\"!|> \n\t#%@\\x\ud800é"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but NotPlain ever comes out of it, and what does come out is plain."""
    for read in (read_yaml, read_json):
        with suppress(NotPlain):
            check(read(text))
