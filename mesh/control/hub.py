"""What the live page sees: looks at the mesh several times a second and sends what changed to every page.

Messages are (event, JSON): `hello` (everything), `change` (only the services and calls that are different),
`second` (one row of the charts), `event`, `flights` (sampled real requests) and `watch` (a stopwatch of
`detection`). With no page open only the seconds and the journal are kept.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import aiohttp

from mesh.control.ceiling import Ceiling
from mesh.control.detection import Detection, Trial
from mesh.control.flights import Sampler, attempts_at, flight, roots
from mesh.control.history import EMPTY, History
from mesh.control.inbox import Inbox, Message
from mesh.control.journal import Event, Journal
from mesh.control.listeners import Listeners
from mesh.control.operator import Observed
from mesh.control.outside import outside_graph
from mesh.control.picture import INGRESS, picture
from mesh.traces import MAX_NAME, Arrival, TraceStore

log = logging.getLogger("mesh.control.hub")

# Four looks a second: a click shows its effect at once; with nobody looking, one keeps the charts.
LOOK_S, IDLE_LOOK_S = 0.25, 1.0
SECOND_S = 1.0
# What a new page is sent of the journal, at most.
SENT_EVENTS, SENT_CAUSES = 200, 100
CAUSES = frozenset({"action", "state", "fault", "policy", "load", "topology"})
# What goes down so soon after somebody did something to it went down by that.
ASKED_S = 15.0
# Open breakers whose time left is known: of the oldest beyond these, the page says only that they are open.
MAX_OPEN = 10_000
# More open pages than a class room; each costs a copy of every message.
MAX_PAGES = 32


class TooManyPages(Exception):
    """MAX_PAGES streams are open."""


class Hub:
    """One for a mesh. `graph` is what /api/topology says; `wall_clock` seconds since the epoch."""

    def __init__(
        self,
        observed: Observed,
        traces: TraceStore,
        graph: Mapping[str, Any],
        session: aiohttp.ClientSession,
        wall_clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.journal = Journal(wall_clock)
        self.detection = Detection()
        self.history = History()
        self.ceiling = Ceiling()
        self.graph = self._topology = dict(graph)
        self._observed = observed
        self._traces = traces
        self._wall_clock = wall_clock
        self._calls = [tuple(call) for call in graph["calls"]]
        self._former: set[tuple[str, str]] = set()
        self._sampler = Sampler(rng)
        self._listeners = Listeners(observed, session, self._heard)
        self._pages: set[Inbox] = set()
        self._picture: dict[str, Any] = {}
        self._sent: dict[tuple[str, str], str] = {}
        self._states: dict[str, tuple[str, str]] = {}
        self._asked: dict[str, float] = {}
        self._open_until: dict[tuple[str, str], float] = {}  # by caller and endpoint
        self._next_second = 0.0
        self.journal.listeners.append(self._note)

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listeners.run(), name="events of the sidecars")
            while True:
                try:
                    self.look()
                except Exception:  # one odd answer of a sidecar must not end the page
                    log.exception("the live page's look at the mesh failed")
                await asyncio.sleep(LOOK_S if self._pages else IDLE_LOOK_S)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._wall_clock()

    def series(self, name: str) -> dict[str, Any] | None:
        """The charts of a service or call; empty when it is too young, None when it is unknown."""
        known = name in self._picture.get("nodes", {}) or name in self._picture.get("edges", {})
        return self.history.of(name) or (EMPTY if known else None)

    # what others tell it

    def acting(self, action: str, instance: str, part: str, by: str) -> Trial:
        """Somebody is about to do this to an instance; `acted` tells whether it was done."""
        event = self.journal.add(by, "action", {"action": action, "instance": instance, "part": part})
        name = "heal" if action == "resume" else action
        return self.detection.trying(event["time"], instance, name, part)

    def acted(self, trial: Trial, done: bool) -> None:
        """It was done; or it was not, and is then the cause of nothing."""
        if done:
            self._asked[trial.instance] = trial.at
        watch = self.detection.settled(trial, done)
        if watch is not None:
            self._changed(watch.document())

    def refused(self, action: str, instance: str, by: str, words: str) -> None:
        """What somebody asked for could not be done."""
        self.journal.add(by, "refused", {"action": action, "instance": instance, "reason": words})

    def steered(self, change: Mapping[str, Any], by: str) -> None:
        """Somebody changed the traffic."""
        self.journal.add(by, "load", dict(change))

    def spans(self, came: Sequence[Arrival]) -> None:
        """Spans came."""
        now = self._wall_clock()
        for trace_id, started in roots(came):
            self._sampler.offer(now, trace_id, started)
        watched = self.detection.watched(now)
        if not watched:
            return
        changed = {}
        for instance, each in attempts_at(came, watched):
            start, end = each.span.start_ns / 1e9, each.span.end_ns / 1e9
            watch = self.detection.attempt(instance, start, end, each.failed, each.instance)
            if watch is not None:
                changed[watch.id] = watch
        for watch in changed.values():
            self._changed(watch.document())

    def rewired(self, graph: Mapping[str, Any]) -> None:
        """The topology is another one now: every page begins anew."""
        calls = [tuple(call) for call in graph["calls"]]
        self._former = (self._former | set(self._calls)) - set(calls)
        self.graph = self._topology = dict(graph)
        self._calls = calls
        names = {INGRESS, *(service["name"] for service in graph["services"])}
        self.history.keep(names)
        self.ceiling.forget()
        self.look()
        self._begin_anew()

    def _heard(self, instance: str, event: Mapping[str, Any]) -> None:
        # the memberships and ramps of the start are the start, not news
        if self._picture.get("phase") != "up":
            return
        fields = {key: value for key, value in event.items() if key not in ("id", "time", "source", "kind")}
        self.journal.add(instance, str(event.get("kind")), fields, float(event["time"]))
        if event.get("kind") == "breaker":
            key = (instance, str(event.get("endpoint"))[:MAX_NAME])
            seconds = (event.get("numbers") or {}).get("open_s")
            self._open_until.pop(key, None)
            if event.get("after") == "open" and seconds is not None:
                self._open_until[key] = float(event["time"]) + float(seconds)
            if len(self._open_until) > MAX_OPEN:
                del self._open_until[next(iter(self._open_until))]

    def _note(self, event: Event) -> None:
        self._send("event", event)
        watch = self.detection.event(event)
        if watch is not None:
            self._changed(watch.document())

    def _changed(self, document: dict[str, Any]) -> None:
        self._send("watch", document)

    # looking

    def look(self) -> None:
        """Compare with the last look, and send the difference."""
        now = self._wall_clock()
        found = picture(self._observed.status(), self._observed.snapshots(), self._calls, self._former)
        self._tell_time_left(found, now)
        found["load"]["ceiling"] = self.ceiling.rate
        self._picture = found
        graph = outside_graph(self._topology, found)
        if graph != self.graph:  # a host outside is called for the first time, or its document is gone
            self.graph = graph
            self._begin_anew()
        self._notice_states(found)
        if self._pages:
            self._send_changes(found)
            flights = [
                one
                for trace_id in self._sampler.due(now)
                if (trace := self._traces.get(trace_id)) is not None and (one := flight(trace)) is not None
            ]
            if flights:
                self._send("flights", {"k": round(self._sampler.k(now), 2), "flights": flights})
        else:
            for _ in self._sampler.due(now):
                pass
        if now >= self._next_second:
            self._next_second = max(self._next_second + SECOND_S, now + SECOND_S / 2)
            self.ceiling.take(found["load"])
            row = self.history.take(now, found)
            self._send("second", {"at": round(now, 3), "row": row})

    def _tell_time_left(self, found: Mapping[str, Any], now: float) -> None:
        """Until the first caller whose breaker is open probes again, in whole seconds."""
        for edge in found["edges"].values():
            for endpoint in edge["endpoints"]:
                left = [
                    until - now
                    for caller, state in endpoint["callers"].items()
                    if state == "open"
                    and (until := self._open_until.get((caller, endpoint["id"]))) is not None
                ]
                endpoint["left_s"] = max(0, round(min(left))) if left else None

    def _notice_states(self, found: Mapping[str, Any]) -> None:
        up = found["phase"] == "up"
        for node in (*found["nodes"].values(), {"instances": found["parts"]}):
            for instance in node["instances"]:
                name, state, why = instance["name"], instance["state"], instance["why"]
                before = self._states.get(name)
                self._states[name] = (state, why)
                if before is None or before[0] == state or not up:
                    continue
                now = self._wall_clock()
                if state == "down" and not self._recently_asked(name):
                    self.detection.began(now, name, "ended", "", why)
                if state == "healthy" and (watch := self.detection.back(now, name)) is not None:
                    self._changed(watch.document())
                self.journal.add(
                    "supervisor",
                    "state",
                    {"instance": name, "before": before[0], "after": state, "reason": why},
                )

    def _recently_asked(self, name: str) -> bool:
        return self.detection.tries(name) or self._wall_clock() - self._asked.get(name, 0.0) < ASKED_S

    def _send_changes(self, found: Mapping[str, Any]) -> None:
        gone = [(group, name) for group, name in self._sent if name and name not in found[group]]
        for lost in gone:
            del self._sent[lost]
        if gone:  # a service that was removed, or a call that nobody makes any more
            self._begin_anew()
        change: dict[str, Any] = {}
        for group in ("nodes", "edges"):
            for name, document in found[group].items():
                text = json.dumps(document, separators=(",", ":"))
                if self._sent.get((group, name)) != text:
                    self._sent[group, name] = text
                    change.setdefault(group, {})[name] = document
        for key in ("phase", "parts", "load", "warnings"):
            text = json.dumps(found[key], separators=(",", ":"))
            if self._sent.get((key, "")) != text:
                self._sent[key, ""] = text
                change[key] = found[key]
        if change:
            self._send("change", change)

    # pages

    async def stream(self) -> AsyncIterator[Message]:
        """Messages for one page, without end: `hello` first. Raises TooManyPages."""
        if len(self._pages) >= MAX_PAGES:
            raise TooManyPages
        inbox = Inbox()
        self._pages.add(inbox)
        try:
            self.look()
            yield "hello", _text(self.hello())
            while True:
                message = await inbox.get()
                if message is None:
                    yield "hello", _text(self.hello())
                else:
                    yield message
        finally:
            self._pages.discard(inbox)

    def hello(self) -> dict[str, Any]:
        """Everything that a page needs to begin."""
        return {
            "graph": self.graph,
            "picture": self._picture,
            "history": self.history.whole(),
            "events": self._told(),
            "watches": self.detection.documents(),
            "now": self._wall_clock(),
        }

    def _told(self) -> list[Event]:
        """The last events; of those before them only the causes, which the charts mark for five minutes."""
        events = self.journal.since()
        causes = [event for event in events[:-SENT_EVENTS] if event["kind"] in CAUSES]
        return causes[-SENT_CAUSES:] + events[-SENT_EVENTS:]

    def _begin_anew(self) -> None:
        """`hello` to every page, in the place of what it has not read yet."""
        for page in self._pages:
            page.begin_anew()

    def _send(self, event: str, document: Any) -> None:
        if not self._pages:
            return
        text = _text(document)
        for page in self._pages:
            page.put((event, text))


def _text(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)
