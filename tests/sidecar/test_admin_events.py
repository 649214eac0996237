"""The stream of events over HTTP: bounded, and of a watcher that goes away nothing stays, not even a line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from sidecar.admin.server import Admin
from sidecar.observe.events import MAX_LISTENERS, EventLog


class NoExchanges:
    """Keeps none."""

    def find(self, trace_id: str = "") -> list[dict[str, Any]]:
        return []


@pytest.fixture
async def served() -> AsyncIterator[tuple[EventLog, str]]:
    """The log, and where it is read."""
    log = EventLog("a-1", lambda: 1.0)
    admin = Admin(
        dict, dict, NoExchanges(), CollectorRegistry(), log, lambda: None,
        lambda fail: None, lambda: None, lambda: None,
    )  # fmt: skip
    yield log, await admin.open("127.0.0.1", 0)
    await admin.close()


async def watch(address: str) -> asyncio.StreamWriter:
    """A watcher that has seen the first event."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    await reader.readuntil(b"data: ")
    return writer


async def gone(log: EventLog) -> None:
    """Until nobody listens, without an event that would tell the handlers."""
    async with asyncio.timeout(5):
        while log._listeners:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0)


@pytest.mark.parametrize("abruptly", [True, False])
async def test_a_watcher_that_goes_away_is_forgotten_in_silence(
    served: tuple[EventLog, str], caplog: pytest.LogCaptureFixture, abruptly: bool
) -> None:
    """At once, and not when the next thing happens; nothing of it stands in the log."""
    log, address = served
    log.add("first")
    for _ in range(3):
        writer = await watch(address)
        assert len(log._listeners) == 1
        if abruptly:
            writer.transport.abort()
        else:
            writer.close()
        await gone(log)
    writers = [await watch(address) for _ in range(3)]
    for writer in writers:
        writer.transport.abort()
        log.add("while it closes")
    await gone(log)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


async def test_watchers_are_bounded(served: tuple[EventLog, str]) -> None:
    """One more is told so; one that ends makes room."""
    log, address = served
    log.add("first")
    writers = [await watch(address) for _ in range(MAX_LISTENERS)]
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{address}/events") as answer:
            assert (answer.status, await answer.text()) == (
                503,
                f"{MAX_LISTENERS} streams are open already: close one\n",
            )
        for writer in writers:
            writer.transport.abort()
        await gone(log)
        async with session.get(f"http://{address}/events") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("last", "first"), [("1", 2), ("0", 1), ("x", 1), ("²", 1), ("9" * 5000, 1), ("", 1)]
)
async def test_it_goes_on_where_the_watcher_was(served: tuple[EventLog, str], last: str, first: int) -> None:
    """A number that is none is none."""
    log, address = served
    log.add("first")
    log.add("second")
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/events", headers={"Last-Event-ID": last}) as answer,
    ):
        async for line in answer.content:
            if line.startswith(b"data: "):
                assert json.loads(line[6:])["id"] == first
                return
