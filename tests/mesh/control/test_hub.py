"""The hub: what it sends to pages, what it writes down, and its bounds."""

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from mesh.control.hub import MAX_PAGES, SENT_CAUSES, SENT_EVENTS, Hub, TooManyPages
from mesh.control.inbox import MAX_BEHIND
from mesh.traces import TraceStore
from tests.fakes.clock import FakeClock
from tests.mesh.control.test_picture import instance

GRAPH = {"name": "two", "ingress": "ingress", "entrypoint": "a", "services": [], "calls": [["a", "b"]]}


class FakeDriver:
    """A mesh of two instances."""

    def __init__(self) -> None:
        self.instances = [instance("a-1"), instance("b-1")]
        self.found: dict[str, Any] = {}

    def status(self) -> dict[str, Any]:
        return {"phase": "up", "instances": self.instances, "extras": [], "load": {"running": False}}

    def snapshots(self) -> dict[str, Any]:
        return self.found

    def admins(self) -> dict[str, str]:
        return {}


@pytest.fixture
async def hub() -> AsyncIterator[tuple[Hub, FakeDriver, FakeClock]]:
    driver, clock = FakeDriver(), FakeClock()
    async with aiohttp.ClientSession() as session:
        yield Hub(driver, TraceStore(), GRAPH, session, clock, random.Random(1)), driver, clock


Given = tuple[Hub, FakeDriver, FakeClock]


async def test_a_page_begins_with_everything_and_then_gets_the_difference(hub: Given) -> None:
    """What did not change is not sent again."""
    mine, driver, _ = hub
    messages = mine.stream()
    kind, text = await anext(messages)
    assert kind == "hello"
    assert set(json.loads(text)["picture"]["nodes"]) == {"a", "b"}
    assert (await anext(messages))[0] == "change"
    assert (await anext(messages))[0] == "second"
    driver.instances[1] = instance("b-1", "down")
    mine.look()
    found = [await anext(messages) for _ in range(3)]
    assert [kind for kind, _ in found] == ["event", "watch", "change"]  # it ended by itself: nobody asked
    assert json.loads(found[1][1])["action"] == "ended"
    assert list(json.loads(found[2][1])["nodes"]) == ["b"]
    await messages.aclose()  # type: ignore[attr-defined]


async def test_what_was_asked_for_is_one_cause(hub: Given) -> None:
    """A kill that somebody asked for does not count as an end by itself; the audit says who."""
    mine, driver, _ = hub
    mine.look()
    trial = mine.acting("kill", "b-1", "both", "page")
    driver.instances[1] = instance("b-1", "down")
    mine.look()
    assert mine.detection.documents() == []  # it may still fail
    mine.acted(trial, done=True)
    assert [one["action"] for one in mine.detection.documents()] == ["kill"]
    assert [row["key"] for row in mine.detection.documents()[0]["rows"]] == ["process"]
    assert [(one["kind"], one["source"]) for one in mine.journal.since()] == [
        ("action", "page"),
        ("state", "supervisor"),
    ]


async def test_what_was_refused_is_no_cause(hub: Given) -> None:
    """What goes down after it went down by itself; a page is told of no stopwatch."""
    mine, driver, _ = hub
    mine.look()
    messages = mine.stream()
    await anext(messages)
    mine.acted(mine.acting("pause", "b-1", "both", "page"), done=False)
    driver.instances[1] = instance("b-1", "down")
    mine.look()
    assert [one["action"] for one in mine.detection.documents()] == ["ended"]
    found = [await anext(messages) for _ in range(4)]
    assert [json.loads(text)["action"] for kind, text in found if kind == "watch"] == ["ended"]
    await messages.aclose()  # type: ignore[attr-defined]


async def test_who_comes_back_by_itself_is_another_stopwatch(hub: Given) -> None:
    """Nobody healed it, and yet what follows is no longer the doing of its end."""
    mine, driver, _ = hub
    mine.look()
    for state in ("down", "healthy"):
        driver.instances[1] = instance("b-1", state)
        mine.look()
    assert [one["action"] for one in mine.detection.documents()] == ["ended", "back"]


async def test_a_page_that_does_not_read_begins_anew(hub: Given) -> None:
    """Its queue stays bounded, and the next it gets is everything."""
    mine, _, _ = hub
    messages = mine.stream()
    await anext(messages)
    for number in range(MAX_BEHIND * 3):
        mine.journal.add("test", "note", {"number": number})
    kinds = [(await anext(messages))[0]]
    assert kinds == ["hello"]
    await messages.aclose()  # type: ignore[attr-defined]


async def test_a_new_page_knows_the_causes_of_five_minutes(hub: Given) -> None:
    """A storm of what followed does not wash away what was done; and neither is without bound."""
    mine, _, _ = hub
    mine.acted(mine.acting("kill", "b-1", "both", "page"), done=True)
    for number in range(SENT_EVENTS + 50):
        mine.journal.add("a-1", "breaker", {"number": number})
    events = mine.hello()["events"]
    assert [events[0]["kind"], len(events)] == ["action", SENT_EVENTS + 1]
    for _ in range(SENT_CAUSES + SENT_EVENTS + 50):
        mine.acted(mine.acting("kill", "b-1", "both", "page"), done=True)
    assert len(mine.hello()["events"]) == SENT_CAUSES + SENT_EVENTS


async def test_an_open_breaker_says_how_long(hub: Given) -> None:
    """From the event of its caller's sidecar, until it probes."""
    mine, driver, clock = hub
    upstream = {"requests": 3, "endpoints": [{"id": "b-1", "breaker": "open"}]}
    driver.snapshots = lambda: {"a-1": {"upstreams": {"b": upstream}}}  # type: ignore[method-assign]
    mine.look()
    told = {
        "id": 1,
        "kind": "breaker",
        "time": clock(),
        "endpoint": "b-1",
        "after": "open",
        "numbers": {"open_s": 7},
    }
    mine._heard("a-1", told)
    clock.advance(2.0)
    mine.look()
    assert mine.hello()["picture"]["edges"]["a>b"]["endpoints"][0]["left_s"] == 5
    mine._heard("a-1", told | {"after": "half-open", "numbers": {}})
    mine.look()
    assert mine.hello()["picture"]["edges"]["a>b"]["endpoints"][0]["left_s"] is None


async def test_pages_are_bounded(hub: Given) -> None:
    """One more is refused; one that closed makes room."""
    mine, _, _ = hub
    streams = [mine.stream() for _ in range(MAX_PAGES)]
    for stream in streams:
        await anext(stream)
    with pytest.raises(TooManyPages):
        await anext(mine.stream())
    await streams[0].aclose()  # type: ignore[attr-defined]
    assert (await anext(mine.stream()))[0] == "hello"


async def test_history_is_five_minutes(hub: Given) -> None:
    """A row a second, of the whole, of services and of calls."""
    mine, _, clock = hub
    for _ in range(310):
        clock.advance(1.0)
        mine.look()
    assert len(mine.history.whole()["rows"]) == 300
    series = mine.history.of("a>b")
    assert series is not None
    assert len(series["rows"]) == 300
    assert mine.history.of("nobody") is None


async def test_another_topology_begins_every_page_anew(hub: Given) -> None:
    """With the new graph; a call that nobody makes any more is shown for as long as somebody still does."""
    mine, driver, _ = hub
    messages = mine.stream()
    for _ in range(3):
        await anext(messages)
    upstream = {"requests": 9, "window": {"rps": 2.0}, "endpoints": []}
    driver.found = {"a-1": {"upstreams": {"b": upstream, "gone": upstream}}}
    mine.history.take(1.0, {"nodes": {"old": {}}, "edges": {"a>old": {}}})
    mine.rewired({**GRAPH, "services": [{"name": "a"}, {"name": "b"}], "calls": []})
    kind, text = await anext(messages)
    document = json.loads(text)
    assert (kind, document["graph"]["calls"]) == ("hello", [])
    assert "a>b" in document["picture"]["edges"]
    assert mine.series("old") is None
    assert mine.series("b") is not None
    mine.look()
    driver.found = {"a-1": {"upstreams": {"b": {**upstream, "window": {"rps": 0.0}}}}}
    mine.look()
    kind, text = await anext(messages)
    assert (kind, "a>b" in json.loads(text)["picture"]["edges"]) == ("hello", False)
    await messages.aclose()  # type: ignore[attr-defined]
