"""/v1/event: fire and list."""

from __future__ import annotations

import random
import uuid

from aiohttp import web

from registry.agent import Agent
from registry.codec import encode
from registry.events import MAX_PAYLOAD, Events, concerns, index_of
from registry.http.call import Call, HttpError
from registry.http.router import Router
from registry.model import UserEvent

TOPIC = "events"


class EventEndpoints:
    """Everything below /v1/event."""

    def __init__(self, events: Events, agent: Agent, rng: random.Random) -> None:
        self.events = events
        self.agent = agent
        self._rng = rng

    def routes(self, router: Router) -> None:
        """Add them to the router."""
        router.add("PUT", "/v1/event/fire/", self.fire)
        router.add("GET", "/v1/event/list", self.list)

    async def fire(self, call: Call) -> web.Response:
        """Send an event; it is kept where its filters fit this node."""
        call.check_common()
        if not call.rest:
            raise HttpError(400, "Missing name")
        if call.get("tag") and not call.get("service"):
            raise HttpError(500, "Cannot provide tag filter without service filter")
        payload = await call.body()
        if len(payload) > MAX_PAYLOAD:
            raise HttpError(
                500, f"user event exceeds configured limit of {MAX_PAYLOAD} bytes before encoding"
            )
        event = UserEvent(
            id=str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
            name=call.rest,
            payload=payload or None,
            node_filter=call.get("node"),
            service_filter=call.get("service"),
            tag_filter=call.get("tag"),
        )
        concerned = concerns(event, self.agent.node.name, self.agent.services())
        timed = self.events.fired(event)
        if concerned:
            self.events.keep(timed)
            call.server.watchers.wake(TOPIC)
        # The answer shows the event before gossip gave it a time.
        return call.respond(encode.event(event))

    async def list(self, call: Call) -> web.Response:
        """The events kept, of one `name` if given. Blocks while the newest is the one the caller knows."""
        call.check_common()
        name = call.get("name")
        seen, wait = call.block_until()
        found = self.events.named(name)
        if seen:
            deadline = call.server.clock() + wait
            while _newest(found) == seen and not call.server.stopping:
                left = deadline - call.server.clock()
                if left <= 0 or not await call.server.watchers.wait((TOPIC,), left):
                    break
                found = self.events.named(name)
        response = call.respond([encode.event(event) for event in found])
        response.headers["X-Consul-Index"] = str(_newest(found))
        return response


def _newest(events: list[UserEvent]) -> int:
    return index_of(events[-1].id) if events else 1
