"""Requests of the app behind this sidecar to the services of the mesh; without an app, the ingress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .attempt import Attempt
from .caller_fault import CallerFault
from .detour import admit
from .direct import DirectAnswer, Fields, of_route, pairs
from .discovery import Destinations, is_registry
from .errors import Flag, MeshError
from .observe.lengths import AUTHORITY
from .observe.metrics import RequestSeries
from .proxy import Proxy, timeout_field
from .request_overrides import TIMEOUT, asked_retry, asked_timeout
from .routing.outside import passthrough_key, port_of
from .routing.table import RouteTable, host_of, service_name
from .side_try import Mirror
from .stack import Rejection, Upstream
from .wire.forward import (
    CLAIMS,
    DROP_REQUEST,
    DROP_REQUEST_UNTRUSTED,
    DROP_RESPONSE,
    DROP_RESPONSE_AT_EDGE,
)
from .wire.forwarded import told, vouched
from .wire.serialize import join_head
from .wire.target import shadow_host

if TYPE_CHECKING:
    from .attempt import Target
    from .exchange import Exchange
    from .exchange_state import ExchangeState
    from .policy.retry import RetryPolicy
    from .routing.route import Route
    from .wire.events import RequestHead

# Host values seen lately; past this the cache starts anew, for anybody may send any Host.
MAX_HOSTS = 1024


class Outbound(Proxy):
    """The outbound listener's side.

    Args:
        identity: instance, service and version, as callees and their metrics see us.
        edge: callers are outside the mesh, and their mesh headers are not believed.
    """

    direction = "outbound"
    trusted_hops = 0  # proxies in front of an ingress that are believed about the client
    allow_any = False  # a host that nobody knows is asked itself (outboundTrafficPolicy ALLOW_ANY)

    def __init__(
        self,
        destinations: Destinations,
        identity: tuple[str, str, str],
        edge: bool,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.destinations = destinations
        self.table = RouteTable()
        self.trusted = not edge
        self.instance = identity[0]
        self.attempt_spans = self.recording
        self.drop_request = DROP_REQUEST if self.trusted else DROP_REQUEST_UNTRUSTED
        self.drop_response = DROP_RESPONSE if self.trusted else DROP_RESPONSE_AT_EDGE
        self._leaves = False  # a request may go out of the mesh
        self._hosts: dict[bytes, str] = {}  # those without rules: Host -> key of the destination
        self._self_fields = [
            b"x-envoy-peer-metadata-id: %b\r\n" % "~".join(identity).encode(),
            b"via: 1.1 %b\r\n" % identity[0].encode(),
        ]
        self._pseudonym = b"1.1 " + identity[0].encode()
        self._unrouted = self.metrics.outbound("unknown", "unknown")

    def apply(self, table: RouteTable) -> None:
        """Route by this table from the next request on; one that has begun keeps the route it has."""
        self.table = table
        self._leaves = self.allow_any or bool(table.outside)
        self._hosts.clear()

    def route(self, head: RequestHead, exchange: ExchangeState) -> Target | DirectAnswer | MeshError | None:
        via = head.fields.get(b"via")
        if via is not None and self._pseudonym in [part.strip() for part in via.split(b",")]:
            return MeshError(Flag.LOOP, "this sidecar's own outbound listener sent it")
        if self.trusted_hops and (chain := vouched(head, self.trusted_hops)):
            exchange.peer = chain[0].decode()
        key = self._hosts.get(head.host)
        if key is None:
            found = self._match(head, exchange)
            if not isinstance(found, str):
                return found
            key = found
            route = exchange.route
            if route is not None and route.fault is not None:
                return CallerFault(self, cast("Exchange", exchange), key).begin(route.fault)
        return self.reach(key, exchange)

    def reach(self, key: str, exchange: ExchangeState) -> Target | MeshError | None:
        """The destination itself; None = `exchange.routed` is called when its endpoints are known."""
        return self.destinations.get(key) or self._unready(key, exchange)

    def time_limit(self, head: RequestHead, route: Route | None) -> float:
        asked = asked_timeout(head.fields) if self.trusted else None
        limit = super().time_limit(head, route)
        if asked is None:
            return limit
        stated = head.fields.get(b"x-envoy-expected-rq-timeout-ms")
        return asked if stated is None else min(asked, limit)

    def deadline_covers_body(self, head: RequestHead) -> bool:
        return super().deadline_covers_body(head) or (self.trusted and TIMEOUT in head.fields)

    def retry_policy(self, head: RequestHead, base: RetryPolicy) -> RetryPolicy | None:
        return asked_retry(head.fields, base) if self.trusted else None

    def _match(self, head: RequestHead, exchange: ExchangeState) -> str | DirectAnswer | MeshError:
        """The key of the destination; what the route wants besides is put into the exchange."""
        authority = head.host.decode("latin-1").lower()
        rules, route = self.table.resolve(authority)
        if rules:
            fields, peer = self.believed(head), exchange.peer
            route = self.table.choose(rules, authority, head.method, head.target, fields, peer)
            if route is None:
                return MeshError(Flag.NR, f"no rule of {authority[:AUTHORITY]!r} matches this request")
            if route.rewrite is not None and not route.rewrite.fits(head.target):
                return MeshError(Flag.DPE, "the path has too many places to rewrite", status=414)
        elif route is None:
            if not head.host:
                return MeshError(Flag.DPE, "no Host, so no destination")
            return self._elsewhere(authority) or self._unknown(host_of(authority))
        if not rules and route.plain:
            self._remember(head.host, route.upstream)
        else:
            exchange.route = route
            direct = of_route(route, head, exchange)
            if direct is not None:
                return direct
        outside = self.table.outside
        if not outside or not route.upstream:
            return route.upstream
        host = host_of(authority)
        key = outside.at(route.upstream, host, service_name(host), port_of(authority))
        if key is None:
            return MeshError(Flag.NC, f"{host[:AUTHORITY]!r} is no host that {route.upstream!r} could mean")
        return key

    def _elsewhere(self, authority: str) -> str | None:
        """The key of a host that nobody knows, if those may be asked; never the registry's own."""
        if not self.allow_any:
            return None
        host = host_of(authority)
        return None if is_registry(service_name(host)) else passthrough_key(host, port_of(authority))

    def believed(self, head: RequestHead) -> Fields:
        """The fields that a rule may match: at an ingress none that claims something."""
        if self.trusted:
            return pairs(head)
        kept = told(head) if vouched(head, self.trusted_hops) else []
        return CLAIMS.pairs(head.headers) + [(name, value) for name, _, value in kept]

    def _remember(self, host: bytes, key: str) -> None:
        if len(host) > AUTHORITY:
            return
        if len(self._hosts) >= MAX_HOSTS:
            self._hosts.clear()
        self._hosts[host] = key

    def _unknown(self, name: str) -> MeshError:
        known = self.destinations.names_text()
        return MeshError(Flag.NC, f"no service is named {name[:AUTHORITY]!r}; known are {known}")

    def _unready(self, key: str, exchange: ExchangeState) -> Target | MeshError | None:
        """Nobody has gone there yet; or the service left the registry since its host was looked up."""
        name = key.partition("|")[0]
        if not self.destinations.knows(name) and self.destinations.names is not None:
            self._hosts.clear()
            return self._unknown(name)
        return self.destinations.wait(key, exchange)

    def upstream_of(self, exchange: Exchange) -> Upstream | None:
        return self.destinations.get(exchange.target_name)

    def destination(self, key: str) -> Target | None:
        return self.destinations.at_once(self.table.outside.usual(key))

    def mirror(
        self, exchange: ExchangeState, route: Route, key: str, body: list[bytes], size: int, limit: float
    ) -> None:
        """Send a copy of a request to another destination; nobody waits for it."""
        target = admit(key, self)
        if target is None:
            self.count_mirror(key, "no_place")
            return
        if not self.copies_room.take(size):
            target.finish()
            self.not_mirrored(route, key, "no_room")
            return
        pick = target.pick((), None, False)
        if isinstance(pick, Rejection):
            target.finish()
            self.copies_room.give(size)
            self.count_mirror(key, "no_endpoint")
            return
        now = self.clock()
        span = exchange.span.apart(self.rng)
        attempt = Attempt(1, pick, now, span.span_id, "mirror")
        lines = self.request_lines(exchange, route)
        lines[1] = b"host: %b\r\n" % shadow_host(lines[1].removeprefix(b"host: ").rstrip())
        if self._leaves:  # who hears of us is the copy's destination, not the request's
            own = self._self_fields[0]
            lines = [line for line in lines if line is not own]
            lines += [] if target.policy.connection.outside else [own]
        lines += span.lines(span.span_id)
        lines += self.attempt_fields(1, limit)
        copy = Mirror(exchange, span, target, pick, attempt, size, now + limit)
        copy.send([join_head(lines), *body])

    def request_fields(self, exchange: ExchangeState) -> list[bytes]:
        own = self._self_fields
        if self._leaves:
            upstream = self.destinations.get(exchange.target_name)
            if upstream is not None and upstream.policy.connection.outside:
                own = self._self_fields[1:]  # who we are in the mesh is none of its business
        lines = [*own, b"x-request-id: %b\r\n" % exchange.request_id]
        return lines if self.trusted else lines + self._forwarded(exchange)

    def _forwarded(self, exchange: ExchangeState) -> list[bytes]:
        """Who the client is and what it asked for: what trusted proxies say, and what we see ourselves."""
        head = exchange.head
        chain = vouched(head, self.trusted_hops)
        kept = told(head) if chain else []
        lines = [b"x-forwarded-for: %b\r\n" % b", ".join((*chain, exchange.remote.encode()))]
        lines += [b"%b: %b\r\n" % (name, value) for name, _, value in kept]
        said = {low for _, low, _ in kept}
        if b"x-forwarded-proto" not in said:
            lines.append(b"x-forwarded-proto: http\r\n")
        if b"x-forwarded-host" not in said:
            lines.append(b"x-forwarded-host: %b\r\n" % head.host)
        return lines

    def attempt_fields(self, number: int, remaining_s: float) -> list[bytes]:
        return [b"x-envoy-attempt-count: %d\r\n" % number, *timeout_field(remaining_s)]

    def response_fields(self, exchange: ExchangeState) -> list[bytes]:
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
            return self.metrics.outbound(name.partition("|")[0], "unknown") if name else self._unrouted
        endpoint = attempts[-1].endpoint
        series: RequestSeries | None = endpoint.meters
        if series is None:
            series = endpoint.meters = self.metrics.outbound(
                exchange.target_name.partition("|")[0], endpoint.version
            )
        return series

    def retried(self, exchange: ExchangeState) -> None:
        service = self.destinations.record(exchange.target_name)
        if service is not None:
            service.retries += 1

    def ended(self, exchange: Exchange) -> None:
        super().ended(exchange)
        service = self.destinations.record(exchange.target_name)
        if service is not None:
            now = self.clock()
            service.window.record(now, now - exchange.started, exchange.status >= 500)
