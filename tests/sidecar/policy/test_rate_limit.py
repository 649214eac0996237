"""Token buckets: never more than rate and burst allow, per caller and in all."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.rate_limit import CALLERS_MAX, Rate, RateLimiter, RateLimitPolicy
from tests.fakes.clock import FakeClock

asks = st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.floats(0.0, 0.5)), max_size=200)


@given(asks)
def test_no_window_lets_more_through_than_burst_and_rate(events: list[tuple[str, float]]) -> None:
    """For every pair of moments: admitted <= burst + rate x time between, in all and per caller."""
    clock = FakeClock()
    limiter = RateLimiter(RateLimitPolicy(total=Rate(10, 5), per_caller=Rate(4, 3)), clock)
    admitted: list[tuple[float, str]] = []
    for caller, pause in events:
        clock.advance(pause)
        if limiter.admit(caller) is None:
            admitted.append((clock.now, caller))
            for index, (begin, _) in enumerate(admitted):
                span = clock.now - begin
                since = admitted[index:]
                assert len(since) <= 5 + 10 * span + 1e-6
                for name in ("a", "b", ""):
                    assert sum(who == name for _, who in since) <= 3 + 4 * span + 1e-6


def test_the_standard_headers() -> None:
    """How much, how much is left, when it is full again, and when to come back."""
    clock = FakeClock()
    limiter = RateLimiter(RateLimitPolicy(per_caller=Rate(0.5, 2)), clock)
    assert limiter.admit("a") is None
    assert limiter.admit("a") is None
    limited = limiter.admit("a")
    assert limited is not None
    assert limited.scope == "caller"
    assert limited.headers == [
        (b"retry-after", b"2"),
        (b"x-ratelimit-limit", b"2"),
        (b"x-ratelimit-remaining", b"0"),
        (b"x-ratelimit-reset", b"4"),
        (b"x-envoy-ratelimited", b"true"),
    ]
    assert limiter.admit("b") is None
    clock.advance(2.0)
    assert limiter.admit("a") is None


def test_overrides_and_shadow() -> None:
    """A named caller has its own rate; a shadow only counts."""
    policy = RateLimitPolicy(per_caller=Rate(1, 1), overrides={"vip": Rate(1, 3)}, shadow=True)
    limiter = RateLimiter(policy, FakeClock())
    assert [limiter.admit("vip") for _ in range(3)] == [None] * 3
    assert limiter.limited == 0
    assert limiter.admit("vip") is None
    assert limiter.limited == 1


def test_a_request_that_the_total_refuses_costs_its_caller_nothing() -> None:
    """Tokens are taken from both or from none."""
    clock = FakeClock()
    limiter = RateLimiter(RateLimitPolicy(total=Rate(1, 1), per_caller=Rate(0.001, 2)), clock)
    assert limiter.admit("a") is None
    for _ in range(5):
        refused = limiter.admit("a")
        assert refused is not None
        assert refused.scope == "total"
    clock.advance(1.0)
    assert limiter.admit("a") is None


def test_callers_are_bounded() -> None:
    """The one that was silent longest is forgotten."""
    limiter = RateLimiter(RateLimitPolicy(per_caller=Rate(1, 1)), FakeClock())
    for index in range(CALLERS_MAX + 50):
        limiter.admit(f"c{index}")
    assert len(limiter) == CALLERS_MAX


def test_a_long_silence_saves_no_more_than_the_burst() -> None:
    """A bucket is full when it is full; then it fills at its rate, however often one looks."""
    clock = FakeClock()
    limiter = RateLimiter(RateLimitPolicy(total=Rate(10, 5)), clock)
    clock.advance(1000.0)
    assert [limiter.admit("") is None for _ in range(6)] == [True] * 5 + [False]
    for _ in range(9):
        clock.advance(0.01)
        assert limiter.admit("") is not None
    clock.advance(0.02)
    assert limiter.admit("") is None
    assert limiter.admit("") is not None


def test_who_asked_lately_is_not_forgotten() -> None:
    """To be forgotten is to have a full bucket again: a way around the limit for who asks most."""
    limiter = RateLimiter(RateLimitPolicy(per_caller=Rate(1, 1)), FakeClock())
    for index in range(CALLERS_MAX):
        assert limiter.admit(f"c{index}") is None
    assert limiter.admit("c0") is not None
    assert limiter.admit("new") is None
    assert limiter.admit("c0") is not None
    assert limiter.admit("c1") is None, "the one that was silent longest"
