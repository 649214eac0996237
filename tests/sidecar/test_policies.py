"""Documents in, one compiled set out; a wrong set changes nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.observe.events import EventLog
from sidecar.policies import PREFIX, PROBLEM_CHARS, Policies, read_files
from sidecar.routing.compile import compile_documents
from sidecar.routing.compiled import Compiled, Identity
from sidecar.routing.documents import SET_BYTES_MAX, Document, parse_text
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


DOCUMENT = json.loads(entry(SERVICE).value)


def with_http(**block: object) -> bytes:
    """The service's document, its one rule changed."""
    (before,) = DOCUMENT["spec"]["http"]
    changed = {**before, "route": [{"destination": {"host": "orders"}}], **block}
    return json.dumps({**DOCUMENT, "spec": {**DOCUMENT["spec"], "http": [changed]}}).encode()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"[" * 100_000, "nested more than"),
        (b'{"a":' * 100_000, "nested more than"),
        (b'{"kind": ' + b"9" * 5000 + b"}", "a number of 5000 digits"),
        (b'{"kind": NaN}', "NaN is no number"),
        (b'{"kind": "VirtualService", "spec": 1e999}', "spec: inf is no number"),
        (b'{"kind": "VirtualService", "spec": "\\ud800"}', "spec: has half of a surrogate pair"),
        (b'{"kind": "VirtualService", "metadata": {"name": "x"}, "spec": []}', "spec"),
        (with_http(match=[{"uri": {"regex": "(?u)x"}}]), "uri.regex: invalid or unsupported Perl syntax"),
        (with_http(match=[{"uri": {"regex": "(a+)+\ud800"}}]), "uri.regex: has half of a surrogate pair"),
        (with_http(match=[{"uri": {"regex": "a{1001}"}}]), "uri.regex: invalid repeat count"),
        (with_http(rewrite={"uri": "/a\r\nx: y"}), "rewrite.uri: '/a\\r\\nx: y' is no path"),
        (with_http(rewrite={"authority": "a b"}), "rewrite.authority: 'a b' is no authority"),
        (with_http(timeout="9" * 400 + "s"), "timeout: "),
        (b"{}" + b" " * SET_BYTES_MAX, "more than 2097152"),
    ],
)
def test_no_document_ends_a_sidecar(value: bytes, words: str) -> None:
    """Read while it runs, or when it starts: it is refused in one line, and what is in force stays."""
    world = World()
    world.policies.take([entry(RULE)])
    version = world.policies.state()["version"]
    world.policies.take([entry(RULE), Entry("mesh/policy/VirtualService/x", value)])
    state = world.policies.state()
    assert (state["version"], len(world.applied)) == (version, 2)
    assert words in state["problem"]
    assert state["problem"].isprintable()


def test_a_fault_of_ours_is_a_refusal_too(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever reading or acting on a set raises: the requests go on by the set before."""
    world = World()
    world.policies.take([entry(RULE)])
    before = world.policies.compiled
    for break_it in ("_compile", "_apply"):
        calls: list[Compiled] = []

        def raising(given: object, calls: list[Compiled] = calls) -> Compiled:
            if given is before:
                calls.append(before)
                return before
            raise KeyError("a fault of ours")

        kept = getattr(world.policies, break_it)
        setattr(world.policies, break_it, raising)
        world.policies.take([entry(RULE), entry(SERVICE)])
        assert world.policies.compiled is before
        assert "KeyError" in world.policies.state()["problem"]
        assert calls == ([before] if break_it == "_apply" else [])
        assert "a fault of ours" in caplog.text
        setattr(world.policies, break_it, kept)
        world.policies.take([entry(RULE)])
        assert world.policies.state()["problem"] == ""


async def test_a_large_set_is_read_off_the_loop() -> None:
    """The requests of others go on meanwhile; what comes of it is put into force in one turn."""
    threads: list[int] = []

    class Source:
        async def watch_kv(self, prefix: str) -> AsyncIterator[tuple[Entry, ...]]:
            yield (entry(RULE),)
            large = {**DOCUMENT["spec"]["http"][0], "name": "x" * 200}
            document = {**DOCUMENT, "spec": {**DOCUMENT["spec"], "http": [large] * 100}}
            yield (entry(RULE), Entry("mesh/policy/VirtualService/orders", json.dumps(document).encode()))

    world = World()
    compile = world.policies._compile

    def noting(documents: list[Document]) -> Compiled:
        threads.append(threading.get_ident())
        return compile(documents)

    world.policies._compile = noting
    await world.policies.watch(Source())
    here = threading.get_ident()
    assert [thread == here for thread in threads] == [True, False]
    assert world.policies.state()["documents"] == 2


def test_documents_come_and_go_in_any_order() -> None:
    """A route to a subset that nobody defines (yet) is taken; the subset is there when its rule is."""
    world = World()
    world.policies.take([entry(SERVICE)])
    assert world.policies.state()["problem"] == ""
    assert [world.applied[-1].defines(key) for key in ("orders", "orders|v2")] == [True, False]
    world.policies.take([entry(SERVICE), entry(RULE)])
    assert world.applied[-1].defines("orders|v2")
    world.policies.take([entry(RULE)])
    world.policies.take([])
    assert world.policies.state()["problem"] == ""


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
