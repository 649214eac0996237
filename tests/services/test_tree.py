"""The answer is a JSON tree of its size, in the script's order."""

import json

from hypothesis import given
from hypothesis import strategies as st

from services.tree import Answer, CallRecord, parse_tree


def test_the_tree_shows_what_was_called() -> None:
    answer = Answer("a", "a-1", "v2", status=502, duration_ms=1.23456)
    answer.calls.append(CallRecord("b", 200, 0.5, {"service": "b"}, ""))
    answer.calls.append(CallRecord("c", None, 2.0, None, "cannot connect"))
    assert json.loads(answer.render(0)) == {
        "service": "a",
        "instance": "a-1",
        "version": "v2",
        "status": 502,
        "duration_ms": 1.235,
        "calls": [
            {"service": "b", "status": 200, "duration_ms": 0.5, "answer": {"service": "b"}},
            {"service": "c", "status": None, "duration_ms": 2.0, "answer": None, "error": "cannot connect"},
        ],
    }


def test_only_statuses_below_400_are_no_failure() -> None:
    failed = {status: CallRecord("b", status).failed for status in (200, 304, 399, 400, 404, 500, None)}
    assert failed == {200: False, 304: False, 399: False, 400: True, 404: True, 500: True, None: True}


@given(st.integers(0, 5000), st.text())
def test_it_has_its_size_or_the_trees_if_that_is_more(size: int, error: str) -> None:
    answer = Answer("a", "a-1", "v1", error=error)
    bare = len(answer.render(0))
    body = answer.render(size)
    assert len(body) == max(size, bare)
    assert body.endswith(b"\n")
    assert json.loads(body)["service"] == "a"


def test_what_is_no_tree_is_none() -> None:
    assert parse_tree(b'{"service": "a"}   \n') == {"service": "a"}
    for body in (b"", b"<html>", b"[1]", b"{", b"{'a': 1}", b"{\xff", b'{"a":' * 100_000):
        assert parse_tree(body) is None
