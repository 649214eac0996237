"""Calls of a script to hosts that are no service: those of the topology's own ServiceEntries."""

import pytest

from services.outside import hosts_outside, is_outside
from services.script import TopologyError, parse_topology

TOPOLOGY = """\
outboundTrafficPolicy: {mode: ALLOW_ANY}
services:
- name: shop
  script: [{call: CALLEE}]
policies:
- apiVersion: networking.istio.io/v1
  kind: ServiceEntry
  metadata: {name: outside}
  spec:
    hosts: [API.example.com, "*.example.org"]
    ports: [{number: 80, name: http}]
"""


@pytest.mark.parametrize(
    "callee", ["api.example.com", "Api.Example.com:80", "a.b.example.org", "a.example.org"]
)
def test_a_host_of_a_document_may_be_called(callee: str) -> None:
    """With its port or without; whoever calls it is still who nobody calls."""
    topology = parse_topology(TOPOLOGY.replace("CALLEE", f'"{callee}"'), "f")
    assert topology.entrypoint.name == "shop"
    assert topology.outbound_traffic_policy == "ALLOW_ANY"


@pytest.mark.parametrize(
    "callee", ["example.org", "api.example.net", "api.example.com:http", "api.example.com:1:2"]
)
def test_another_may_not(callee: str) -> None:
    """It is a slip, as ever."""
    with pytest.raises(TopologyError, match="no service is named"):
        parse_topology(TOPOLOGY.replace("CALLEE", f'"{callee}"'), "f")


def test_a_document_may_be_anything() -> None:
    """What is wrong with it is told by who reads it."""
    odd: list[dict[str, object]] = [
        {},
        {"kind": "ServiceEntry"},
        {"kind": "ServiceEntry", "spec": {"hosts": 1}},
    ]
    assert hosts_outside(odd) == frozenset()
    assert not is_outside("", frozenset({"a"}))


def test_a_mode_that_is_none() -> None:
    """With what to write."""
    with pytest.raises(TopologyError) as caught:
        parse_topology("outboundTrafficPolicy: {mode: ANY}\nservices: [{name: a}]\n", "f")
    assert str(caught.value) == (
        'f:1: outboundTrafficPolicy.mode: "ANY" says nothing of hosts that nobody knows '
        "(write REGISTRY_ONLY or ALLOW_ANY)"
    )
