"""Conditions on bytes: strings, headers, queries, and when one match covers another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.routing.match import Match, Text, parse_query, value_of


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        (Text("exact", b"/a"), b"/a", True),
        (Text("exact", b"/a"), b"/ab", False),
        (Text("exact", b"/A", ignore_case=True), b"/a", True),
        (Text("exact", b"/a", ignore_case=True), b"/A", True),
        (Text("prefix", b"/a", ignore_case=True), b"/AB", True),
        (Text("regex", rb"/v\d+", ignore_case=True), b"/V1", False),
        (Text("prefix", b"/a"), b"/ab", True),
        (Text("prefix", b"/a"), b"/b", False),
        (Text("regex", rb"/v\d+/.*"), b"/v12/x", True),
        (Text("regex", rb"/v\d+"), b"/v12/x", False),
        (Text("present"), b"", True),
    ],
)
def test_strings(text: Text, value: bytes, expected: bool) -> None:
    """A regex means the whole value, as in Istio."""
    assert text.test(value) is expected


def test_all_conditions_must_hold() -> None:
    """Path without its query, method, headers without case, query parameters decoded."""
    match = Match(
        path=Text("prefix", b"/api"),
        method=Text("exact", b"GET"),
        headers=((b"end-user", Text("exact", b"jason")),),
        without=((b"x-debug", Text("present")),),
        query=((b"name", Text("exact", b"a b")),),
    )
    headers = [(b"End-User", b"jason")]
    assert match.matches(b"GET", b"/api/x?name=a%20b", headers)
    assert not match.matches(b"POST", b"/api/x?name=a%20b", headers)
    assert not match.matches(b"GET", b"/ap?name=a%20b", headers)
    assert not match.matches(b"GET", b"/api?name=ab", headers)
    assert not match.matches(b"GET", b"/api?name=a+b", [*headers, (b"X-Debug", b"1")])
    assert not match.matches(b"GET", b"/api?name=a+b", [])


def test_each_condition_alone() -> None:
    """An exact path is compared without the query; what is absent meets no condition but `without`."""
    get = (b"GET", b"/api/x?name=a+b", [(b"x-debug", b"1")])
    assert Match(path=Text("exact", b"/api/x")).matches(*get)
    assert Match(query=((b"name", Text("exact", b"a b")),)).matches(*get)
    assert not Match(query=((b"other", Text("prefix", b"")),)).matches(*get)
    assert not Match(headers=((b"x-other", Text("prefix", b"")),)).matches(*get)
    assert Match(without=((b"x-debug", Text("exact", b"2")),)).matches(*get)
    assert not Match(without=((b"x-debug", Text("exact", b"1")),)).matches(*get)
    assert Match(authority=Text("exact", b"a")).matches(*get, b"a")
    assert not Match(authority=Text("exact", b"a")).matches(*get, b"b")


def test_covers_looks_at_every_part() -> None:
    """A rule behind one that covers it is reported as dead: so it must be."""
    api = Text("prefix", b"/api")
    narrow = Match(path=Text("exact", b"/api/x"), method=Text("exact", b"GET"))
    assert Match(path=api).covers(narrow)
    assert Match(path=api, method=Text("exact", b"GET")).covers(narrow)
    assert not narrow.covers(Match(path=api))
    assert not Match(path=api, method=Text("exact", b"POST")).covers(narrow)
    assert not Match(path=api, authority=Text("exact", b"a")).covers(narrow)
    assert not Match(path=api).covers(Match(path=Text("prefix", b"/api", ignore_case=True)))
    for part in ("headers", "without", "query"):
        conditioned = Match(path=api, **{part: ((b"x", Text("present")),)})  # type: ignore[arg-type]  # one of three alike
        assert Match(path=api).covers(conditioned), part
        assert not conditioned.covers(Match(path=api)), part


def test_repeated_headers_are_one_value() -> None:
    """Joined by commas, whatever their case."""
    assert value_of([(b"A", b"1"), (b"b", b"x"), (b"a", b"2")], b"a") == b"1,2"
    assert value_of([], b"a") is None
    assert parse_query(b"a=1&a=2&b&=3") == {b"a": b"1", b"b": b"", b"": b"3"}


paths = st.binary(min_size=1, max_size=6).map(lambda tail: b"/" + tail)
texts = st.none() | st.builds(Text, st.sampled_from(["exact", "prefix"]), paths)


@given(texts, texts, paths, paths)
def test_covers_is_never_wrong(wide: Text | None, narrow: Text | None, path: bytes, more: bytes) -> None:
    """If one match covers another, no request meets the narrow one alone."""
    one, other = Match(path=wide), Match(path=narrow)
    if one.covers(other):
        for target in (path, path + more, narrow.value if narrow else path):
            if other.matches(b"GET", target, ()):
                assert one.matches(b"GET", target, ())
