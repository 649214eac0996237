"""YAML is read with its lines, more strictly than YAML, and cannot be used to exhaust the reader."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import TopologyError
from services.yaml_lines import field_name, read_yaml


def test_each_key_has_its_line() -> None:
    value, lines = read_yaml("a: 1\nb:\n- x\n- c: {d: 2}\n", "f.yaml")
    assert value == {"a": 1, "b": ["x", {"c": {"d": 2}}]}
    assert lines.at(("a",)) == 1
    assert lines.at(("b",)) == 2
    assert lines.at(("b", 0)) == 3
    assert lines.at(("b", 1, "c", "d")) == 4
    assert lines.at(("b", 1, "missing", "deeper")) == 4
    assert lines.known(("b", 1, "missing", "deeper")) == ("b", 1)


def test_scalars_are_what_a_reader_takes_them_for() -> None:
    """No date, no sexagesimal number, no octal surprise; `on` as a key is the word."""
    value, _ = read_yaml("on: on\nd: 2020-01-01\ns: 12:30\ni: -7\nf: 1.5\nn: ~\nt: 'yes'\nl: .inf\n", "f")
    assert value == {
        "on": True,
        "d": "2020-01-01",
        "s": "12:30",
        "i": -7,
        "f": 1.5,
        "n": None,
        "t": "yes",
        "l": ".inf",
    }


def test_a_number_too_long_for_python_stays_text() -> None:
    value, _ = read_yaml(f"n: {'9' * 5000}\n", "f")
    assert value == {"n": "9" * 5000}


def test_aliases_and_merges_are_followed() -> None:
    value, lines = read_yaml("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: *x\n", "f")
    assert value == {"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}, "z": {"a": 1, "b": 2}}
    assert lines.at(("y", "b")) == 4
    assert lines.at(("z", "a")) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'f: the file is empty (begin with "services:")'),
        ("# only a comment\n", 'f: the file is empty (begin with "services:")'),
        ("a: 1\nb: 2\na: 3\n", 'f:3: "a" is given twice, first in line 1 (keep one of them)'),
        ("p:\n- x: 1\n  x: 2\n", 'f:3: p[0]: "x" is given twice, first in line 2 (keep one of them)'),
        ("? [a]\n: 1\n", "f:1: a key must be a plain word (put a word before the colon)"),
        ("a: 1\n---\nb: 2\n", 'f:2: a second document begins (keep one document, without "---" inside)'),
        ('a: 1\nb: "\x01"\n', "f:2: not YAML: the character U+0001 (remove it; YAML is printable text)"),
        ("a: &a [*a]\n", "f:1: a: an alias contains itself or nests too deep (write it out)"),
        ("a: {b: &b {<<: *b}}\n", "f:1: a: an alias contains itself or nests too deep (write it out)"),
        ("a: {<<: 1}\n", 'f:1: a: "<<" takes a mapping (write "<<: *name")'),
        ("[" * 50_000, "f:1: nested more than 40 deep (make it flatter)"),
        ("- " * 50_000, "f:1: nested more than 40 deep (make it flatter)"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        read_yaml(text, "f")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "line"), [("a:\n\t- b\n", 2), ("a: b: c\n", 1), ("a: [1\nb: 2\n", 2), ("a: *nobody\n", 1)]
)
def test_what_is_not_yaml_says_in_which_line(text: str, line: int) -> None:
    """The words are the YAML library's, which differ between its two parsers; the place does not."""
    with pytest.raises(TopologyError) as caught:
        read_yaml(text, "f")
    assert caught.value.line == line
    assert caught.value.problem.startswith("not YAML: ")


def test_an_alias_bomb_is_refused_before_it_goes_off() -> None:
    layers = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    layers += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(TopologyError) as caught:
        read_yaml("\n".join(layers), "f")
    assert str(caught.value) == "f:1: a4: more than 100,000 values (use fewer aliases)"


def test_field_names() -> None:
    assert field_name(("services", 2, "script", 0, 1, "call")) == "services[2].script[0][1].call"
    assert field_name(()) == ""


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but a TopologyError ever comes out of it."""
    with contextlib.suppress(TopologyError):
        read_yaml(text, "f")
