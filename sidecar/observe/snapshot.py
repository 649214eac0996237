"""Everything live as one JSON object (`/snapshot`), and the gauges that come from the same numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from ..io.timeouts import Timeouts
from ..wire.limits import Limits
from .inbound_metrics import inbound_metrics

if TYPE_CHECKING:
    from ..app import Sidecar
    from ..discovery import Destinations
    from ..inbound import Inbound
    from ..policies import Policies
    from ..proxy import Proxy


class Snapshot:
    """Reads a running sidecar."""

    def __init__(self, sidecar: Sidecar, destinations: Destinations, policies: Policies) -> None:
        self._sidecar = sidecar
        self._destinations = destinations
        self._policies = policies
        self._started = sidecar.clock()
        self.addresses: dict[str, str] = {}

    def read(self) -> dict[str, Any]:
        sidecar = self._sidecar
        config = sidecar.config
        health = sidecar.app_health
        idle, active = self._destinations.connections()
        if sidecar.inbound is not None and (pool := sidecar.inbound.app.pool) is not None:
            idle += pool.idle
            active += pool.active
        return {
            "name": config.name,
            "service": config.service,
            "version": config.version,
            "zone": config.zone,
            "labels": dict(config.labels),
            "state": "draining" if sidecar.draining else "serving",
            "inbound_closed": sidecar.inbound_closed,
            "uptime_s": round(sidecar.clock() - self._started, 3),
            "addresses": self.addresses,
            "app": None
            if health is None
            else {"status": health.status, "reason": health.reason, "address": str(config.app)},
            "inbound": _side(sidecar.inbound) | _policies(sidecar.inbound) if sidecar.inbound else None,
            "outbound": _side(sidecar.outbound) if sidecar.outbound else None,
            "upstreams": self._destinations.snapshot(),
            "policy": self._policies.state(),
            "connections": {
                "downstream": sum(listener.connections for listener in sidecar.listeners),
                "upstream_idle": idle,
                "upstream_active": active,
            },
        }

    def config(self) -> dict[str, Any]:
        """What this sidecar was told, and by whom."""
        config = self._sidecar.config
        return {
            "bootstrap": {
                name: _plain(getattr(config, name))
                for name in config.__slots__
                if name not in ("registry_token", "admin_token", "upstreams", "policies", "protected")
            },
            "addresses": self.addresses,
            "inbound": _policies(self._sidecar.inbound) if self._sidecar.inbound else None,
            "upstreams": {
                name: [f"{address}" for address in addresses] for name, addresses in config.upstreams
            },
            "policy": self._policies.dump(),
        }

    def metrics(self) -> Iterator[Metric]:
        sidecar = self._sidecar
        in_flight = GaugeMetricFamily("mesh_requests_in_flight", "Exchanges under way", labels=("direction",))
        refused = CounterMetricFamily(
            "mesh_refused_messages",
            "Messages refused before they became a request",
            labels=("direction", "reason"),
        )
        for proxy in (sidecar.inbound, sidecar.outbound):
            if proxy is not None:
                in_flight.add_metric((proxy.direction,), proxy.in_flight)
                for reason, count in proxy.refusals.items():
                    refused.add_metric((proxy.direction, reason), count)
        mirrored = CounterMetricFamily(
            "mesh_mirrored_requests",
            "Copies of requests by what became of them",
            labels=("destination", "result"),
        )
        if sidecar.outbound is not None:
            for (destination, result), count in sidecar.outbound.mirrored.items():
                mirrored.add_metric((destination, result), count)
        connections = GaugeMetricFamily(
            "mesh_downstream_connections", "Open client connections", labels=("listener",)
        )
        for listener in sidecar.listeners:
            connections.add_metric((listener.name,), listener.connections)
        yield from (in_flight, refused, mirrored, connections)
        if sidecar.inbound is not None:
            yield from inbound_metrics(sidecar.inbound)


def _plain(value: object) -> object:
    """A setting as JSON can say it: addresses as HOST:PORT, groups of settings by name."""
    if isinstance(value, (Limits, Timeouts)):
        return dataclasses.asdict(value)
    if value == math.inf:
        return None  # no limit
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _policies(inbound: Inbound) -> dict[str, Any]:
    """What acts on requests for the app now."""
    return {"faults": inbound.faults.snapshot(), **inbound.protection.snapshot()}


def _side(proxy: Proxy) -> dict[str, Any]:
    return {
        "requests": proxy.window.requests,
        "failed": proxy.window.failed,
        "in_flight": proxy.in_flight,
        "window": proxy.window.snapshot(),
    }
