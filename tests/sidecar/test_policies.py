"""Documents in, one compiled set out; a wrong set changes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.observe.events import EventLog
from sidecar.policies import PREFIX, PROBLEM_CHARS, Policies, read_files
from sidecar.routing.compile import compile_documents
from sidecar.routing.compiled import Compiled, Identity
from sidecar.routing.documents import Document, parse_text
from tests.fakes.clock import FakeClock

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: orders}
spec: {host: orders, subsets: [{name: v2, labels: {version: v2}}]}
"""
SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders}
spec: {hosts: [orders], http: [{route: [{destination: {host: orders, subset: v2}}]}]}
"""


@dataclass
class Entry:
    key: str
    value: bytes


def entry(text: str) -> Entry:
    document = parse_text(text)[0]
    return Entry(f"mesh/policy/{document.key}", json.dumps(document.model_dump(mode="json")).encode())


class World:
    """What the sidecar would act on."""

    def __init__(self, files: list[Document] | None = None) -> None:
        self.clock = FakeClock()
        self.events = EventLog("a-1", self.clock)
        self.applied: list[Compiled] = []
        self.policies = Policies(files or [], self._compile, self.applied.append, self.events, self.clock)

    def _compile(self, documents: list[Document]) -> Compiled:
        return compile_documents(documents, Identity("caller"), known=lambda name: True)

    def kinds(self) -> list[str]:
        return [event["reason"] for event in self.events.since(0) if event["kind"] == "policy"]


def test_a_set_comes_into_force_once() -> None:
    """The same set again is no news; another one is applied whole."""
    world = World()
    empty = world.policies.compiled.version
    world.clock.advance(5)
    for _ in range(2):
        world.policies.take([entry(RULE), entry(SERVICE)])
    assert len(world.applied) == 2
    state = world.policies.state()
    assert (state["documents"], state["problem"], state["at"]) == (2, "", world.clock())
    assert state["version"] != empty
    assert world.applied[-1].table.match("orders", b"GET", b"/", []) is not None
    world.policies.take([])
    assert world.policies.state()["version"] == empty
    assert world.kinds() == ["2 documents in force", "0 documents in force"]


@pytest.mark.parametrize(
    "wrong",
    [
        Entry("mesh/policy/VirtualService/x", b"{"),
        Entry("mesh/policy/VirtualService/x", b"\xff"),
        Entry("mesh/policy/Gateway/x", b'{"kind": "Gateway"}'),
        Entry(
            "mesh/policy/VirtualService/x",
            b'{"kind": "VirtualService", "metadata": {"name": "x"}, "spec": 1}',
        ),
    ],
)
def test_a_wrong_set_is_refused_whole(wrong: Entry) -> None:
    """Also the good documents beside a bad one; it is said once, and a good set clears it."""
    world = World()
    world.policies.take([entry(RULE)])
    version = world.policies.state()["version"]
    for _ in range(2):
        world.policies.take([entry(RULE), entry(SERVICE), wrong])
    state = world.policies.state()
    assert state["version"] == version
    assert wrong.key.removeprefix(PREFIX) in state["problem"]
    assert len(world.applied) == 2
    assert world.kinds()[0] == "1 documents in force"
    assert [reason[:17] for reason in world.kinds()[1:]] == ["a set was refused"]
    world.policies.take([entry(RULE)])
    assert world.policies.state()["problem"] == ""


def test_a_set_that_does_not_fit_together_is_refused() -> None:
    """Each document is right, but a route names a subset that nobody defines."""
    world = World()
    world.policies.take([entry(SERVICE)])
    assert "v2" in world.policies.state()["problem"]
    assert len(world.applied) == 1


def test_what_was_refused_is_told_briefly() -> None:
    world = World()
    world.policies.take([Entry(f"mesh/policy/VirtualService/{n}", b"{") for n in range(1000)])
    assert len(world.policies.state()["problem"]) == PROBLEM_CHARS


def test_the_registry_goes_before_a_file() -> None:
    """A document of the same kind and name replaces the file's, and gives way to it when it is deleted."""
    world = World(parse_text(RULE))
    ours = world.policies.compiled.version
    world.policies.take([entry(RULE.replace("v2", "v3"))])
    assert "v3" in json.dumps(world.policies.dump())
    world.policies.take([])
    assert world.policies.compiled.version == ours
    dump = world.policies.dump()
    assert dump["documents"]["DestinationRule/orders"]["spec"]["subsets"] == [
        {"name": "v2", "labels": {"version": "v2"}}
    ]


async def test_the_watch_feeds_it() -> None:
    world = World()

    class Source:
        async def watch_kv(self, prefix: str) -> AsyncIterator[tuple[Entry, ...]]:
            assert prefix == "mesh/policy/"
            yield (entry(RULE),)
            yield ()

    await world.policies.watch(Source())
    assert [len(compiled.destinations) for compiled in world.applied] == [0, 2, 0]


def test_files_are_read_or_refused_by_name(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(RULE + "---" + SERVICE)
    bad.write_text("kind: Nothing")
    assert [document.key for document in read_files([good])] == [
        "DestinationRule/orders",
        "VirtualService/orders",
    ]
    for path, words in (
        (bad, "kind"),
        (tmp_path / "none.yaml", "cannot be read"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=f"--policy {path}.*{words}"):
            read_files([path])
