"""Who is near, and what share of the requests each group gets."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.balance.endpoints import Endpoint, EndpointSpec
from sidecar.balance.locality import Group, Place, groups
from sidecar.policy.breaker import Breaker
from sidecar.policy.locality_policy import LocalityPolicy, fits, place_of
from sidecar.policy.outlier import Outlier
from sidecar.policy.trip_rules import BreakerPolicy
from tests.fakes.clock import FakeClock


def endpoint(name: str, zone: str, **labels: str) -> Endpoint:
    pool = Outlier("svc", BreakerPolicy(), lambda event: None, lambda: None, FakeClock())
    breaker = Breaker(name, BreakerPolicy(), pool, 0.0, random.Random(1))
    return Endpoint(EndpointSpec(name, "127.0.0.1", 80, zone=zone, meta=labels), breaker, 0.0)


HERE = "eu/a/1"
EVERYONE = [
    endpoint("rack", "eu/a/1", tier="gold"),
    endpoint("zone", "eu/a/2", tier="silver"),
    endpoint("region", "eu/b/1"),
    endpoint("next", "us/a/1", tier="gold"),
    endpoint("far", "asia/a/1"),
]


def found(policy: LocalityPolicy, ready: str, caller: str = HERE, **labels: str) -> dict[str, float]:
    """The share of each group, by its members' names, when so many are ready."""
    alive = [each for each in EVERYONE if each.id in ready.split()]
    made = groups(policy, Place(caller, labels), EVERYONE, alive)
    return {" ".join(each.id for each in group.ready): round(group.share, 3) for group in made}


ALL = "rack zone region next far"


def test_levels_are_istio_s() -> None:
    """Subzone, zone, region, the region to fail over to, the rest: each when those before it are down."""
    policy = LocalityPolicy(failover=(("eu", "us"),))
    assert found(policy, ALL) == {"rack": 1.0, "zone": 0.0, "region": 0.0, "next": 0.0, "far": 0.0}
    assert found(policy, "zone region next far")["zone"] == 1.0
    assert found(policy, "region next far")["region"] == 1.0
    assert found(policy, "next far") == {"next": 1.0, "far": 0.0}
    assert found(policy, "far") == {"far": 1.0}
    assert found(policy, "") == {}


def test_without_a_region_to_fail_over_to_the_others_are_equal() -> None:
    assert found(LocalityPolicy(), "next far") == {"next far": 1.0}


def test_a_bare_zone_is_a_place() -> None:
    """As topologies write them."""
    near, far = endpoint("near", "a"), endpoint("far", "b")
    made = groups(LocalityPolicy(), Place("a"), [near, far], [near, far])
    assert made == [Group([near], 1.0), Group([far], 0.0)]


def test_without_a_place_nobody_is_near() -> None:
    assert found(LocalityPolicy(), ALL, caller="") == {ALL: 1.0}


def test_labels_rank_where_the_document_says_so() -> None:
    """By how many, from the first on, are the caller's own; a value in the document stands above it."""
    policy = LocalityPolicy(failover_priority=("topology.kubernetes.io/region", "tier"))
    assert list(found(policy, ALL, tier="gold")) == ["rack", "zone region", "next far"]
    stated = LocalityPolicy(failover_priority=("tier=gold",))
    assert list(found(stated, ALL, caller="")) == ["rack next", "zone region far"]


def test_shares_of_localities_are_the_document_s() -> None:
    """Each less by what of it is not ready; who fits no pattern gets nothing."""
    policy = LocalityPolicy(
        distribute=(("eu/a/*", (("eu/a/*", 80), ("us/*", 20))), ("*", (("asia/*", 100),)))
    )
    assert found(policy, ALL) == {"rack zone": 0.8, "next": 0.2}
    assert found(policy, "rack zone far") == {"rack zone": 1.0}
    assert found(policy, "zone next")["zone"] == pytest.approx(0.8 * 0.7 / (0.8 * 0.7 + 0.2), abs=0.001)
    assert found(policy, ALL, caller="us/b/1") == {"far": 1.0}
    elsewhere = LocalityPolicy(distribute=(("us/*", (("us/*", 100),)),))
    assert found(elsewhere, ALL)["rack"] == 1.0, "no entry for the caller: who is near comes first"


@pytest.mark.parametrize(
    ("pattern", "locality", "meant"),
    [
        ("*", "eu/a/1", True),
        ("eu/*", "eu/a/1", True),
        ("eu", "eu/a/1", True),
        ("eu/a/*", "eu/b/1", False),
        ("eu/a/1", "eu/a/1", True),
        ("eu/a/1", "eu/a", False),
        ("e", "eu", False),
    ],
)
def test_patterns(pattern: str, locality: str, meant: bool) -> None:
    assert fits(pattern, place_of(locality)) is meant


@given(st.lists(st.tuples(st.sampled_from(["eu/a/1", "eu/b/1", "us/a/1", ""]), st.booleans()), max_size=12))
def test_the_shares_are_one_in_all(seen: list[tuple[str, bool]]) -> None:
    """And every ready endpoint is in one group."""
    everyone = [endpoint(f"e{number}", zone) for number, (zone, _) in enumerate(seen)]
    ready = [each for each, (_, alive) in zip(everyone, seen, strict=True) if alive]
    made = groups(LocalityPolicy(), Place(HERE), everyone, ready)
    assert sorted(each.id for group in made for each in group.ready) == sorted(each.id for each in ready)
    if ready:
        assert sum(group.share for group in made) == pytest.approx(1.0)
