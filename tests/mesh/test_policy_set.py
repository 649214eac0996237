"""A set of documents as a whole, without any mesh; and those inside a topology, with their lines."""

import json
from pathlib import Path

import pytest

from mesh.errors import DocumentsRefused, UsageError
from mesh.fault_text import document_of, match_of, what, which
from mesh.policy_check import check_topology
from mesh.policy_names import kind_and_name, kind_of, shown
from mesh.policy_set import changes, merged, read_policies, version
from services.script import TopologyError, load_topology
from sidecar.routing.entries import path_of
from tests.mesh.control.policy_world import destination_rule, virtual_service


def test_every_problem_of_every_document_is_told() -> None:
    """One line each, whatever is wrong with the others."""
    broken = virtual_service()
    broken["spec"]["http"][0]["timeot"] = "1s"
    with pytest.raises(DocumentsRefused) as refused:
        read_policies([broken, 7, {"kind": "Gateway"}], "file")
    first, second, third = refused.value.problems
    assert first.startswith(
        "VirtualService/orders: spec.http[0].timeot: is unknown (did you mean 'timeout'?)"
    )
    assert second == "file[1]: must be a mapping, not int"
    assert third.startswith("file[2]: kind: 'Gateway' is not honoured here")
    assert str(refused.value) == f"{first} (and 2 more problems)"


def test_a_change_is_told_by_its_content() -> None:
    """The order of keys is none; the set's version is the same in any order."""
    before = read_policies([virtual_service(), destination_rule()])
    turned = json.loads(json.dumps(virtual_service(), sort_keys=True))
    after = read_policies([turned, destination_rule("users"), virtual_service("users")])
    assert [change.word for change in changes(before, after)] == ["unchanged", "created", "created"]
    assert [policy.key for policy in merged(before, after)] == [
        "DestinationRule/orders", "DestinationRule/users", "VirtualService/orders", "VirtualService/users",
    ]  # fmt: skip
    assert version(before) == version(reversed(before)) != version(after)


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("spec.http[0].route[1].weight", ("spec", "http", 0, "route", 1, "weight")),
        (
            "metadata.annotations[mesh/rate-limit.a].total",
            ("metadata", "annotations", "mesh/rate-limit.a", "total"),
        ),
        ("", ()),
    ],
)
def test_a_field_becomes_a_path(field: str, path: tuple[str | int, ...]) -> None:
    """To look its line up."""
    assert path_of(field) == path


@pytest.mark.parametrize(
    ("word", "kind", "name"),
    [
        ("vs", "VirtualService", None),
        ("virtualservices.networking.istio.io/a", "VirtualService", "a"),
        ("DestinationRule/orders", "DestinationRule", "orders"),
        ("dr/orders", "DestinationRule", "orders"),
        ("Faults", "Fault", None),
    ],
)
def test_kinds_are_known_by_the_words_of_kubectl(word: str, kind: str, name: str | None) -> None:
    """Short, plural, with their group, in any case."""
    assert kind_and_name(word) == (kind, name)


@pytest.mark.parametrize("word", ["gateway", "vs/", ""])
def test_another_word_is_no_kind(word: str) -> None:
    """It says which there are."""
    with pytest.raises(UsageError):
        kind_and_name(word)


def test_a_key_is_shown_as_kubectl_does() -> None:
    """And is understood again."""
    assert shown("VirtualService/orders") == "virtualservice/orders"
    assert kind_of("virtualservice") == "VirtualService"


@pytest.mark.parametrize(
    ("words", "source", "match", "said"),
    [
        (
            ["method=post", "prefix=/pay"],
            None,
            {"method": {"exact": "POST"}, "uri": {"prefix": "/pay"}},
            "POST /pay*",
        ),
        (
            ["path=/a"],
            "gateway",
            {"uri": {"exact": "/a"}, "sourceLabels": {"app": "gateway"}},
            "/a from gateway",
        ),
        (["X-User=ann"], None, {"headers": {"x-user": {"exact": "ann"}}}, "x-user: ann"),
        (["regex=/v[12]/.*"], None, {"uri": {"regex": "/v[12]/.*"}}, "~/v[12]/.*"),
    ],
)
def test_a_match_is_read_and_said(
    words: list[str], source: str | None, match: dict[str, object], said: str
) -> None:
    """It is a match that the sidecars take."""
    assert match_of(words, source) == match
    document = document_of("orders", None, None, {"action": "hang", "match": [match]})
    assert read_policies([document])[0].key == f"Fault/{document['metadata']['name']}"
    assert which(document["spec"]) == said


@pytest.mark.parametrize("words", [["method"], ["=x"], ["path="], ["path=/a", "prefix=/b"]])
def test_a_match_that_is_none_is_refused(words: list[str]) -> None:
    """With what it could be."""
    with pytest.raises(UsageError, match="--match"):
        match_of(words)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"delay": {"duration": "200ms"}}, "delay 200ms"),
        (
            {
                "delay": {"duration": "1s", "shape": "lognormal", "percentage": 50.0},
                "action": "abort",
                "status": 500,
            },
            "delay 1s (lognormal) for 50 % + abort 500",
        ),
        (
            {"action": "fail-first", "count": 2, "percentage": 12.5},
            "503 for the first 2 of each request for 12.5 %",
        ),
        ({"action": "truncate", "afterBytes": 10}, "truncate after 10 bytes"),
        ({"action": "slow-body", "bytesPerSecond": 100}, "body at 100 bytes/s"),
        ({"action": "reset"}, "reset"),
        ({}, "nothing (keeps later faults away)"),
    ],
)
def test_a_fault_is_said_in_words(spec: dict[str, object], words: str) -> None:
    """Defaults as the document's own."""
    assert what(spec) == words


TOPOLOGY = """\
services:
- name: orders
  isEntrypoint: true
  numReplicas: 2
  versions: [v1, v2]
policies:
- apiVersion: networking.istio.io/v1
  kind: DestinationRule
  metadata: {name: orders}
  spec:
    host: orders
    trafficPolicy:
      outlierDetection: {maxEjectionPercent: 10}
    subsets:
    - name: v1
      labels: {version: v1}
- apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata: {name: orders}
  spec:
    hosts: [orders]
    http:
    - route:
      - destination: {host: orders, subset: v1}
"""


def topology_error(tmp_path: Path, text: str) -> TopologyError:
    file = tmp_path / "mesh.yaml"
    file.write_text(text)
    with pytest.raises(TopologyError) as error:
        check_topology(load_topology(str(file)))
    return error.value


def test_policies_of_a_topology_are_judged_as_a_set(tmp_path: Path) -> None:
    """What is right and can never act is a note, and so is what is not there yet."""
    file = tmp_path / "mesh.yaml"
    file.write_text(TOPOLOGY)
    (note,) = check_topology(load_topology(str(file)))
    assert note.startswith(
        "policies: DestinationRule/orders: spec.trafficPolicy.outlierDetection.maxEjection"
    )
    file.write_text(TOPOLOGY.replace("subset: v1}", "subset: v3}"))
    assert any("defines the subset 'v3'" in each for each in check_topology(load_topology(str(file))))


def test_a_wrong_policy_of_a_topology_names_line_and_field(tmp_path: Path) -> None:
    """All of them; what only the whole set shows, too."""
    error = topology_error(
        tmp_path, TOPOLOGY.replace("hosts: [orders]", "host: [orders]").replace("10}", "1000}")
    )
    found = [(each.line, each.field) for each in (error, *error.more)]
    assert (13, "policies[0].spec.trafficPolicy.outlierDetection.maxEjectionPercent") in found
    assert (21, "policies[1].spec.host") in found
    error = topology_error(tmp_path, TOPOLOGY.replace("hosts: [orders]", "hosts: ['a.*.b']"))
    assert (error.line, error.field) == (21, "policies[1].spec.hosts[0]")
