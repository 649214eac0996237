"""The event log: bounded, resumable, and never held up by a slow reader."""

from __future__ import annotations

from sidecar.observe.events import KEPT, KEPT_BYTES, MAX_LISTENERS, QUEUE, EventLog
from sidecar.observe.lengths import WORDS


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


async def test_texts_are_cut_and_the_log_is_bounded_in_bytes() -> None:
    """An event may say what a document or an app said: of any length, and as often as they like."""
    log = EventLog("a-1", lambda: 0.0)
    for _ in range(KEPT):
        log.add("policy", reason="x" * 100_000, numbers={"of": ["y" * 5000]})
    kept = log.since(0)
    assert 0 < len(kept) <= KEPT_BYTES // 5000
    assert {len(event["reason"]) for event in kept} == {WORDS}
    log.add("policy", numbers={"of": ["y" * KEPT_BYTES]})
    assert log.since(0) == kept, "one that is larger than all is not kept"


async def test_listeners_are_bounded() -> None:
    """One more hears nothing; one that ends makes room."""
    log = EventLog("a-1", lambda: 0.0)
    log.add("first")
    streams = [log.stream() for _ in range(MAX_LISTENERS)]
    for stream in streams:
        await anext(stream)
    assert log.full
    assert [event async for event in log.stream()] == []
    await streams[0].aclose()
    assert not log.full
    assert (await anext(log.stream()))["kind"] == "first"
