"""The listeners of one sidecar: HTTP and TCP, inbound and outbound, and admin."""

from __future__ import annotations

import functools
from collections.abc import Callable

from .admin.server import Admin
from .app_process import AppProcess
from .config import Config
from .discovery import Destinations
from .errors import ConfigError
from .exchange import Exchange
from .inbound import Inbound
from .io.deadlines import Deadlines
from .io.downstream import Downstream, RequestHandler
from .io.listener import Listener
from .io.outbox import Outbox
from .io.pool import Spawn
from .io.tcp import TcpListener
from .liveness import PATH
from .liveness_answer import LivenessAnswer
from .observe.access_log import AccessLog
from .observe.tcp_metrics import TcpMetrics
from .outbound import Outbound
from .proxy import Proxy
from .tcp import ConnectionRouter, TcpService
from .wire.events import RequestHead

INBOUND = "inbound"


def _never() -> bool:
    return False


def handlers(
    proxy: Proxy, stopped: Callable[[], bool], spawn: Spawn
) -> Callable[[Downstream, RequestHead], RequestHandler]:
    """What a listener makes of a request: an exchange, or the answer of this sidecar about its app.

    Args:
        stopped: whether the app is; it may block.
    """
    if not isinstance(proxy, Inbound):
        return lambda connection, head: Exchange(proxy, connection, head)

    def hangs() -> bool:
        # an app that a fault makes hang is to look like one that does
        return proxy.faults.hanging > 0 or stopped()

    def handler(connection: Downstream, head: RequestHead) -> RequestHandler:
        if head.target == PATH:
            return LivenessAnswer(connection, head, hangs, spawn)
        return Exchange(proxy, connection, head)

    return handler


class Listening:
    """Makes and keeps the listeners; who made it stops and drains them."""

    def __init__(
        self,
        config: Config,
        access_log: AccessLog | None,
        tcp_metrics: TcpMetrics,
        spawn: Spawn,
        deadlines: Deadlines,
        outbox: Outbox,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._access_log = access_log
        self._tcp_metrics = tcp_metrics
        self._spawn = spawn
        self._deadlines = deadlines
        self._outbox = outbox
        self._clock = clock
        app = config.app
        # of an app on another machine nothing can be seen from here
        self._stopped = AppProcess(app.port).stopped if app is not None and app.is_loopback else _never
        self.listeners: list[Listener | TcpListener] = []

    async def open(
        self, inbound: Inbound | None, outbound: Outbound | None, destinations: Destinations, admin: Admin
    ) -> dict[str, str]:
        """Listen wherever the configuration says; returns the bound addresses by name.

        Raises:
            ConfigError: when an address cannot be bound.
        """
        config, bound = self._config, dict[str, str]()
        shared = config.worker > 0  # with the other workers, by SO_REUSEPORT
        try:
            for name, proxy, address in (
                (INBOUND, inbound, config.inbound),
                ("outbound", outbound, config.outbound),
            ):
                if proxy is not None and address is not None:
                    at = name, address
                    bound[name] = await self._listener(name, proxy).open(
                        address.host, address.port, reuse_port=shared
                    )
            for service, address in config.tcp:
                at = "tcp", address
                listener = self._tcp_listener(
                    f"tcp:{service}",
                    "source",
                    service,
                    functools.partial(destinations.connect, service),
                    functools.partial(destinations.asks_for_names, service),
                )
                bound[listener.name] = await listener.open(address.host, address.port, reuse_port=shared)
            if config.admin is not None:
                at = "admin", config.admin
                bound["admin"] = await admin.open(config.admin.host, config.admin.port)
            if config.status is not None:
                at = "status", config.status
                bound["status"] = await admin.open(config.status.host, config.status.port)
        except OSError as error:
            flag, address = at
            words = f"cannot listen: {error.strerror or error}; choose another port (0 = any free one)"
            raise ConfigError(f"--{flag} {address}: {words}") from error
        return bound

    def _tcp_listener(
        self,
        name: str,
        reporter: str,
        service: str,
        route: ConnectionRouter,
        asks_for_names: Callable[[], bool] | None = None,
    ) -> TcpListener:
        tcp = TcpService(
            reporter,
            service,
            route,
            self._tcp_metrics,
            self._access_log,
            self._spawn,
            self._deadlines,
            self._config.timeouts,
            self._clock,
            asks_for_names,
        )
        listener = TcpListener(name, tcp.session, tcp.refused, self._config.max_connections, self._outbox)
        self.listeners.append(listener)
        return listener

    def _listener(self, name: str, proxy: Proxy) -> Listener | TcpListener:
        if isinstance(proxy, Inbound) and self._config.inbound_protocol == "tcp":
            app = proxy.app
            return self._tcp_listener(
                name, "destination", self._config.service, lambda session, port, name: app
            )
        proxy.timeouts = self._config.timeouts
        proxy.outbox = self._outbox

        listener = Listener(
            name,
            handlers(proxy, self._stopped, self._spawn),
            proxy.refused,
            self._deadlines,
            self._clock,
            header_timeout=self._config.header_timeout,
            idle_timeout=self._config.idle_timeout,
            min_upload_rate=self._config.min_upload_rate,
            limits=proxy.take_limits(self._config.limits),
            max_connections=self._config.max_connections,
            max_per_address=self._config.max_connections_per_client,
            outbox=self._outbox,
        )
        self.listeners.append(listener)
        return listener
