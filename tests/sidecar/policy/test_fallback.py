"""What is answered when a service is open."""

import pytest

from sidecar.policy.errors import PolicyError
from sidecar.policy.fallback import BODY_MAX, ENTRIES_MAX, TOTAL_MAX, FallbackPolicy, LastGood, StaticAnswer
from tests.fakes.clock import FakeClock


def test_the_last_good_answer_is_marked_and_grows_old() -> None:
    """With its age, and not beyond its time."""
    clock = FakeClock()
    last = LastGood(60.0, clock)
    assert last.keep("orders", b"/a?b", 200, [(b"content-type", b"text/plain")], b"hello")
    clock.advance(7.5)
    found = last.get("orders", b"/a?b")
    assert found is not None
    kept, extra = found
    assert kept.body == b"hello"
    assert dict(extra)[b"age"] == b"7"
    assert dict(extra)[b"x-mesh-fallback"] == b"last-good"
    assert last.get("orders", b"/a") is None
    clock.advance(60.0)
    assert last.get("orders", b"/a?b") is None
    assert len(last) == 0


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (404, [], b""),
        (200, [], b"x" * (BODY_MAX + 1)),
        (200, [(b"Cache-Control", b"private, max-age=3")], b""),
        (200, [(b"cache-control", b"No-Store")], b""),
    ],
)
def test_what_is_not_kept(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Failures, big ones, and what belongs to one person."""
    assert not LastGood(60.0, FakeClock()).keep("h", b"/", status, headers, body)


def test_memory_is_bounded() -> None:
    """In entries and in bytes; the oldest goes first."""
    last = LastGood(60.0, FakeClock())
    for index in range(ENTRIES_MAX + 5):
        last.keep("h", b"/%d" % index, 200, [], b"")
    assert len(last) == ENTRIES_MAX
    assert last.get("h", b"/0") is None
    for index in range(2 * TOTAL_MAX // BODY_MAX):
        last.keep("h", b"/big%d" % index, 200, [], b"x" * BODY_MAX)
    assert len(last) <= TOTAL_MAX // BODY_MAX
    assert last.get("h", b"/big%d" % (2 * TOTAL_MAX // BODY_MAX - 1)) is not None


def test_the_same_answer_kept_again_counts_once() -> None:
    """A page that is asked for a thousand times must not push out all others."""
    last = LastGood(60.0, FakeClock())
    last.keep("h", b"/other", 200, [], b"other")
    for _ in range(2 * TOTAL_MAX // BODY_MAX):
        assert last.keep("h", b"/big", 200, [], b"x" * BODY_MAX)
    assert last.get("h", b"/other") is not None
    assert len(last) == 2


def test_exactly_one_way() -> None:
    """Or it is a mistake."""
    with pytest.raises(PolicyError, match="exactly one"):
        FallbackPolicy()
    with pytest.raises(PolicyError, match="exactly one"):
        FallbackPolicy(static=StaticAnswer(), upstream="x")
    with pytest.raises(PolicyError, match=r"fallback\.body"):
        StaticAnswer(body=b"x" * (BODY_MAX + 1))


def test_heads_and_names_count_as_bodies_do() -> None:
    """An empty answer with sixty headers of a kilobyte, and a path of sixteen."""
    last, headers = LastGood(60.0, FakeClock()), [(b"x-%d" % number, b"v" * 1000) for number in range(60)]
    for number in range(ENTRIES_MAX):
        assert last.keep("orders", b"/%d" % number + b"p" * 16_000, 200, headers, b"")
    assert 0 < len(last) <= TOTAL_MAX // 76_000
    for number in range(ENTRIES_MAX):
        last.keep("orders", b"/%d" % number, 200, [], b"")
    assert len(last) == ENTRIES_MAX
    assert last._bytes == sum(len("orders") + len(b"/%d" % number) for number in range(ENTRIES_MAX))
