"""Rewrites, redirects, splits, header operations and CORS."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.hash_key import HashKey
from sidecar.policy.retry import RetryPolicy
from sidecar.routing.cors import Cors
from sidecar.routing.headers import HeaderOps
from sidecar.routing.match import Text
from sidecar.routing.route import DirectResponse, Mirror, Redirect, Rewrite, Route, Split
from sidecar.routing.substitution import Substitution


@pytest.mark.parametrize(
    ("rewrite", "path", "expected"),
    [
        (Rewrite(path=b"/new", prefix=b"/old"), b"/old/x?q=1", b"/new/x?q=1"),
        (Rewrite(path=b"/", prefix=b"/old"), b"/old", b"/"),
        (Rewrite(path=b"/", prefix=b"/old/"), b"/old/x", b"/x"),
        (Rewrite(path=b"/whole"), b"/any/thing?q", b"/whole?q"),
        (Rewrite(substitution=Substitution(r"^/v(\d+)/", r"/version/\1/")), b"/v2/x?v", b"/version/2/x?v"),
        (Rewrite(path=b"x", prefix=b"/a/"), b"/a/b", b"/xb"),
        (Rewrite(authority=b"other"), b"/same?q", b"/same?q"),
    ],
)
def test_rewrites(rewrite: Rewrite, path: bytes, expected: bytes) -> None:
    """A prefix, or the whole path, or by pattern; the query stays and the target begins with a slash."""
    assert rewrite.target(path) == expected


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        (Redirect(), b"http://orders:80/a?b=1"),
        (Redirect(uri="/new"), b"http://orders:80/new?b=1"),
        (Redirect(uri="/new?c=2"), b"http://orders:80/new?c=2"),
        (Redirect(authority="other", scheme="https"), b"https://other/a?b=1"),
        (Redirect(port=8443), b"http://orders:8443/a?b=1"),
        (Redirect(scheme="https"), b"https://orders/a?b=1"),
        (Redirect(scheme="http"), b"http://orders:80/a?b=1"),
    ],
)
def test_redirects(redirect: Redirect, expected: bytes) -> None:
    """What is not given comes from the request."""
    assert redirect.location("http", "orders:80", b"/a?b=1") == expected


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("orders", b"https://orders:8443/a"),
        ("[::1]", b"https://[::1]:8443/a"),
        ("[::1]:80", b"https://[::1]:8443/a"),
    ],
)
def test_a_redirect_to_another_port(authority: str, expected: bytes) -> None:
    """Of a host that may have none yet, or colons of its own."""
    assert Redirect(port=8443, scheme="https").location("http", authority, b"/a") == expected


@pytest.mark.parametrize(
    "extra",
    [
        {"timeout_s": 1.0},
        {"retry": RetryPolicy()},
        {"rewrite": Rewrite(path=b"/")},
        {"redirect": Redirect()},
        {"direct": DirectResponse(204)},
        {"request_headers": HeaderOps(remove=frozenset({b"x"}))},
        {"response_headers": HeaderOps(add=((b"x", b"y"),))},
        {"mirrors": (Mirror("m", 1.0),)},
        {"hash_key": HashKey("source")},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_a_plain_route_has_nothing_but_a_destination(extra: dict[str, Any]) -> None:
    """The short way is taken for it, which knows of nothing else."""
    assert Route("r", "x").plain
    assert not Route("r", "x", **extra).plain


def split(*weights: int) -> Split:
    """Arms a, b, c, ..."""
    made = Split((), weights)
    names = "abcdef"[: len(weights)]
    made.arms = tuple(Route(name="rule", upstream=name, split=made) for name in names)
    return made


def test_a_split_is_drawn_by_weight() -> None:
    """90/10 within three sigma over 5,000."""
    rng = random.Random(3)
    counts = Counter(split(90, 10).draw(rng).upstream for _ in range(5000))
    assert abs(counts["b"] - 500) < 3 * (5000 * 0.1 * 0.9) ** 0.5


def test_weight_zero_gets_nothing() -> None:
    """Neither as first nor as last arm."""
    rng = random.Random(4)
    assert {split(0, 5, 0).draw(rng).upstream for _ in range(500)} == {"b"}


class Lowest(random.Random):
    """Dice that always show the least there is."""

    def random(self) -> float:
        return 0.0


def test_no_throw_is_low_enough_for_nothing() -> None:
    """An arm of weight 0 and a copy of 0 % get no request, not even one in 2^53."""
    assert split(0, 5).draw(Lowest()).upstream == "b"
    assert Route("r", "x", mirrors=(Mirror("m", 0.0), Mirror("n", 0.1))).mirrored(Lowest()) == ["n"]


def test_a_key_decides_and_not_the_dice() -> None:
    """The same user stays in the same arm of a canary."""
    arms, rng = split(1, 1), random.Random(7)
    assert {arms.draw(rng, (), 3 << 30).upstream for _ in range(50)} == {"b"}
    assert {arms.draw(rng, (), 1 << 30).upstream for _ in range(50)} == {"a"}


def test_a_retry_leaves_the_arm_that_failed() -> None:
    """As long as another arm has weight; a lone one is taken again."""
    rng = random.Random(5)
    two = split(90, 10)
    assert {two.arms[0].again({"a"}, rng).upstream for _ in range(50)} == {"b"}
    assert {two.arms[0].again({"a", "b"}, rng).upstream for _ in range(50)} == {"a", "b"}
    assert {split(100, 0).draw(rng, {"a"}).upstream for _ in range(50)} == {"a"}
    alone = Route(name="r", upstream="x")
    assert alone.again({"x"}, rng) is alone


@given(st.integers(0, 2**64 - 1), st.integers(0, 99))
def test_a_key_always_draws_the_same_arm(key: int, seed: int) -> None:
    """Sticky whatever the dice."""
    arms = split(3, 1, 6)
    assert arms.draw(random.Random(seed), (), key) is arms.draw(random.Random(seed + 1), (), key)


def test_mirrors_are_drawn_each() -> None:
    """Ten percent of the requests, and all of them."""
    rng = random.Random(6)
    route = Route(name="r", upstream="x", mirrors=(Mirror("m", 10.0), Mirror("n", 100.0)))
    counts = Counter(name for _ in range(2000) for name in route.mirrored(rng))
    assert counts["n"] == 2000
    assert counts["m"] == pytest.approx(200, rel=0.25)


def test_header_operations() -> None:
    """Set replaces without case, add keeps, remove removes; order stays."""
    ops = HeaderOps(set=((b"X-A", b"new"),), add=((b"x-b", b"2"),), remove=frozenset({b"x-c"}))
    given_headers = [(b"x-a", b"old"), (b"Accept", b"*"), (b"X-C", b"1"), (b"x-b", b"1")]
    assert ops.apply(given_headers) == [(b"Accept", b"*"), (b"x-b", b"1"), (b"X-A", b"new"), (b"x-b", b"2")]
    assert not HeaderOps()


CORS = Cors(
    (Text("exact", b"https://a.example"),),
    (b"GET", b"POST"),
    (b"x-token",),
    (b"x-id",),
    600,
    credentials=True,
)
ASK = [(b"Origin", b"https://a.example"), (b"Access-Control-Request-Method", b"POST")]


def test_a_preflight_is_answered_without_the_service() -> None:
    """With what is allowed; only for OPTIONS that ask."""
    answer = dict(CORS.preflight(b"OPTIONS", ASK) or ())
    assert answer[b"access-control-allow-origin"] == b"https://a.example"
    assert answer[b"access-control-allow-methods"] == b"GET, POST"
    assert answer[b"access-control-max-age"] == b"600"
    assert answer[b"access-control-allow-credentials"] == b"true"
    assert CORS.preflight(b"GET", ASK) is None
    assert CORS.preflight(b"OPTIONS", ASK[:1]) is None


def test_other_origins_are_forwarded_or_allowed_nothing() -> None:
    """By the document's word."""
    stranger = [(b"origin", b"https://evil.example"), ASK[1]]
    assert CORS.preflight(b"OPTIONS", stranger) is None
    assert replace(CORS, forward_unmatched=False).preflight(b"OPTIONS", stranger) == []
    assert CORS.answer(stranger) == []
    assert dict(CORS.answer(ASK))[b"access-control-expose-headers"] == b"x-id"
