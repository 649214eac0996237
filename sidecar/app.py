"""The composition root: makes the clock, the pools, the listeners and the watches, and ends them in order.

Start: admin first (so that somebody can ask), then the names that the registry has, then the
listeners, then our own registration: nobody is told of us before we can serve. End (SIGTERM): the
registry forgets us, callers hear of it, connections are told to close, what is under way ends, and
only then do we.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from guard.token import Token
from registry.client import Heartbeat, RegistryClient

from .admin.app_metrics import AppMetrics
from .admin.server import Admin
from .app_health import AppHealth
from .balance.endpoints import EndpointSpec
from .balance.locality import Place
from .boundary import Boundary, netloc
from .config import ALLOW_ANY, Config
from .discovery import Destinations
from .errors import ConfigError
from .inbound import Inbound, LocalApp
from .io.deadlines import Deadlines
from .io.files import raise_limit
from .io.listener import Listener
from .io.outbox import Outbox
from .io.tcp import TcpListener
from .labels import own_labels
from .listening import INBOUND, Listening
from .loop_lag import LoopLag
from .observe.access_log import FLUSH_S, AccessLog
from .observe.events import EventLog
from .observe.explain import Explain
from .observe.metrics import Metrics, Peer, upstream_metrics
from .observe.snapshot import Snapshot
from .observe.tcp_metrics import TcpMetrics
from .observe.tracing import Tracer
from .outbound import Outbound
from .policies import Policies
from .policy.events import PolicyEvent
from .policy.settings import ConnectionPolicy
from .policy_wiring import make_policies
from .registration import registration
from .resolver import Resolver
from .routing.compiled import Destination as Meaning
from .stack import Upstream
from .whereabouts import Whereabouts

log = logging.getLogger("sidecar")

# Callers hear of our leaving by a blocking query, in milliseconds; this covers a slow one.
PROPAGATION_S = 0.25
# However long ago a drain began: connections that are in use are told to close with their next answer.
LAST_REQUESTS_S = 0.5


class Sidecar:
    """One sidecar process."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = time.monotonic
        self.rng = random.Random()
        self.events = EventLog(config.name, time.time)
        self.metrics = Metrics(Peer(config.service, config.version))
        self.explain = Explain(config.name, self._policy_version, self.clock, time.time)
        self.collectors = CollectorRegistry()
        self.stopping = asyncio.Event()
        self.draining = False
        self.inbound_closed = False
        """It drains, and nothing is left of what came in: the app may end."""
        self._drain_until = 0.0
        self.inbound: Inbound | None = None
        self.outbound: Outbound | None = None
        self.destinations: Destinations | None = None
        self.snapshot: Snapshot | None = None
        self.app_health: AppHealth | None = None
        self.tcp_metrics = TcpMetrics(config.service, config.version)
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(
            lambda at, call: self._loop.call_later(max(0.0, at - self.clock()), call), self.clock
        )
        self._access_log = self._open_access_log()
        outbox = Outbox(self._loop.call_soon)
        self._listening = Listening(
            config, self._access_log, self.tcp_metrics, self._spawn, self._deadlines, outbox, self.clock
        )
        self.listeners = self._listening.listeners
        self._tracer = (
            Tracer(config.otlp, config.service, config.name, config.version, self.clock, time.time)
            if config.otlp
            else None
        )
        self._client: RegistryClient | None = None
        self._policies: Policies | None = None
        self._heartbeat: Heartbeat | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._spawned: set[asyncio.Task[None]] = set()

    async def run(self, announce: Callable[[dict[str, str]], None]) -> None:
        """Serve until SIGTERM or SIGINT, then drain; `announce` gets the bound addresses once it serves.

        Raises:
            ConfigError: when an address cannot be bound.
        """
        config = self.config
        room = raise_limit(config.max_connections)
        if room < config.max_connections:
            log.info("room for %d connections only: the limit of open files is low (ulimit -n)", room)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stopping.set)
        async with contextlib.AsyncExitStack() as stack:
            if config.registry:
                token = Token(config.registry_token or "", config.registry_token_file, log.warning)
                self._client = await stack.enter_async_context(
                    RegistryClient(config.registry, token=lambda: token.word, clock=self.clock, rng=self.rng)
                )
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
            background: list[asyncio.Task[None]] = []
            self.destinations = destinations = Destinations(
                self._client,
                self._make_upstream,
                self._spawn,
                self._deadlines,
                self.events,
                self.clock,
                Whereabouts(Resolver(self._spawn), Boundary(self._protected), asyncio.sleep),
            )
            for name, addresses in config.upstreams:
                specs = [
                    EndpointSpec(f"{name}-{number}", address.host, address.port, version="v1")
                    for number, address in enumerate(addresses, 1)
                ]
                destinations.static(name, specs)
            self._make_proxies(destinations)
            self._policies = policies = make_policies(
                config,
                self._connection_policy(),
                destinations,
                self.inbound,
                self.outbound,
                self.events,
                time.time,
                self.rng,
            )
            self.snapshot = snapshot = Snapshot(self, destinations, policies)
            self.collectors.register(self.metrics)
            self.collectors.register(ProcessCollector(registry=None))
            self.collectors.register(PlatformCollector(registry=None))
            self.metrics.add_source(upstream_metrics(destinations.snapshot))
            self.metrics.add_source(snapshot.metrics)
            self.metrics.add_source(self.tcp_metrics.collect)
            admin = Admin(
                snapshot.read,
                snapshot.config,
                self.explain,
                self.collectors,
                self.events,
                self.not_ready,
                self._fail_health,
                self.begin_drain,
                self.stopping.set,
                app_metrics=AppMetrics(config.app).get if config.app is not None else None,
                token=Token(config.admin_token, config.admin_token_file, log.warning),
            )
            try:
                bound = await self._listening.open(self.inbound, self.outbound, destinations, admin)
                snapshot.addresses = bound
                if self._client is not None and (self.outbound is not None or config.tcp):
                    watch = destinations.watch_names(self._names_changed)
                    background.append(self._tasks.create_task(watch, name="watch names"))
                if self._client is not None:
                    watch = policies.watch(self._client)
                    background.append(self._tasks.create_task(watch, name="watch policies"))
                if self.app_health is not None:
                    await self.app_health.check()
                    background.append(self._tasks.create_task(self.app_health.run(), name="app health"))
                if self._client is not None and self.inbound is not None:
                    record = registration(config, bound)
                    self._heartbeat = Heartbeat(self._client, record, self._own_health, rng=self.rng)
                    background.append(self._tasks.create_task(self._heartbeat.run(), name="heartbeat"))
                if self._access_log is not None:
                    background.append(
                        self._tasks.create_task(self._flush(self._access_log), name="access log")
                    )
                # What is here now stays: a full collection would walk it, and stop the traffic, for nothing.
                gc.freeze()
                announce(bound)
                await self.stopping.wait()
                await self._drain()
            finally:
                for listener in self.listeners:
                    listener.stop_accepting()
                for task in [*background, *self._spawned]:
                    task.cancel()
                await admin.close()
                self._deadlines.close()
        if self._access_log is not None:
            self._access_log.close()
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.close)

    # -- making --------------------------------------------------------------------------------------

    def _open_access_log(self) -> AccessLog | None:
        path = self.config.access_log
        if path is None:
            return None
        try:
            return AccessLog(path, self.clock, time.time)
        except OSError as error:
            raise ConfigError(f"--access-log {path}: cannot be opened: {error.strerror}") from error

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        assert self._tasks is not None
        task = self._tasks.create_task(_logged(coroutine, name), name=name)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    def _make_upstream(self, meaning: Meaning) -> Upstream:
        config = self.config
        upstream = Upstream(
            meaning.key, meaning.policy, self._policy_event, self.config.name, self.clock, self.rng
        )
        upstream.set_place(Place(config.zone, own_labels(config.service, config.version, config.labels)))
        return upstream

    def _connection_policy(self) -> ConnectionPolicy:
        return ConnectionPolicy(connect_timeout_s=self.config.timeouts.connect)

    def _protected(self) -> list[str]:
        """Where no document and no request leads us: our own listeners, the registry, the control API."""
        own = [] if self.snapshot is None else list(self.snapshot.addresses.values())
        others = [netloc(each) for each in (self.config.registry, self.config.otlp) if each]
        return own + others + [str(address) for address in self.config.protected]

    def _policy_version(self) -> str:
        return "" if self._policies is None else self._policies.compiled.version

    def _names_changed(self) -> None:
        if self.outbound is not None:
            self.outbound.table.forget()

    def _policy_event(self, event: PolicyEvent) -> None:
        self.events.add(
            event.kind,
            upstream=event.upstream,
            endpoint=event.endpoint,
            before=event.from_state,
            after=event.to_state,
            reason=event.reason,
            numbers=dict(event.numbers),
        )

    def _make_proxies(self, destinations: Destinations) -> None:
        config = self.config
        common: tuple[Any, ...] = (
            self._spawn,
            self._deadlines,
            self.metrics,
            self.events,
            self._access_log,
            self._tracer,
            self.explain,
            config.upstream_timeout,
            config.trace_sample,
            self.clock,
            self.rng,
        )
        if config.inbound is not None and config.app is not None:
            spec = EndpointSpec(config.name, config.app.host, config.app.port, version=config.version)
            self.app_health = AppHealth(
                config.app.host,
                config.app.port,
                config.app_health,
                config.app_health_interval,
                self._app_changed,
                asyncio.sleep,
            )
            app = LocalApp(
                spec,
                self._connection_policy(),
                self.app_health.refused,
                self.clock,
                config.max_late_uploads,
            )
            self.inbound = Inbound(app, lambda: self._own_health()[0], *common)
            LoopLag(self._deadlines, self.inbound.protection.observe, time.process_time, self.clock).start()
        if config.outbound is not None:
            identity = (config.name, config.service, config.version)
            self.outbound = Outbound(destinations, identity, config.default_service is not None, *common)
            self.outbound.trusted_hops = config.trusted_hops
            self.outbound.allow_any = config.outbound_traffic_policy == ALLOW_ANY

    # -- living ----------------------------------------------------------------------------------------

    def _own_health(self) -> tuple[str, str]:
        assert self.app_health is not None
        if self.draining:
            return "critical", "draining"
        return self.app_health.status, self.app_health.reason

    def _app_changed(self, status: str, reason: str) -> None:
        self.events.add("health", after=status, reason=reason)
        log.info("the app is %s%s", status, f": {reason}" if reason else "")
        if self._heartbeat is not None:
            self._heartbeat.nudge()

    def not_ready(self) -> str | None:
        if self.draining:
            return "draining"
        if self.app_health is not None and self.app_health.status == "critical":
            return f"the app is critical: {self.app_health.reason}"
        return None

    def _fail_health(self, failing: bool) -> None:
        if self.app_health is not None:
            self.app_health.force(failing)

    async def _flush(self, access_log: AccessLog) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            access_log.flush()

    # -- ending ----------------------------------------------------------------------------------------

    def begin_drain(self) -> None:
        """From here on every answer says `Connection: close`."""
        if not self.draining:
            self.draining = True
            self._drain_until = self.clock() + self.config.drain_timeout
            self.events.add("drain", reason="begun")
            if self._heartbeat is not None:
                self._heartbeat.nudge()
            for proxy in (self.inbound, self.outbound):
                if proxy is not None:
                    proxy.draining = True

    async def _drain(self) -> None:
        self.begin_drain()
        if self._heartbeat is not None:
            await self._heartbeat.stop()
            await asyncio.sleep(PROPAGATION_S)
        # The way out stays open for as long as the app works on what came in: it may need others for it.
        inbound = [listener for listener in self.listeners if listener.name == INBOUND]
        await self._close(inbound)
        self.inbound_closed = True
        await self._close([listener for listener in self.listeners if listener not in inbound])

    async def _close(self, listeners: Sequence[Listener | TcpListener]) -> None:
        for listener in listeners:
            listener.stop_accepting()
        for listener in listeners:
            left = max(LAST_REQUESTS_S, self._drain_until - self.clock())
            ended, cut = await listener.drained(left)
            if ended or cut:
                log.info("%s: %d connections ended, %d cut", listener.name, ended, cut)


async def _logged(coroutine: Coroutine[Any, Any, None], name: str) -> None:
    """A fault in one task must not end the process that serves everybody else."""
    try:
        await coroutine
    except Exception:
        log.exception("task %r failed", name)


async def run(config: Config, announce: Callable[[dict[str, str]], None]) -> None:
    """Serve until told to end.

    Raises:
        ConfigError: when an address cannot be bound, or a file cannot be used.
    """
    await serve(Sidecar(config), announce)


async def serve(sidecar: Sidecar, announce: Callable[[dict[str, str]], None]) -> None:
    """Serve until told to end.

    Raises:
        ConfigError: as itself, not in the group that its task group makes of it.
    """
    try:
        await sidecar.run(announce)
    except BaseExceptionGroup as group:
        wrong, others = group.split(ConfigError)
        if wrong is None or others is not None:
            raise
        raise wrong.exceptions[0] from group
