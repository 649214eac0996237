"""What other tracing systems say of a trace: passed on whole, or not at all."""

from __future__ import annotations

import pytest

from sidecar.observe.trace_state import MAX_MEMBERS, checked


@pytest.mark.parametrize(
    ("value", "passed"),
    [
        (b"rojo=00f067aa0ba902b7", b"rojo=00f067aa0ba902b7"),
        (b"rojo=1, congo=2", b"rojo=1,congo=2"),
        (b" a=1\t,\t b=2 ", b"a=1,b=2"),
        (b"a=1,,  ,b=2,", b"a=1,b=2"),
        (b"fw529a3039@dt=FfFf", b"fw529a3039@dt=FfFf"),
        (b"1a_-*/@z= !\"#$%&'()*+-./:;<>?@[]^_`{|}~", b"1a_-*/@z= !\"#$%&'()*+-./:;<>?@[]^_`{|}~"),
        (b"a=1,b=2,a=3", b"a=1,b=2"),
        (b"%b=%b" % (b"k" * 256, b"v" * 256), b"%b=%b" % (b"k" * 256, b"v" * 256)),
        (b"a=1 2", b"a=1 2"),
    ],
)
def test_what_is_right_is_passed_on(value: bytes, passed: bytes) -> None:
    """In its order, as one line, without what is no part of it; of one key twice, the newer."""
    assert checked(value) == passed


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" , ",
        b"a",
        b"a=",
        b"=1",
        b"A=1",
        b"a =1",
        b"a.b=1",
        b"@a=1",
        b"a=1=2",
        b"a=1,b",
        b"a=\x7f",
        b"a=\xe9",
        b"a=1\t2",
        b"%b=1" % (b"k" * 257),
        b"a=%b" % (b"v" * 257),
        b",".join(b"k%d=1" % number for number in range(MAX_MEMBERS + 1)),
    ],
)
def test_what_breaks_the_rules_is_not_there(value: bytes) -> None:
    """All of it: what is left of such a list means nothing to who wrote it."""
    assert checked(value) == b""


def test_as_much_as_there_may_be_is_passed_on() -> None:
    """Thirty-two members, and more than the 512 characters that one must pass on."""
    value = b",".join(b"key%02d=%b" % (number, b"v" * 200) for number in range(MAX_MEMBERS))
    assert checked(value) == value
