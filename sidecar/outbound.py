"""Requests of the app behind this sidecar to the services of the mesh; without an app, the ingress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .discovery import Destinations
from .errors import Flag, MeshError
from .observe.metrics import RequestSeries
from .proxy import Proxy
from .wire.forward import DROP_REQUEST, DROP_REQUEST_UNTRUSTED, DROP_RESPONSE, DROP_RESPONSE_AT_EDGE

if TYPE_CHECKING:
    from .attempt import Routed, Target
    from .exchange import Exchange
    from .tries import Tries
    from .wire.events import RequestHead

# Host values seen lately; past this the cache starts anew, for anybody may send any Host.
MAX_HOSTS = 1024


class Outbound(Proxy):
    """The outbound listener's side.

    Args:
        identity: instance, service and version, as callees and their metrics see us.
        default_service: takes what names no known service; callers' mesh headers are then not believed.
    """

    direction = "outbound"

    def __init__(
        self,
        destinations: Destinations,
        identity: tuple[str, str, str],
        default_service: str | None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.destinations = destinations
        self.default_service = default_service
        self.trusted = default_service is None
        self.attempt_spans = self.recording
        self.drop_request = DROP_REQUEST if self.trusted else DROP_REQUEST_UNTRUSTED
        self.drop_response = DROP_RESPONSE if self.trusted else DROP_RESPONSE_AT_EDGE
        self._names: dict[bytes, str] = {}
        self._self_fields = [
            b"x-envoy-peer-metadata-id: %b\r\n" % "~".join(identity).encode(),
            b"via: 1.1 %b\r\n" % identity[0].encode(),
        ]
        self._pseudonym = b"1.1 " + identity[0].encode()
        self._unrouted = self.metrics.outbound("unknown", "unknown")

    def route(self, head: RequestHead, exchange: Routed) -> Target | MeshError | None:
        via = head.fields.get(b"via")
        if via is not None and self._pseudonym in [part.strip() for part in via.split(b",")]:
            return MeshError(Flag.LOOP, "this sidecar's own outbound listener sent it")
        name = self._names.get(head.host)
        if name is None:
            name = self._name(head.host)
        target = self.destinations.get(name)
        if target is not None:
            return target
        known = self.destinations.knows(name)
        if not known and self.default_service is not None:
            name = self.default_service
            target = self.destinations.get(name)
            if target is not None:
                return target
            known = True
        if not name:
            return MeshError(Flag.DPE, "no Host, so no destination")
        if not known and self.destinations.names is not None:
            return MeshError(
                Flag.NC, f"no service is named {name!r}; known are {self.destinations.names_text()}"
            )
        return self.destinations.wait(name, exchange)

    def _name(self, host: bytes) -> str:
        if len(self._names) >= MAX_HOSTS:
            self._names.clear()
        text = host.decode("latin-1").lower()
        name = text if text.startswith("[") else text.partition(":")[0]
        self._names[host] = name.removesuffix(".")
        return self._names[host]

    def request_fields(self, exchange: Tries) -> list[bytes]:
        lines = [*self._self_fields, b"x-request-id: %b\r\n" % exchange.request_id]
        if not self.trusted:
            lines += [
                b"x-forwarded-for: %b\r\n" % exchange.peer.encode(),
                b"x-forwarded-proto: http\r\n",
                b"x-forwarded-host: %b\r\n" % exchange.head.host,
            ]
        return lines

    def attempt_fields(self, number: int, remaining_s: float) -> list[bytes]:
        return [
            b"x-envoy-attempt-count: %d\r\n" % number,
            b"x-envoy-expected-rq-timeout-ms: %d\r\n" % max(1, int(remaining_s * 1000)),
        ]

    def response_fields(self, exchange: Tries) -> list[bytes]:
        lines = [b"x-envoy-upstream-service-time: %d\r\n" % int(exchange.upstream_s * 1000)]
        if not self.trusted:
            lines += [
                b"x-request-id: %b\r\n" % exchange.request_id,
                b"traceresponse: %b\r\n" % exchange.span.traceparent(exchange.span.span_id),
            ]
        return lines

    def series(self, exchange: Exchange) -> RequestSeries:
        attempts = exchange.attempts
        if not attempts:
            name = exchange.target_name
            return self.metrics.outbound(name, "unknown") if name else self._unrouted
        endpoint = attempts[-1].endpoint
        series: RequestSeries | None = endpoint.meters
        if series is None:
            series = endpoint.meters = self.metrics.outbound(exchange.target_name, endpoint.version)
        return series

    def retried(self, exchange: Tries) -> None:
        destination = self.destinations.record(exchange.target_name)
        if destination is not None:
            destination.retries += 1

    def ended(self, exchange: Exchange) -> None:
        super().ended(exchange)
        destination = self.destinations.record(exchange.target_name)
        if destination is not None:
            now = self.clock()
            destination.window.record(now, now - exchange.started, exchange.status >= 500)
