"""TCP services: where a connection goes. The same discovery, balancing and breakers as for requests.

A connection is one attempt whose answer is the connect: that it was refused or took too long is what
the breaker learns, and then it is tried elsewhere, for not a byte of it was sent. What is said on it
afterwards is nobody's business here.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .errors import Flag, MeshError
from .io.deadlines import Deadlines, Timer
from .io.keepalive import keep_alive
from .io.pool import Spawn
from .io.tcp import TcpClient, TcpSide
from .io.timeouts import Timeouts
from .io.tunnel import DRAINED, Tunnel
from .observe.tcp_metrics import TcpMetrics, TcpSeries
from .policy.hash_key import hash_of
from .policy.outcome import Outcome
from .policy.retry import Refusal
from .stack import Rejection
from .wire.client_hello import HELLO_MAX, Incomplete, server_name

if TYPE_CHECKING:
    from .attempt import Routed, Target
    from .balance.endpoints import Endpoint
    from .observe.access_log import AccessLog
    from .policy.settings import ConnectionPolicy

log = logging.getLogger(__name__)

# A client that says nothing for so long is no TLS client (Envoy's listener_filters_timeout).
HELLO_S = 15.0
# All tries together; a client that waits longer for a connect has mostly given up.
PLACE_S = 5.0


class ConnectionRouter(Protocol):
    """Finds the target, or gives None when `routed` will be called."""

    def __call__(self, session: Routed, /, port: int, name: str | None) -> Target | MeshError | None: ...


class TcpService:
    """What the connections of one TCP listener share.

    Args:
        reporter: `source` for connections that we make for our app, `destination` for those to it.
        service: the destination's name, as far as no rule leads elsewhere.
        route: by the listener's port, and the name that a TLS client asks for (None: not known).
        asks_for_names: whether that name is needed.
    """

    def __init__(
        self,
        reporter: str,
        service: str,
        route: ConnectionRouter,
        metrics: TcpMetrics,
        access_log: AccessLog | None,
        spawn: Spawn,
        deadlines: Deadlines,
        timeouts: Timeouts,
        clock: Callable[[], float],
        asks_for_names: Callable[[], bool] | None = None,
    ) -> None:
        self.asks_for_names = asks_for_names
        self.reporter = reporter
        self.service = service
        self.route = route
        self.metrics = metrics
        self.access_log = access_log
        self.spawn = spawn
        self.deadlines = deadlines
        self.timeouts = timeouts
        self.clock = clock

    def session(self, client: TcpClient) -> TcpSession:
        return TcpSession(self, client)

    def refused(self, peer: str, reason: str) -> None:
        """A connection was refused before it became a session."""
        series = self.metrics.series(self.reporter, self.service, "")
        series.closed["UO"] = series.closed.get("UO", 0) + 1
        if self.access_log is not None:
            direction = "outbound" if self.reporter == "source" else "inbound"
            fields: dict[str, object] = {"direction": direction, "protocol": "tcp", "response_flags": "UO"}
            fields |= {"response_code_details": reason, "downstream_remote_address": peer}
            self.access_log.connection(self.clock(), fields)
        log.info("tcp %s: refused %s: %s", self.service, peer, reason)


class TcpSession:
    """One client's connection, from accept to end; gives back its place exactly once."""

    def __init__(self, service: TcpService, client: TcpClient) -> None:
        self._service = service
        self._client = client
        self._started = service.clock()
        self._target: Target | None = None
        self._endpoint: Endpoint | None = None
        self._tunnel: Tunnel | None = None
        self._series: TcpSeries | None = None
        self._over = False
        self._name = self._cluster = service.service
        self._hello: Timer | None = None  # while it is waited for

    def start(self) -> None:
        service = self._service
        if service.asks_for_names is None or not service.asks_for_names():
            self._route(None)
            return
        self._hello = Timer(lambda: self._named(None))
        service.deadlines.arm(self._hello, self._started + HELLO_S)
        self._client.peek(self._read_hello)

    def _read_hello(self, data: bytes, ended: bool) -> bool:
        """The client's first bytes; whether that is enough."""
        try:
            name = server_name(data)
        except Incomplete:
            if not ended and len(data) <= HELLO_MAX:
                return False
            name = None
        self._named(name)
        return True

    def _named(self, name: str | None) -> None:
        timer, self._hello = self._hello, None
        if timer is not None and not self._over:
            timer.retire()
            self._route(name)

    def _route(self, name: str | None) -> None:
        end = self._client.end_of("sockname")
        found = self._service.route(self, 0 if end is None else end[1], name)
        if found is not None:
            self.routed(found)

    def routed(self, found: Target | MeshError) -> None:
        """The destination is known, or known not to be."""
        if self._over:
            return
        if isinstance(found, MeshError):
            self._end(found.flag.name, found.detail)
            return
        if found.policy.connection.tls is not None:
            self._end("UF", "its rule says TLS, which is begun for HTTP only: leave trafficPolicy.tls out")
            return
        rejection = found.start()
        if rejection is not None:
            if rejection.wait_s > 0:
                found.abandon_wait()  # a connection takes a place for hours: waiting 0.1 s for one is no use
            self._end(rejection.flag, rejection.reason)
            return
        self._target = found
        if self._service.reporter == "source":
            self._cluster = found.name
            self._name = found.name.partition("|")[0]
        self._service.spawn(self._place(found), f"tcp {self._service.service}")

    def client_gone(self) -> None:
        if self._tunnel is None:
            self._end("DC", "the client left before there was a connection")

    def drained(self) -> None:
        self._end("LR", "a drain gave it no more time")

    async def _place(self, target: Target) -> None:
        """Connect to an endpoint, or to another one."""
        service = self._service
        until = service.clock() + PLACE_S
        tried: list[Endpoint] = []
        detail = ""
        try:
            while not self._over:
                pick = target.pick(tried, self._key(target), True)
                if isinstance(pick, Rejection):
                    self._end("UF" if tried else pick.flag, detail or pick.reason)
                    return
                upstream: TcpSide | None = None
                outcome = Outcome.CANCELLED
                try:
                    upstream = await self._connect(pick.endpoint, target.policy.connection)
                    outcome = Outcome.SUCCESS
                except (OSError, ValueError) as error:  # TimeoutError is an OSError
                    outcome = Outcome.CONNECT_FAILURE
                    detail = f"{pick.endpoint.id}: {str(error) or 'not connected in time'}"
                finally:
                    target.settle(pick, outcome, service.clock() - pick.started)
                if upstream is not None:
                    self._endpoint = pick.endpoint
                    self._join(upstream)
                    return
                tried.append(pick.endpoint)
                left = until - service.clock()
                verdict = target.may_retry(outcome, len(tried), True, True, False, left)
                if isinstance(verdict, Refusal):
                    self._end("UF", detail)
                    return
                if verdict.delay_s > 0:
                    await asyncio.sleep(verdict.delay_s)
        except Exception:
            log.exception("an error of our own, while a connection was placed")
            self._end("IE", "")

    def _key(self, target: Target) -> int | None:
        """Of a connection only its client's address can be hashed."""
        key = target.policy.balance.hash_key
        return None if key is None or key.kind != "source" else hash_of(self._client.peer.encode())

    async def _connect(self, endpoint: Endpoint, policy: ConnectionPolicy) -> TcpSide:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(policy.connect_timeout_s):
            _, upstream = await loop.create_connection(
                lambda: TcpSide(lambda side: None, self._client.outbox), endpoint.host, endpoint.port
            )
        if upstream.transport is None:
            raise ConnectionError("closed as soon as it was open")
        if policy.keep_alive is not None:
            keep_alive(upstream.transport, policy.keep_alive)
        return upstream

    def _join(self, upstream: TcpSide) -> None:
        service = self._service
        if self._over or self._client.transport is None:
            upstream.abort_raw()
            self._end("DC", "")
            return
        assert self._endpoint is not None
        self._series = service.metrics.series(service.reporter, self._name, self._endpoint.version)
        self._series.opened += 1
        tunnel = self._tunnel = Tunnel(
            self._client,
            upstream,
            service.deadlines,
            self._idle_s(),
            service.clock,
            self._closed,
            self._series,
        )
        self._client.begin(tunnel)
        upstream.begin(tunnel)

    def _idle_s(self) -> float:
        """What a document says, else what the program does; 0s = it may be silent for ever."""
        given = None if self._target is None else self._target.policy.connection.tcp_idle_timeout_s
        return self._service.timeouts.tunnel_idle if given is None else given or math.inf

    def _closed(self, tunnel: Tunnel) -> None:
        flag = "LR" if tunnel.reason == DRAINED else "UC"
        self._end(flag if tunnel.reason else "-", tunnel.reason)

    def _end(self, flag: str, detail: str) -> None:
        """Give back everything, once."""
        if self._over:
            return
        self._over = True
        if self._hello is not None:
            self._hello.retire()
            self._hello = None
        target, self._target = self._target, None
        if target is not None:
            target.finish()
        service = self._service
        if self._tunnel is None:
            self._client.abort_raw()
        series = self._series or service.metrics.series(service.reporter, self._name, "")
        series.closed[flag] = series.closed.get(flag, 0) + 1
        if flag in (Flag.UF.name, Flag.UO.name, Flag.UH.name, Flag.NC.name):
            log.info("tcp %s: %s from %s: %s", service.service, flag, self._client.peer, detail)
        if service.access_log is not None:
            tunnel = self._tunnel
            service.access_log.connection(
                self._started,
                {
                    "direction": "outbound" if service.reporter == "source" else "inbound",
                    "protocol": "tcp",
                    "response_flags": flag,
                    "response_code_details": detail,
                    "bytes_received": tunnel.bytes_in if tunnel is not None else 0,
                    "bytes_sent": tunnel.bytes_out if tunnel is not None else 0,
                    "duration": round((service.clock() - self._started) * 1000, 3),
                    "upstream_cluster": self._cluster,
                    "upstream_host": self._endpoint.id if self._endpoint is not None else None,
                    "downstream_remote_address": self._client.peer,
                },
            )
