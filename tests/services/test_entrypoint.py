"""A graph that marks no entrypoint: the one service that nobody calls is it, and a person is told."""

from services.script import parse_topology

# isotope's own canonical graph, as its README has it but for `type: grpc`
CANONICAL = """\
services:
- name: a
- name: b
- name: c
  script: [{call: a}, {call: b}]
- name: d
  script: [[{call: a}, {call: c}], {call: b}]
"""


def test_the_one_that_nobody_calls() -> None:
    """As if it were marked, with a note that names it and says what to write."""
    topology = parse_topology(CANONICAL, "graph.yaml")
    assert topology.entrypoint.name == "d"
    assert [service.name for service in topology.services if service.is_entrypoint] == ["d"]
    assert topology.notes == (
        'no service is marked as the entrypoint: it is "d", the one that nobody calls '
        '("isEntrypoint: true" there says it for good)',
    )


def test_a_call_that_all_make_counts() -> None:
    """The script of `defaults` is each service's that has none of its own."""
    text = "defaults: {script: [{call: b}]}\nservices: [{name: a}, {name: b, script: []}]\n"
    assert parse_topology(text, "f").entrypoint.name == "a"


def test_one_service_alone() -> None:
    """Nobody calls it."""
    assert parse_topology("services: [{name: web}]\n", "f").entrypoint.name == "web"


def test_a_mark_is_believed() -> None:
    """Also where somebody calls it, and without a word."""
    topology = parse_topology(CANONICAL.replace("- name: c\n", "- name: c\n  isEntrypoint: true\n"), "f")
    assert (topology.entrypoint.name, topology.notes) == ("c", ())
