"""TCP services: where a connection goes. The same discovery, balancing and breakers as for requests.

A connection is one attempt whose answer is the connect: that it was refused or took too long is what
the breaker learns, and then it is tried elsewhere, for not a byte of it was sent. What is said on it
afterwards is nobody's business here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from .errors import Flag, MeshError
from .io.deadlines import Deadlines
from .io.pool import Spawn
from .io.tcp import TcpClient, TcpSide
from .io.timeouts import Timeouts
from .io.tunnel import DRAINED, Tunnel
from .observe.tcp_metrics import TcpMetrics, TcpSeries
from .policy.outcome import Outcome
from .policy.retry import Refusal
from .stack import Rejection

if TYPE_CHECKING:
    from .attempt import Routed, Target
    from .balance.endpoints import Endpoint
    from .observe.access_log import AccessLog

log = logging.getLogger(__name__)

# All tries together; a client that waits longer for a connect has mostly given up.
PLACE_S = 5.0


class TcpService:
    """What the connections of one TCP listener share.

    Args:
        reporter: `source` for connections that we make for our app, `destination` for those to it.
        service: the destination's name.
        route: the target, or None when `routed` will be called.
    """

    def __init__(
        self,
        reporter: str,
        service: str,
        route: Callable[[Routed], Target | MeshError | None],
        metrics: TcpMetrics,
        access_log: AccessLog | None,
        spawn: Spawn,
        deadlines: Deadlines,
        timeouts: Timeouts,
        clock: Callable[[], float],
    ) -> None:
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

    def start(self) -> None:
        found = self._service.route(self)
        if found is not None:
            self.routed(found)

    def routed(self, found: Target | MeshError) -> None:
        """The destination is known, or known not to be."""
        if self._over:
            return
        if isinstance(found, MeshError):
            self._end(found.flag.name, found.detail)
            return
        rejection = found.start()
        if rejection is not None:
            if rejection.wait_s > 0:
                found.abandon_wait()  # a connection takes a place for hours: waiting 0.1 s for one is no use
            self._end(rejection.flag, rejection.reason)
            return
        self._target = found
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
                pick = target.pick(tried, None, True)
                if isinstance(pick, Rejection):
                    self._end("UF" if tried else pick.flag, detail or pick.reason)
                    return
                upstream: TcpSide | None = None
                outcome = Outcome.CANCELLED
                try:
                    upstream = await self._connect(pick.endpoint)
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

    async def _connect(self, endpoint: Endpoint) -> TcpSide:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._service.timeouts.connect):
            _, upstream = await loop.create_connection(
                lambda: TcpSide(lambda side: None, self._client.outbox), endpoint.host, endpoint.port
            )
        if upstream.transport is None:
            raise ConnectionError("closed as soon as it was open")
        return upstream

    def _join(self, upstream: TcpSide) -> None:
        service = self._service
        if self._over or self._client.transport is None:
            upstream.abort_raw()
            self._end("DC", "")
            return
        assert self._endpoint is not None
        self._series = service.metrics.series(service.reporter, service.service, self._endpoint.version)
        self._series.opened += 1
        tunnel = self._tunnel = Tunnel(
            self._client,
            upstream,
            service.deadlines,
            service.timeouts.tunnel_idle,
            service.clock,
            self._closed,
            self._series,
        )
        self._client.begin(tunnel)
        upstream.begin(tunnel)

    def _closed(self, tunnel: Tunnel) -> None:
        flag = "LR" if tunnel.reason == DRAINED else "UC"
        self._end(flag if tunnel.reason else "-", tunnel.reason)

    def _end(self, flag: str, detail: str) -> None:
        """Give back everything, once."""
        if self._over:
            return
        self._over = True
        target, self._target = self._target, None
        if target is not None:
            target.finish()
        service = self._service
        if self._tunnel is None:
            self._client.abort_raw()
        series = self._series or service.metrics.series(service.reporter, service.service, "")
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
                    "upstream_cluster": service.service,
                    "upstream_host": self._endpoint.id if self._endpoint is not None else None,
                    "downstream_remote_address": self._client.peer,
                },
            )
