"""The process that was started: reserves the addresses, starts the crew, answers for all, ends all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from guard.token import Token

from ..admin.server import Admin
from ..config import Config
from ..errors import ConfigError
from ..observe.events import EventLog
from . import metrics, snapshot
from .breakers import Ledger
from .crew import Crew, Message, Place
from .ports import reserve

log = logging.getLogger("sidecar.workers")

# What a killed worker counted since it was last asked is lost, so it is asked at least this often.
REFRESH_S = 5.0
# What each path of the admin listener needs to know.
QUESTIONS = {
    "/metrics": "metrics",
    "/stats": "metrics snapshot",
    "/stats/prometheus": "metrics",
    "/clusters": "snapshot",
    "/listeners": "snapshot",
    "/server_info": "config",
    "/snapshot": "snapshot",
    "/config_dump": "config",
    "/explain": "explain",
    "/ready": "ready",
    "/healthz/ready": "ready",
}


class Manager:
    """Makes one sidecar of N processes.

    Args:
        clock: seconds of any origin. wall_clock: seconds since the epoch.
    """

    def __init__(self, config: Config, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._started = clock()
        self._stopping = asyncio.Event()
        self._draining = False
        self._events = EventLog(config.name, wall_clock)
        self._breakers = Ledger()
        self._crew = Crew(config, self._greetings, self._hear, self._gone, clock)
        self._own = ProcessCollector(registry=None)
        self._addresses: dict[str, str] = {}
        self._shown: snapshot.Snapshot = {}
        # of processes that are gone
        self._gone_metrics: list[metrics.Family] = []
        self._gone_counts: snapshot.Counts = Counter()

    async def run(self, announce: Callable[[dict[str, str]], None]) -> None:
        """Serve until SIGTERM or SIGINT; `announce` gets the addresses once all workers serve.

        Raises:
            ConfigError: when an address cannot be bound, or a worker refuses to work.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        refused: ConfigError | None = None
        async with asyncio.TaskGroup() as tasks:
            stopped = tasks.create_task(self._stopping.wait())
            admin = Admin(
                self._read,
                self._config_dump,
                self,
                self,
                self._events,
                self._not_ready,
                lambda failing: None,  # without an app there is no health to fail
                self._drain,
                self._stopping.set,
                self._set_level,
                self._refresh,
                token=Token(self._config.admin_token, self._config.admin_token_file, log.warning),
            )
            refreshing = tasks.create_task(self._keep_fresh())
            try:
                starting = asyncio.gather(self._start(admin, tasks))
                await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    starting.result()
                    announce(self._addresses)
                    await stopped
                else:
                    starting.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await starting
            except ConfigError as error:
                refused = error
            finally:
                self._draining = True
                refreshing.cancel()
                await self._crew.stop()
                await admin.close()
                stopped.cancel()
        if refused is not None:
            raise refused

    async def _start(self, admin: Admin, tasks: asyncio.TaskGroup) -> None:
        self._addresses = await self._crew.start(tasks)
        await self._crew.ask("snapshot")
        self._read()
        for flag, where in (("admin", self._config.admin), ("status", self._config.status)):
            if where is None:
                continue
            try:
                self._addresses[flag] = await admin.open(where.host, where.port)
            except OSError as error:
                words = f"cannot listen: {error.strerror or error}; choose another port (0 = any free one)"
                raise ConfigError(f"--{flag} {where}: {words}") from error

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            await self._crew.ask("metrics")
            await self._crew.ask("snapshot")

    # ---- what the crew tells -----------------------------------------------------------------------

    def _greetings(self) -> list[Message]:
        greetings: list[Message] = [{"news": news} for news in self._breakers.standing()]
        return [*greetings, {"do": "drain"}] if self._draining else greetings

    def _hear(self, place: Place, message: Message) -> None:
        event, news = message["event"], message["news"]
        if event["kind"] == "membership" and event["after"] == "gone":
            self._breakers.gone(event["upstream"], event["endpoint"])
        if news is not None and self._breakers.note(place.number, news):
            self._crew.tell({"news": news}, but=place)
        if news is None or not news["echo"]:
            rest = {key: event[key] for key in event if key not in ("id", "time", "source", "kind")}
            self._events.add(event["kind"], **rest, worker=place.number)

    def _gone(self, place: Place, words: str) -> None:
        self._breakers.forget(place.number)
        known = place.last
        if "metrics" in known:
            self._gone_metrics = metrics.merged((self._gone_metrics, metrics.counted(known["metrics"])))
        if "snapshot" in known:
            self._gone_counts.update(snapshot.counted(known["snapshot"]))
        if not self._draining:
            self._events.add("worker", worker=place.number, after="gone", reason=words)

    # ---- what the admin listener shows -------------------------------------------------------------

    async def _refresh(self, path: str) -> None:
        for question in QUESTIONS.get(path, "").split():
            await self._crew.ask(question)

    def collect(self) -> Iterator[Metric]:
        """All that is counted, for the admin listener as a `prometheus_client` collector."""
        parts = [place.last["metrics"] for place in self._crew.places if "metrics" in place.last]
        own = metrics.dump(self._own.collect())
        yield from metrics.load(metrics.merged((*parts, self._gone_metrics, own)))
        serving = GaugeMetricFamily("mesh_workers", "Workers that serve")
        serving.add_metric((), sum(place.serving for place in self._crew.places))
        restarts = CounterMetricFamily(
            "mesh_worker_restarts", "Workers started again because they died", labels=("worker",)
        )
        for place in self._crew.places:
            restarts.add_metric((str(place.number),), place.restarts)
        yield from (serving, restarts)

    def find(self, trace_id: str = "") -> list[dict[str, Any]]:
        """The kept exchanges of a trace, or all, newest first."""
        found = [
            {**exchange, "worker": place.number}
            for place in self._crew.places
            for exchange in place.last.get("explain", ())
            if not trace_id or exchange["trace_id"] == trace_id
        ]
        return sorted(found, key=lambda exchange: float(exchange["at"]), reverse=True)

    def _read(self) -> dict[str, Any]:
        parts = [place.last["snapshot"] for place in self._crew.places if "snapshot" in place.last]
        if parts:
            self._shown = snapshot.added(snapshot.merged(parts), self._gone_counts)
        return {
            **self._shown,
            "uptime_s": round(self._clock() - self._started, 3),
            "addresses": self._addresses,
            "workers": [_worker(place) for place in self._crew.places],
        }

    def _config_dump(self) -> dict[str, Any]:
        for place in self._crew.places:
            if "config" in place.last:
                shown: dict[str, Any] = place.last["config"]
                config = self._config
                own: dict[str, Any] = {"workers": config.workers, "worker": 0}
                for flag, where in (("admin", config.admin), ("status", config.status)):
                    own[flag] = None if where is None else str(where)
                return {**shown, "bootstrap": {**shown["bootstrap"], **own}, "addresses": self._addresses}
        return {"addresses": self._addresses}

    def _not_ready(self) -> str | None:
        if self._draining:
            return "draining"
        for place in self._crew.places:
            if not place.serving:
                return f"worker {place.number} is not running"
            if place.silent:
                return f"worker {place.number} does not answer"
            if place.last.get("ready") is not None:
                return f"worker {place.number}: {place.last['ready']}"
        return None

    # ---- what the admin listener changes -----------------------------------------------------------

    def _drain(self) -> None:
        self._draining = True
        self._crew.tell({"do": "drain"})

    def _set_level(self, level: int) -> None:
        logging.getLogger().setLevel(level)
        self._crew.tell({"do": "level", "value": level})


def _worker(place: Place) -> dict[str, Any]:
    known = place.last.get("snapshot")
    side = None if known is None else known["outbound"]
    return {
        "worker": place.number,
        "pid": None if place.process is None else place.process.pid,
        "state": "gone" if not place.serving else "silent" if place.silent else "serving",
        "restarts": place.restarts,
        "requests": 0 if side is None else side["requests"],
        "connections": 0 if known is None else known["connections"]["downstream"],
        "open": [
            f"{name}/{row['id']}"
            for name, upstream in ({} if known is None else known["upstreams"]).items()
            for row in upstream["endpoints"]
            if row["breaker"] != "closed"
        ],
    }


async def manage(
    config: Config,
    announce: Callable[[dict[str, str]], None],
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
) -> None:
    """Run `config.workers` workers until told to end.

    Raises:
        ConfigError: as `Manager.run`.
    """
    with contextlib.ExitStack() as keep:

        def serving(bound: dict[str, str]) -> None:
            if sys.platform == "darwin":
                keep.close()  # a BSD kernel may give a connection to a socket that is bound, listening or not
            announce(bound)

        await Manager(reserve(config, keep), clock, wall_clock).run(serving)
