"""The balancers that a policy can ask for, zones, subsets, and the callee's own word."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.balance.chooser import SCANNING, Chooser, chooser_for
from sidecar.balance.endpoints import Endpoint, EndpointSpec, LoadReport
from sidecar.balance.health import colour_of, factor_of, parse_report, render_report
from sidecar.balance.locality import Place
from sidecar.balance.maglev import Maglev
from sidecar.balance.reference import Reference
from sidecar.balance.ring_hash import RingHash
from sidecar.balance.shares import assign
from sidecar.balance.subset import select
from sidecar.policy.breaker import Breaker
from sidecar.policy.errors import PolicyError
from sidecar.policy.hash_key import HashKey, NewCookie, hash_of
from sidecar.policy.locality_policy import LocalityPolicy
from sidecar.policy.outlier import Outlier
from sidecar.policy.settings import BalancePolicy
from sidecar.policy.trip_rules import BreakerPolicy, Verdict
from tests.fakes.clock import FakeClock

NOW = 1000.0


def endpoints(*weights: int, zones: str = "") -> list[Endpoint]:
    """One per weight; `zones` names their zones letter by letter."""
    pool = Outlier("s", BreakerPolicy(), lambda event: None, lambda: None, FakeClock())
    made = []
    for index, weight in enumerate(weights):
        breaker = Breaker(f"e{index}", BreakerPolicy(), pool, 0.0, random.Random(1))
        zone = zones[index] if zones else ""
        endpoint = Endpoint(EndpointSpec(f"e{index}", "127.0.0.1", 80, weight, zone=zone), breaker, NOW)
        endpoint.share = weight / max(weights)
        made.append(endpoint)
    return made


NOWHERE = Place()


def chooser(kind: str, ready: list[Endpoint], place: Place = NOWHERE, **change: object) -> Chooser:
    """Made and rebuilt."""
    made = Chooser(BalancePolicy(kind=kind, **change), place, random.Random(7))  # type: ignore[arg-type]  # any field
    made.rebuild(ready, ready)
    return made


def draw(made: Chooser, times: int = 4000, tried: tuple[Endpoint, ...] = ()) -> Counter[str]:
    """How often each is chosen."""
    reference = Reference()
    found = (made.choose(tried, None, reference, NOW) for _ in range(times))
    return Counter(endpoint.id if endpoint is not None else "nobody" for endpoint in found)


@pytest.mark.parametrize("kind", ["round_robin", "random", "least_request"])
def test_idle_endpoints_share_by_weight(kind: str) -> None:
    """1 : 1 : 2."""
    picks = draw(chooser(kind, endpoints(1, 1, 2)))
    for name, expected in (("e0", 1000), ("e1", 1000), ("e2", 2000)):
        assert picks[name] == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize("kind", ["round_robin", "random", "least_request", "ring_hash", "maglev"])
def test_nobody_is_chosen_twice_for_one_request(kind: str) -> None:
    """Tried ones never, unless nobody else is there: then None."""
    ready = endpoints(1, 1, 1)
    made = chooser(kind, ready, hash_key=HashKey("source", table_size=251))
    assert draw(made, 300, (ready[1],))["e1"] == 0
    assert draw(made, 5, tuple(ready)) == Counter({"nobody": 5})


def test_round_robin_is_even_at_every_moment_and_starts_anywhere() -> None:
    """After 3k picks each had k; callers do not begin with the same endpoint."""
    made = chooser("round_robin", endpoints(1, 1, 1))
    for _ in range(20):
        assert set(draw(made, 3).values()) == {1}
    firsts = set()
    for seed in range(30):
        ready = endpoints(1, 1, 1)
        other = Chooser(BalancePolicy(kind="round_robin"), Place(), random.Random(seed))
        other.rebuild(ready, ready)
        first = other.choose((), None, Reference(), NOW)
        assert first is not None
        firsts.add(first.id)
    assert len(firsts) == 3


def test_round_robin_keeps_its_turns_when_the_set_is_looked_at_again() -> None:
    """Each change of any breaker rebuilds the list; who comes new takes one turn in three, not all."""
    ready = endpoints(1, 1)
    made = chooser("round_robin", ready)
    picks: Counter[str] = Counter()
    for _ in range(40):
        made.rebuild(ready, ready)
        picks += draw(made, 1)
    assert picks == {"e0": 20, "e1": 20}
    draw(made, 1000)
    more = [*ready, endpoints(1, 1, 1)[2]]
    made.rebuild(more, more)
    assert 9 <= draw(made, 30)["e2"] <= 11


def test_round_robin_passes_over_who_is_stalled_or_on_the_ramp() -> None:
    """Their turn is the next one's."""
    ready = endpoints(1, 1, 1)
    ready[0].pending, ready[0].silent_since = 1, NOW - 60.0
    ready[1].gate = 0.1
    picks = draw(chooser("round_robin", ready))
    assert picks["e0"] == 0
    assert picks["e1"] == pytest.approx(4000 * 0.1 / 1.1, rel=0.25)


def test_least_request_knows_the_pools_yardstick_for_silence() -> None:
    """Few in flight at a frozen process are no reason to send it more."""
    ready = endpoints(1, 1)
    ready[0].pending, ready[0].silent_since = 1, NOW - 0.5
    ready[1].pending, ready[1].silent_since = 3, NOW
    made, reference = chooser("least_request", ready), Reference()
    reference.stall_s = 0.06
    found = made.choose((), None, reference, NOW)
    assert found is ready[1]


@pytest.mark.parametrize("kind", ["ring_hash", "maglev"])
def test_the_ring_forgets_who_came_back_as_another(kind: str) -> None:
    """The same ids and weights at new addresses: the old objects have no connections any more."""
    old, new = endpoints(1, 1, 1), endpoints(1, 1, 1)
    made = chooser(kind, old, hash_key=HashKey("source", table_size=251))
    made.rebuild(new, new)
    for number in range(50):
        found = made.choose((), hash_of(b"%d" % number), Reference(), NOW)
        assert any(found is endpoint for endpoint in new)


def test_shares_and_gates_are_relative_to_the_best() -> None:
    """If all are new, or all warn, there is nobody to spare them for."""
    everyone = endpoints(2, 4, 4, 1)
    everyone[2].reported = 0.5
    gates = dict(zip(everyone, (0.05, 0.10, 0.10, 0.0), strict=True))
    by_breaker = {endpoint.breaker: gate for endpoint, gate in gates.items()}
    everyone[3].breaker.open(NOW, Verdict("dead", 1.0, False, {}))
    ready, held = assign(everyone, by_breaker.__getitem__, 0.5)
    assert (ready, held) == (everyone[:3], [])
    assert [endpoint.share for endpoint in everyone] == [0.5, 1.0, 0.5, 0.0]
    assert [endpoint.gate for endpoint in everyone] == [0.5, 1.0, 1.0, 0.0]
    everyone[1].health = "warning"
    assign(everyone, by_breaker.__getitem__, 0.5)
    assert [endpoint.share for endpoint in ready] == [1.0, 1.0, 1.0]
    closed = endpoints(1)
    assert assign(closed, lambda breaker: 0.0, 0.5) == ([], closed)


@pytest.mark.parametrize(
    ("gates", "expected"), [((1.0, 0.5), 1 / 3), ((1.0, 1.0, 0.1), 0.1 / 2.1), ((0.5, 0.5, 0.5), 1 / 3)]
)
@pytest.mark.parametrize("kind", ["peak_ewma", "least_request", "round_robin", "random"])
def test_a_ramp_may_weigh(kind: str, gates: tuple[float, ...], expected: float) -> None:
    """The last one's part is its weight among all weights, as in Envoy."""
    everyone = endpoints(*(1 for _ in gates))
    by_breaker = {endpoint.breaker: gate for endpoint, gate in zip(everyone, gates, strict=True)}
    ready, _ = assign(everyone, by_breaker.__getitem__, 0.5, ramp_weighs=kind in SCANNING)
    picks = draw(chooser(kind, ready), 8000)
    assert picks[everyone[-1].id] / 8000 == pytest.approx(expected, rel=0.15)


def test_least_request_ignores_latency() -> None:
    """A slow endpoint with nothing in flight is as good as a fast one."""
    ready = endpoints(1, 1)
    ready[0].ewma = 9.0
    assert draw(chooser("least_request", ready))["e0"] == pytest.approx(2000, rel=0.1)
    ready[1].pending, ready[1].silent_since = 1, NOW
    assert draw(chooser("least_request", ready))["e0"] == 4000


@pytest.mark.parametrize("kind", ["ring_hash", "maglev"])
@given(key=st.integers(0, 2**64 - 1))
def test_a_key_stays_when_others_leave(kind: str, key: int) -> None:
    """Only the keys of an endpoint that is gone move; they come back with it."""
    ready = endpoints(1, 1, 1, 1)
    made = chooser(kind, ready, hash_key=HashKey("source", minimum_ring_size=256, table_size=251))
    home = made.choose((), key, Reference(), NOW)
    assert home is not None
    for gone in ready:
        left = [endpoint for endpoint in ready if endpoint is not gone]
        made.rebuild(ready, left)
        now = made.choose((), key, Reference(), NOW)
        if gone is home:
            assert now is not home
        else:
            assert now is home
    made.rebuild(ready, ready)
    assert made.choose((), key, Reference(), NOW) is home


def test_the_ring_is_fair_to_weights() -> None:
    """Within a fifth of 1 : 1 : 2."""
    made = chooser("ring_hash", endpoints(1, 1, 2), hash_key=HashKey("source"))
    picks: Counter[str] = Counter()
    for number in range(8000):
        endpoint = made.choose((), hash_of(b"user-%d" % number), Reference(), NOW)
        assert endpoint is not None
        picks[endpoint.id] += 1
    for name, expected in (("e0", 2000), ("e1", 2000), ("e2", 4000)):
        assert picks[name] == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize(("size", "points"), [(10, 12), (1024, 1024), (4096, 4096)])
def test_the_ring_has_at_least_the_points_that_are_asked_for(size: int, points: int) -> None:
    """The lightest endpoint's share of them is rounded up, the others' follow from it."""
    ready = endpoints(1, 1, 2)
    ring = RingHash(size, random.Random(1))
    ring.rebuild(ready)
    assert len(ring._owners) == points
    assert Counter(owner.id for owner in ring._owners) == {
        "e0": points // 4,
        "e1": points // 4,
        "e2": points // 2,
    }


def test_the_table_is_fair_to_a_place() -> None:
    """1 : 1 : 2 of its places, whatever the order in which the registry lists them."""
    ready = endpoints(1, 1, 2)
    table, other = Maglev(4099, random.Random(1)), Maglev(4099, random.Random(1))
    table.rebuild(ready)
    other.rebuild(ready[::-1])
    owned = Counter(owner.id for owner in table._places)
    assert abs(owned["e0"] - owned["e1"]) <= 1
    assert abs(owned["e2"] - 2 * owned["e0"]) <= 3
    assert table._places == other._places


def test_few_keys_move_when_one_comes() -> None:
    """Those that it takes, and some percent more."""
    ready = endpoints(1, 1, 1, 1)
    table = Maglev(4099, random.Random(1))
    table.rebuild(ready[:3])
    before = list(table._places)
    table.rebuild(ready)
    moved = sum(a is not b for a, b in zip(before, table._places, strict=True)) / 4099
    assert 0.25 <= moved < 0.40


def test_the_cookie_that_is_made() -> None:
    """As Envoy writes it: a lifetime only if it has one, HttpOnly always."""
    strict = NewCookie(90.0, "/shop", (("SameSite", "Strict"), ("Secure", "")))
    assert strict.field("sid", b"1f") == (
        b'sid="1f"; Max-Age=90; Path=/shop; SameSite=Strict; Secure; HttpOnly'
    )
    assert NewCookie(0.0).field("sid", b"1f") == b'sid="1f"; HttpOnly'
    quoted = [(b"cookie", b'sid="1f"')]
    assert HashKey("cookie", "sid").of(b"/", quoted, "") == hash_of(b"1f")


@pytest.mark.parametrize(("size", "words"), [(1000, "must be a prime, not 1000"), (300_007, "262144")])
def test_sizes_of_a_table(size: int, words: str) -> None:
    with pytest.raises(PolicyError) as error:
        HashKey("source", table_size=size)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (HashKey("header", "X-User"), b"jason"),
        (HashKey("cookie", "sid"), b"42"),
        (HashKey("query", "q"), b"7"),
        (HashKey("source"), b"10.0.0.1"),
        (HashKey("header", "absent"), None),
        (HashKey("cookie", "absent"), None),
        (HashKey("query", "absent"), None),
    ],
)
def test_what_is_hashed(key: HashKey, expected: bytes | None) -> None:
    """Header, cookie, query parameter or address; absent means anywhere."""
    headers = [(b"x-user", b"jason"), (b"Cookie", b"a=1; sid=42")]
    found = key.of(b"/p?a=1&q=7", headers, "10.0.0.1")
    assert found == (None if expected is None else hash_of(expected))


def test_the_own_zone_first_and_spill_over_as_it_gets_ill() -> None:
    """All here while enough is well; with one of three well about half stays; with none, all go."""
    everyone = endpoints(1, 1, 1, 1, 1, 1, zones="aaabbb")
    made = chooser("peak_ewma", everyone, Place("a"), locality=LocalityPolicy())
    assert draw(made)["e3"] == 0
    made.rebuild(everyone, everyone[2:])
    assert draw(made)["e2"] == pytest.approx(4000 * 1.4 / 3, rel=0.1)
    made.rebuild(everyone, everyone[3:])
    assert sum(draw(made).values()) == 4000
    made.rebuild(everyone, everyone)
    assert draw(made, 200, tuple(everyone[:3])).keys() <= {"e3", "e4", "e5"}


def test_turns_are_kept_within_each_locality() -> None:
    """Round robin here and there, each in its own order."""
    everyone = endpoints(1, 1, 1, zones="abb")
    made = chooser("round_robin", everyone, Place("b"), locality=LocalityPolicy())
    assert set(draw(made, 100)) == {"e1", "e2"}
    made.rebuild(everyone, everyone[:1])
    assert set(draw(made, 100)) == {"e0"}


def test_no_preference_without_a_zone() -> None:
    """The default balancer stays in charge."""
    near = BalancePolicy(locality=LocalityPolicy())
    labelled = BalancePolicy(locality=LocalityPolicy(failover_priority=("tier",)))
    assert chooser_for(BalancePolicy(), Place("a"), random.Random(1)) is None
    assert chooser_for(near, Place(), random.Random(1)) is None
    assert chooser_for(near, Place("a"), random.Random(1)) is not None
    assert chooser_for(labelled, Place(), random.Random(1)) is not None


def test_subsets_and_the_rule_for_empty_ones() -> None:
    """By version, zone or Meta; nobody, or anybody, if none carries the labels."""
    specs = [
        EndpointSpec("a", "h", 1, version="v1", zone="x"),
        EndpointSpec("b", "h", 2, version="v2", meta={"tier": "gold"}),
    ]
    assert [s.id for s in select(specs, {"version": "v2", "tier": "gold"}, "reject")[0]] == ["b"]
    assert [s.id for s in select(specs, {"zone": "x"}, "reject")[0]] == ["a"]
    assert select(specs, {"version": "v9"}, "reject") == ([], True)
    assert select(specs, {"version": "v9"}, "any") == (specs, True)
    assert select(specs, {}, "reject") == (specs, False)
    assert select(specs[:1], {"tier": "gold"}, "reject") == ([], True), (
        "a label that is not there is no match"
    )
    assert select([], {"version": "v1"}, "reject") == ([], False), "nobody at all is not the labels' fault"


@pytest.mark.parametrize(
    ("report", "factor"),
    [
        (LoadReport(1.0, 0.0, 0.0), 1.0),
        (LoadReport(1.0, 40.0, 0.8), 1.0),
        (LoadReport(0.5, 0.0, 0.0), 0.8),
        (LoadReport(0.0, 0.0, 0.0), 0.1),
        (LoadReport(1.0, 500.0, 0.0), 0.2),
        (LoadReport(1.0, 0.0, 1.6), 0.5),
        (LoadReport(0.0, 9999.0, 9.0), 0.1),
    ],
)
def test_what_the_callees_word_leaves_of_its_share(report: LoadReport, factor: float) -> None:
    """Never nothing: taking out is the breaker's part."""
    assert factor_of(report) == pytest.approx(factor)


def test_reports_go_round() -> None:
    """Rendered and parsed; what is no report is none."""
    value = render_report("warning", 0.0123, 0.5)
    assert parse_report(value) == LoadReport(0.5, 12.0, 0.5)
    assert parse_report(b"JSON {}") is None
    assert parse_report(b"TEXT x") is None
    assert parse_report(b"TEXT named_metrics.health=-1") is None
    assert parse_report(b"TEXT cpu=1" + b" " * 600) is None
    assert parse_report(b"TEXT named_metrics.health=nan,cpu=1") == LoadReport(1.0, 0.0, 0.0)


@given(st.binary(max_size=80))
def test_no_report_breaks_the_parser(value: bytes) -> None:
    """Whatever a callee sends."""
    report = parse_report(b"TEXT " + value)
    assert report is None or 0.1 <= factor_of(report) <= 1.0


def test_colours_name_the_signal_that_speaks() -> None:
    """Green without words; else which of the three says what."""
    (endpoint,) = endpoints(1)
    assert colour_of(endpoint) == ("green", "")
    endpoint.report, endpoint.reported = LoadReport(1.0, 300.0, 0.1), 0.6
    assert colour_of(endpoint) == ("yellow", "it reports health 1, loop lag 300 ms, load 10%")
    endpoint.health = "warning"
    assert colour_of(endpoint) == ("yellow", "the registry says warning")
    endpoint.breaker.slow_start(NOW, "joined")
    assert colour_of(endpoint) == ("yellow", "ramp at 5%: joined")
    endpoint.breaker.hold(NOW, Verdict("half fails", 0.5, False, {}))
    assert colour_of(endpoint) == ("yellow", "held: half fails")
    endpoint.breaker.hold(NOW, Verdict("all fail", 1.0, False, {}))
    assert colour_of(endpoint) == ("red", "breaker held: all fail")
    endpoint.breaker.hold(NOW, Verdict("half fails", 0.5, False, {}))
    endpoint.report = LoadReport(0.0, 0.0, 0.0)
    assert colour_of(endpoint) == ("red", "it reports itself critical")
    endpoint.health = "critical"
    assert colour_of(endpoint) == ("red", "the registry says critical")
    endpoint.breaker.open(NOW, Verdict("dead", 1.0, False, {}))
    assert colour_of(endpoint) == ("red", "breaker open: dead")
