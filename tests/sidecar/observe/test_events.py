"""The event log: bounded, resumable, and never held up by a slow reader."""

from __future__ import annotations

from sidecar.observe.events import KEPT, QUEUE, EventLog


async def test_stream_begins_after_the_last_seen_and_goes_on() -> None:
    """What `Last-Event-ID` means."""
    log = EventLog("a-1", lambda: 12.5)
    log.add("breaker", endpoint="b-1")
    log.add("breaker", endpoint="b-2")
    stream = log.stream(1)
    first = await anext(stream)
    assert first == {"id": 2, "time": 12.5, "source": "a-1", "kind": "breaker", "endpoint": "b-2"}
    log.add("health", after="critical")
    assert (await anext(stream))["kind"] == "health"
    await stream.aclose()


async def test_a_slow_reader_loses_the_oldest() -> None:
    """Memory is bounded for each listener and for the log."""
    log = EventLog("a-1", lambda: 0.0)
    stream = log.stream()
    log.add("first")
    assert (await anext(stream))["id"] == 1
    for _ in range(QUEUE + 100):
        log.add("more")
    assert (await anext(stream))["id"] == 102
    for _ in range(2 * KEPT):
        log.add("more")
    assert len(log.since(0)) == KEPT
    await stream.aclose()
