"""A worker's side: answers the manager, tells it what happens, hears what other workers learnt."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ..stack import Upstream
from .breakers import Hearsay, News, news_of
from .channel import Channel
from .metrics import dump

if TYPE_CHECKING:
    from ..app import Sidecar

log = logging.getLogger("sidecar.workers")


class Link:
    """Between a running sidecar and the manager's channel."""

    def __init__(self, sidecar: Sidecar, channel: Channel) -> None:
        self._sidecar = sidecar
        self._channel = channel
        self._hearsay = Hearsay(self._upstream)
        self._serving = False

    def ready(self, bound: dict[str, str]) -> None:
        """The sidecar serves."""
        self._serving = True
        self._channel.send({"ready": bound})

    async def run(self) -> None:
        """Until the manager is gone; then the sidecar ends too, as by SIGTERM."""
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(self._tell())
            async for message in self._channel.messages():
                try:
                    self._take(message)
                except Exception:
                    log.exception("a message of the manager could not be served")
            telling.cancel()
        self._sidecar.stopping.set()

    def farewell(self) -> None:
        """The last words: what was counted must not be lost with the process."""
        if self._serving:
            self._channel.send({"counts": {what: self._read(what) for what in ("metrics", "snapshot")}})

    # ---- from the manager --------------------------------------------------------------------------

    def _take(self, message: dict[str, Any]) -> None:
        if "ask" in message:
            what = message["what"]
            self._channel.send({"answer": message["ask"], "what": what, "value": self._read(what)})
        elif "news" in message:
            self._hearsay.take(message["news"])
        elif message["do"] == "drain":
            self._sidecar.begin_drain()
        elif message["do"] == "level":
            logging.getLogger().setLevel(message["value"])

    def _read(self, what: str) -> Any:
        sidecar = self._sidecar
        assert sidecar.snapshot is not None, "asked before it was ready"
        if what == "metrics":
            return dump(sidecar.collectors.collect())
        if what == "snapshot":
            return sidecar.snapshot.read()
        if what == "config":
            return sidecar.snapshot.config()
        if what == "explain":
            return sidecar.explain.find()
        return sidecar.not_ready()

    # ---- to the manager ----------------------------------------------------------------------------

    async def _tell(self) -> None:
        async for event in self._sidecar.events.stream():
            self._channel.send({"event": event, "news": self._news(event)})

    def _news(self, event: dict[str, Any]) -> News | None:
        if not event.get("endpoint"):
            return None
        name, endpoint_id = event["upstream"], event["endpoint"]
        if event["kind"] == "membership":
            act = self._hearsay.joined if event["after"] == "member" else self._hearsay.gone
            act(name, endpoint_id)
            return None
        upstream = self._upstream(name)
        endpoint = None if upstream is None else upstream.endpoints.get(endpoint_id)
        return None if endpoint is None else news_of(event, endpoint.breaker)

    def _upstream(self, name: str) -> Upstream | None:
        destinations = self._sidecar.destinations
        if destinations is None:
            return None
        return next((each for each in destinations.upstreams() if each.name == name), None)
