"""Changes of a topology: each gives a valid one, or one line of words and nothing else."""

import pytest

from mesh.difference import Difference, difference
from mesh.draft import Draft
from mesh.errors import ActionRefused, UsageError
from mesh.words import UnknownName
from services.script import Concurrent, parse_topology

TEXT = """\
defaults: {responseSize: 1 KB}
services:
- name: front
  isEntrypoint: true
  script:
  - call: users
  - - call: orders
    - call: {service: stock, required: false}
- name: users
  versions: [v1, v2]
  numReplicas: 2
- name: orders
  numReplicas: 3
  latency: 5ms
- name: stock
- name: files
  command: [serve, "{port}"]
"""


@pytest.fixture
def draft() -> Draft:
    return Draft(TEXT, "shop.yaml")


def calls(draft: Draft, caller: str) -> list[str]:
    return [call.service for call in draft.topology.service(caller).calls()]


def test_a_service_is_added_and_the_file_says_so(draft: Draft) -> None:
    """With the file's own words and units; what was there stays as it was written."""
    new = draft.with_service("reviews", {"numReplicas": 2, "latency": "5ms", "errorRate": "1%"})
    found = parse_topology(new.text, "saved.yaml").service("reviews")
    assert (found.replicas, found.error_rate, found.response_size) == (2, 0.01, 1024)
    assert "responseSize: 1 KB" in new.text
    assert [each.name for each in draft.topology.services] == ["front", "users", "orders", "stock", "files"]


def test_the_same_again_is_no_change(draft: Draft) -> None:
    """The very same draft comes back."""
    new = draft.with_service("stock", {"latency": "9ms"})
    assert new.with_service("stock", {"latency": "9ms"}) is new
    assert draft.with_call("front", "users", {}) is draft
    assert draft.without_call("front", "files") is draft


def test_a_setting_is_changed_and_taken_back(draft: Draft) -> None:
    """None is the default again."""
    slow = draft.with_service("orders", {"latency": "80ms"})
    assert slow.service("orders")["latency"] == "80ms"
    assert slow.with_service("orders", {"latency": None}).topology.service("orders").latency is None


def test_calls_are_drawn_and_taken_away(draft: Draft) -> None:
    """A new one is last; one among those that run at once goes alone."""
    new = draft.with_call("orders", "stock", {"probability": 50})
    assert calls(new, "orders") == ["stock"]
    assert new.topology.service("orders").calls()[0].probability == 0.5
    less = draft.without_call("front", "orders")
    assert calls(less, "front") == ["users", "stock"]
    assert isinstance(less.topology.service("front").script[1], Concurrent)
    never = draft.with_call("front", "stock", {"required": True})
    assert calls(never, "front") == ["users", "orders", "stock"]
    assert never.topology.service("front").calls()[2].required


def test_a_call_of_the_defaults_is_taken_away_from_one_service_only() -> None:
    """The others still make it."""
    shared = Draft(
        "defaults: {script: [{call: log}]}\n"
        "services: [{name: a, isEntrypoint: true}, {name: b}, {name: log, script: []}]\n",
        "shared.yaml",
    )
    less = shared.without_call("a", "log")
    assert (calls(less, "a"), calls(less, "b")) == ([], ["log"])
    gone = shared.without_service("log")
    assert (calls(gone, "a"), calls(gone, "b")) == ([], [])


def test_a_service_goes_with_every_call_to_it(draft: Draft) -> None:
    """Also where it ran at once with others."""
    assert calls(draft.without_service("orders").without_service("stock"), "front") == ["users"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"numReplicas": 0}, "orders: numReplicas: 0 is out of range (write 1 to 1000)"),
        ({"latency": "fast"}, 'orders: latency: "fast" is not a duration'),
        ({"errorRate": 7}, "orders: errorRate: 7 is more than 1"),
        ({"replicas": 2}, 'no key is named "replicas" (settings: numReplicas, latency'),
        ({"command": ["rm"]}, "command: stands in the topology file only"),
        ({"script": [{"call": "front"}]}, "never end"),
    ],
)
def test_a_wrong_setting_is_one_line(draft: Draft, settings: dict[str, object], words: str) -> None:
    """With the service and the field, and without a line of a file that nobody has seen."""
    with pytest.raises(UsageError) as caught:
        draft.with_service("orders", settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "yaml" not in str(caught.value)


def test_a_name_that_cannot_be_one_is_refused(draft: Draft) -> None:
    """As in the file; also the mesh's own."""
    for name in ("Orders!", "registry", "ingress"):
        with pytest.raises(UsageError):
            draft.with_service(name, {})


def test_unknown_names_are_told_with_the_one_that_was_meant(draft: Draft) -> None:
    """Before anything happens."""
    for change in (
        lambda: draft.without_service("order"),
        lambda: draft.with_call("order", "users", {}),
        lambda: draft.with_call("front", "order", {}),
        lambda: draft.without_call("front", "order"),
    ):
        with pytest.raises(UnknownName, match='did you mean "orders"'):
            change()


def test_what_the_topology_forbids(draft: Draft) -> None:
    """The entrypoint stays, replicas keep their version, programs their calls, nobody calls itself."""
    with pytest.raises(ActionRefused, match="front is the entrypoint"):
        draft.without_service("front")
    with pytest.raises(ActionRefused, match="users: versions: replicas that run keep theirs"):
        draft.with_service("users", {"versions": ["v3"]})
    with pytest.raises(ActionRefused, match="cannot call itself"):
        draft.with_call("orders", "orders", {})
    with pytest.raises(UsageError, match="files runs a program of its own"):
        draft.with_call("files", "stock", {})
    with pytest.raises(UsageError, match="the ingress calls the entrypoint, front, and nobody else"):
        draft.with_call("ingress", "stock", {})
    with pytest.raises(UsageError, match="users: versions: 2 versions for 1 replicas"):
        draft.with_service("users", {"numReplicas": 1})


def test_the_difference_is_what_has_to_happen(draft: Draft) -> None:
    """The last replicas go first; a service whose number alone is different need not read again."""
    assert difference(draft.topology, draft.topology) == Difference((), (), frozenset())
    fewer = difference(draft.topology, draft.with_service("orders", {"numReplicas": 1}).topology)
    assert (fewer.added, fewer.removed, fewer.changed) == ((), ("orders-3", "orders-2"), frozenset())
    more = difference(draft.topology, draft.with_service("users", {"numReplicas": 3}).topology)
    assert [(each.name, each.version) for each in more.added] == [("users-3", "v1")]
    gone = difference(draft.topology, draft.without_service("stock").topology)
    assert (gone.removed, gone.changed) == (("stock-1",), frozenset({"front"}))


def test_the_entrypoint_that_was_only_understood_stays_it() -> None:
    """Another service that nobody calls is added: the saved file marks the one that it was."""
    draft = Draft("services:\n- name: a\n- name: b\n  script: [{call: a}]\n", "f.yaml")
    new = draft.with_service("c", {})
    assert new.topology.entrypoint.name == "b"
    assert parse_topology(new.text, "saved.yaml").notes == ()
