"""A topology file means what isotope says it means, and ours on top; the ones that ship are sound."""

import random
from pathlib import Path

import pytest

from services.script import (
    Call,
    Concurrent,
    Health,
    Load,
    Sleep,
    TopologyError,
    load_topology,
    parse_topology,
    shipped_topologies,
)

# isotope's documented keys at once, those of its README included
ISOTOPE = """\
apiVersion: v1alpha1
kind: MockServiceGraph
defaults:
  type: http
  errorRate: 0.1%
  requestSize: 1 KB
  responseSize: 16KB
  numReplicas: 2
  numRbacPolicies: 3
  script:
  - sleep: 100ms
services:
- name: a
  memoryUsage: 80%
  computeUsage: 10%
  numReplicas: 5
- name: b
  namespace: demo
  cluster: cluster1
  labels: {team: blue, tier: 1}
  errorRate: 5%
  script:
  - call:
      service: a
      size: 10K
  - call:
      service: a
      payloadSize: 80B
      hostname: a.demo.svc.cluster.local:8080
      extra-header: {x-user: ada}
      probability: 30
- name: c
  isEntrypoint: true
  numReplicas: 1
  responseSize: 0
  script:
  - - call: a
    - call: b
  - sleep: 10ms
"""


def test_isotopes_keys_and_defaults() -> None:
    topology = parse_topology(ISOTOPE, "isotope.yaml")
    a, b, c = topology.services
    assert (a.replicas, a.error_rate, a.response_size, a.script) == (5, 0.001, 16384, (Sleep(0.1),))
    assert (b.replicas, b.error_rate, b.request_size) == (2, 0.05, 1024)
    assert b.script == (
        Call("a", size=10240),
        Call("a", size=80, headers={"x-user": "ada"}, probability=0.3),
    )
    assert (c.replicas, c.response_size, c.is_entrypoint) == (1, 0, True)
    assert c.script == (Concurrent((Call("a", size=1024), Call("b", size=1024))), Sleep(0.01))
    assert topology.entrypoint is c
    assert (topology.load, topology.policies, topology.ingress_port) == (None, (), None)
    assert len(topology.instances()) == 8


def test_isotopes_default_in_the_singular() -> None:
    text = "default: {responseSize: 1 KB}\nservices: [{name: a, isEntrypoint: true}]\n"
    assert parse_topology(text, "f").service("a").response_size == 1024


def test_a_service_can_say_none_where_the_defaults_say_some() -> None:
    """An empty script is a script, no bytes are a size, and a command has no script at all."""
    text = """\
defaults: {script: [call: a, call: files], requestSize: 1 KB}
services:
- {name: a, script: []}
- {name: files, command: serve}
- {name: b, isEntrypoint: true, script: [call: {service: a, size: 0}, call: a]}
"""
    a, files, b = parse_topology(text, "f").services
    assert a.script == files.script == ()
    assert b.script == (Call("a", size=0), Call("a", size=1024))


OURS = """\
defaults:
  zones: [north, south]
  latency: 2ms
services:
- name: gateway
  isEntrypoint: true
  port: 9000
  script:
  - call:
      service: orders
      method: POST
      path: /orders?new=1
      timeout: 200ms
      required: false
- name: orders
  numReplicas: 3
  versions: [v1, v2]
  latency: {distribution: uniform, min: 1ms, max: 3ms}
  health: {path: /ready, interval: 500ms}
- name: files
  zone: west
  command: python -m http.server {port} --directory "a b"
policies:
- kind: VirtualService
  metadata: {name: orders}
  spec:
    hosts: [orders]
load: {rate: 50/s, pattern: "sine 10 100 60s"}
ingress: {port: 8080}
"""


def test_our_keys() -> None:
    topology = parse_topology(OURS, "ours.yaml")
    gateway, orders, files = topology.services
    assert gateway.port == 9000
    assert gateway.script == (
        Call("orders", method="POST", path="/orders?new=1", timeout=0.2, required=False),
    )
    assert gateway.latency is not None
    assert gateway.latency.sample(random.Random(1)) == 0.002
    assert (gateway.versions, gateway.health) == (("v1",), Health("/health", 1.0))
    assert orders.health == Health("/ready", 0.5)
    assert [(i.name, i.index, i.version, i.zone) for i in topology.instances()] == [
        ("gateway-1", 1, "v1", "north"),
        ("orders-1", 1, "v1", "north"),
        ("orders-2", 2, "v2", "south"),
        ("orders-3", 3, "v1", "north"),
        ("files-1", 1, "v1", "west"),
    ]
    assert files.command == ("python", "-m", "http.server", "{port}", "--directory", "a b")
    assert (files.latency, files.script, files.health) == (None, (), Health(None, 1.0))
    assert topology.load == Load(50.0, "sine 10 100 60s")
    assert topology.ingress_port == 8080
    assert topology.policies[0]["kind"] == "VirtualService"
    assert topology.line_of("policies", 0, "spec", "hosts", 0) == 27
    assert topology.line_of("policies", 0, "spec", "http", 0, "route") == 26
    assert orders.line == 15


def test_a_replica_that_is_added_later_has_its_turn_of_version_and_zone() -> None:
    orders = parse_topology(OURS, "f").service("orders")
    assert (orders.instance(4).name, orders.instance(4).version, orders.instance(4).zone) == (
        "orders-4",
        "v2",
        "south",
    )


def test_calls_lists_the_concurrent_ones_too() -> None:
    topology = parse_topology(ISOTOPE, "f")
    assert [call.service for call in topology.service("c").calls()] == ["a", "b"]


def test_a_key_without_a_value_is_left_out() -> None:
    text = "services:\n- name: a\n  isEntrypoint: true\n  script:\n  errorRate:\n  labels:\n"
    assert parse_topology(text, "f").service("a").script == ()


def test_who_is_asked_for_and_is_not_there() -> None:
    with pytest.raises(KeyError):
        parse_topology(ISOTOPE, "f").service("z")


def test_names_that_ship_need_no_file() -> None:
    assert shipped_topologies() == (
        "bookinfo",
        "chain",
        "fanout",
        "isotope-canonical",
        "isotope-tree",
        "shop",
        "star",
    )
    assert load_topology("shop").file.endswith("services/topologies/shop.yaml")
    with pytest.raises(TopologyError) as caught:
        load_topology("shpo")
    assert str(caught.value) == (
        "shpo: no topology of that name ships with the mesh "
        '(did you mean "shop"?; a file is named by its path)'
    )


def test_the_shop() -> None:
    shop = load_topology("shop")
    assert {service.name: service.replicas for service in shop.services} == {
        "gateway": 2,
        "users": 2,
        "catalog": 2,
        "recommendations": 2,
        "orders": 3,
        "inventory": 2,
        "payments": 3,
    }
    assert shop.entrypoint.name == "gateway"
    assert shop.service("recommendations").versions == ("v1", "v2")
    assert shop.load == Load(50.0)
    assert any(isinstance(step, Concurrent) for step in shop.service("gateway").script)
    rng = random.Random(1)
    for service in shop.services:
        assert service.latency is not None
        draws = sorted(service.latency.sample(rng) for _ in range(1000))
        assert 0.0005 < draws[500] < 0.02


def test_the_star_is_one_service_of_three() -> None:
    star = load_topology("star")
    assert [(service.name, service.replicas) for service in star.services] == [("orders", 3)]
    assert star.entrypoint.calls() == ()


def test_bookinfo_has_three_versions_of_reviews_and_two_call_ratings() -> None:
    bookinfo = load_topology("bookinfo")
    assert bookinfo.entrypoint.name == "productpage"
    assert [call.service for call in bookinfo.entrypoint.calls()] == ["details", "reviews"]
    reviews = bookinfo.service("reviews")
    assert (reviews.versions, reviews.replicas) == (("v1", "v2", "v3"), 3)
    assert reviews.calls() == (Call("ratings", required=False, versions=("v2", "v3")),)


def test_a_call_names_versions_that_its_caller_has() -> None:
    text = """\
defaults: {numReplicas: 2}
services:
- name: a
  isEntrypoint: true
  versions: [v1, v2]
  script: [call: {service: b, versions: [v3]}]
- name: b
"""
    with pytest.raises(TopologyError) as caught:
        parse_topology(text, "f")
    assert str(caught.value) == (
        'f:6: services[0].script[0].call.versions: "a" has no version "v3" (its versions: v1, v2)'
    )
    assert parse_topology(text.replace("v3", "v2"), "f").entrypoint.calls()[0].versions == ("v2",)


@pytest.mark.parametrize("name", ["isotope-tree", "isotope-canonical"])
def test_the_isotope_examples_use_isotopes_keys_alone(name: str) -> None:
    topology = load_topology(name)
    words = {line.strip(" -").split(":")[0] for line in Path(topology.file).read_text().splitlines()}
    documented = {"apiVersion", "kind", "defaults", "services", "name", "isEntrypoint", "script", "call"}
    assert {word for word in words if not word.startswith("#")} <= documented | {
        "requestSize",
        "responseSize",
    }


def test_the_isotope_tree_has_three_levels() -> None:
    tree = load_topology("isotope-tree")
    assert len(tree.services) == 13
    root = tree.entrypoint
    assert root.script == (Concurrent(tuple(Call(f"svc-0-{i}", size=128) for i in range(3))),)
    leaves = [child for call in root.calls() for child in tree.service(call.service).calls()]
    assert len(leaves) == 9
    assert all(tree.service(leaf.service).calls() == () for leaf in leaves)


def test_the_isotope_diamond() -> None:
    d = load_topology("isotope-canonical").entrypoint
    a, b, c = (Call(name, size=1024) for name in "abc")
    assert d.script == (Concurrent((a, c)), b)
