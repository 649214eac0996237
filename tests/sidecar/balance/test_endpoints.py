"""Snapshots become differences; who left is remembered for a while."""

import random

import pytest

from sidecar.balance.endpoints import MEMORY_MAX, MEMORY_S, Endpoint, EndpointSet, EndpointSpec, Memory
from sidecar.policy.breaker import Breaker
from sidecar.policy.errors import PolicyError
from sidecar.policy.outlier import Outlier
from sidecar.policy.trip_rules import BreakerPolicy
from tests.fakes.clock import FakeClock

POOL = Outlier("s", BreakerPolicy(), lambda event: None, lambda: None, FakeClock())


def endpoint(spec: EndpointSpec) -> Endpoint:
    """With a breaker of its own."""
    return Endpoint(spec, Breaker(spec.id, BreakerPolicy(), POOL, 0.0, random.Random(1)), 0.0)


def test_an_update_is_a_difference() -> None:
    """Added, removed, described anew; another address is another process; unchanged is nothing."""
    one, two = EndpointSpec("a", "127.0.0.1", 1), EndpointSpec("b", "127.0.0.1", 2)
    endpoints = EndpointSet()
    endpoints.replace([], [endpoint(one), endpoint(two)])
    assert endpoints.compare([one, two]) == ([], [], [])
    heavier = EndpointSpec("a", "127.0.0.1", 1, weight=5)
    moved = EndpointSpec("b", "127.0.0.1", 3)
    third = EndpointSpec("c", "127.0.0.1", 4)
    added, removed, kept = endpoints.compare([heavier, moved, third, third])
    assert added == [moved, third]
    assert [gone.id for gone in removed] == ["b"]
    assert [(changed.id, spec.weight) for changed, spec in kept] == [("a", 5)]


def test_memory_is_bounded_in_count_and_time() -> None:
    """The oldest of too many is forgotten; ten minutes later nobody is known."""
    memory = Memory()
    for index in range(MEMORY_MAX + 10):
        memory.remember(endpoint(EndpointSpec(f"e{index}", "h", 1)), 0.0)
    assert len(memory) == MEMORY_MAX
    assert memory.recall("e0", 1.0) is None
    found = memory.recall("e20", 1.0)
    assert found is not None
    assert found[0] == "h:1"
    assert memory.recall("e20", 1.0) is None
    assert memory.recall("e21", MEMORY_S + 1.0) is None


def test_a_spec_is_validated() -> None:
    """The error names the endpoint and the field."""
    with pytest.raises(PolicyError, match=r"endpoint\[a\]\.port"):
        EndpointSpec("a", "h", 0)
    with pytest.raises(PolicyError, match=r"endpoint\[a\]\.weight"):
        EndpointSpec("a", "h", 1, weight=0)
    assert endpoint(EndpointSpec("a", "::1", 80)).address == "[::1]:80"
