"""The sidecars' events: told in order, and odd ones left out without harm to the others."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mesh.control.listeners import Listeners

GOOD = [{"id": number, "time": float(number), "kind": "breaker", "source": "a-1"} for number in (1, 2, 3)]
ODD = [
    b"data: NaN",
    b"data: [1]",
    b'data: {"id": 9, "time": "late", "kind": "breaker"}',
    b'data: {"id": 9, "time": NaN, "kind": "breaker"}',
    b'data: {"id": 9, "time": 1e999, "kind": "breaker"}',
    b'data: {"id": "nine", "time": 9, "kind": "breaker"}',
    b'data: {"id": 9, "time": 1.5, "kind": 7}',
    b"data: " + b"[" * 5000,
    b'data: {"id": 2, "time": 1.9, "kind": "breaks"}',  # what it is told to breaks
]


class Observed:
    """One sidecar."""

    def __init__(self, url: str) -> None:
        self.url = url

    def status(self) -> dict[str, Any]:
        return {}

    def snapshots(self) -> dict[str, Any]:
        return {}

    def admins(self) -> dict[str, str]:
        return {"a-1": self.url}


async def test_odd_events_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever sends them: the connection stays, and the events after them come."""
    told: list[Mapping[str, Any]] = []
    done = asyncio.Event()
    connections = 0

    async def events(request: web.Request) -> web.StreamResponse:
        nonlocal connections
        connections += 1
        response = web.StreamResponse()
        await response.prepare(request)
        first, *rest = [b"data: " + json.dumps(event).encode() for event in GOOD]
        await response.write(b"\n\n".join([first, *ODD, *rest]) + b"\n\n")
        await done.wait()
        return response

    def tell(name: str, event: Mapping[str, Any]) -> None:
        if event["kind"] == "breaks":
            raise TypeError("numbers is a list")
        told.append(event)
        if event["id"] == 3:
            done.set()

    app = web.Application()
    app.router.add_get("/events", events)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        listeners = Listeners(Observed(str(server.make_url("")).rstrip("/")), session, tell)
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            following = tasks.create_task(listeners.run())
            await done.wait()
            following.cancel()
    assert told == GOOD
    assert connections == 1
    assert "cannot be understood" in caplog.text
