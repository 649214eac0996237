"""A sidecar's data path in this process: real listeners and pools, static endpoints, free ports.

`async with Rig({"svc": [address]}) as rig:` then `await rig.ask(b"GET / HTTP/1.1\\r\\n…")`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import h11

from sidecar.balance.endpoints import EndpointSpec
from sidecar.boundary import Boundary
from sidecar.discovery import Destinations
from sidecar.inbound import Inbound, LocalApp
from sidecar.io.deadlines import Deadlines
from sidecar.io.listener import Listener
from sidecar.io.outbox import Outbox
from sidecar.io.pool import Pool
from sidecar.io.timeouts import DEFAULT_TIMEOUTS, Timeouts
from sidecar.listening import handlers
from sidecar.observe.access_log import AccessLog
from sidecar.observe.events import EventLog
from sidecar.observe.explain import Explain
from sidecar.observe.metrics import Metrics, Peer
from sidecar.observe.tracing import Tracer
from sidecar.outbound import Outbound
from sidecar.policy.settings import UpstreamPolicy
from sidecar.proxy import Proxy
from sidecar.resolver import Lookup, Resolver
from sidecar.routing.compile import compile_documents
from sidecar.routing.compiled import Destination as Meaning
from sidecar.routing.compiled import Identity
from sidecar.routing.documents import parse_text
from sidecar.stack import Upstream
from sidecar.whereabouts import Whereabouts
from sidecar.wire.limits import DEFAULT_LIMITS, Limits

Address = tuple[str, int]
clock = time.monotonic  # noqa: TID251 - sockets live in real time


class Answer:
    """A response as h11, a strict client, understands it."""

    def __init__(self) -> None:
        self.status = 0
        self.interim: list[int] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    def __getitem__(self, name: str) -> str:
        return ", ".join(value.decode("latin-1") for key, value in self.headers if key == name.encode())

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.body[:60]!r}>"


class Truncated(Exception):
    """The connection ended before the response was complete."""


class Client:
    """A client connection that sends bytes as they are and reads answers strictly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._unread = b""

    async def send(self, data: bytes) -> None:
        if self.writer.is_closing():  # uvloop would raise a RuntimeError
            raise ConnectionResetError("the connection is gone")
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, method: bytes = b"GET", timeout: float = 15.0) -> Answer:
        """The next response, complete.

        Raises:
            Truncated: when the connection ends or is reset before that.
            h11.RemoteProtocolError: when it is not HTTP.
        """
        async with asyncio.timeout(timeout):
            return await self._answer(method)

    async def _answer(self, method: bytes) -> Answer:
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        proposal = [("connection", "upgrade"), ("upgrade", "websocket")]  # or h11 would refuse every 101
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x"), *proposal]))
        parser.send(h11.EndOfMessage())
        answer = Answer()
        ended = False
        if self._unread:
            parser.receive_data(self._unread)
            self._unread = b""
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError as error:
                if ended:
                    raise Truncated(repr(answer)) from error
                raise
            if event is h11.NEED_DATA:
                if ended:
                    raise Truncated(repr(answer))
                try:
                    data = await self.reader.read(65536)
                except ConnectionError as error:
                    raise Truncated(repr(answer)) from error
                ended = not data
                try:
                    parser.receive_data(data)
                except h11.RemoteProtocolError as error:
                    raise Truncated(repr(answer)) from error
            elif isinstance(event, h11.InformationalResponse):
                answer.interim.append(event.status_code)
                if event.status_code == 101:
                    self._unread = parser.trailing_data[0]
                    answer.status = 101
                    answer.headers = list(event.headers)
                    return answer
            elif isinstance(event, h11.Response):
                answer.status = event.status_code
                answer.headers = list(event.headers)
            elif isinstance(event, h11.Data):
                answer.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._unread = parser.trailing_data[0]
                return answer
            elif isinstance(event, h11.ConnectionClosed):
                raise Truncated(repr(answer))
            elif event is h11.PAUSED:
                raise AssertionError(f"paused after {answer!r}")

    async def exactly(self, count: int) -> bytes:
        """Raw bytes, as in a tunnel."""
        data, self._unread = self._unread[:count], self._unread[count:]
        if len(data) < count:
            data += await asyncio.wait_for(self.reader.readexactly(count - len(data)), 15)
        return data

    async def closed(self, timeout: float = 15.0) -> bytes:
        """Wait for the end of the connection; returns what came before it."""
        rest, self._unread = self._unread, b""
        try:
            async with asyncio.timeout(timeout):
                return rest + await self.reader.read(-1)
        except ConnectionError:
            return rest

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()


def specs(name: str, endpoints: Sequence[Address | EndpointSpec]) -> list[EndpointSpec]:
    """Endpoints as they were given, or made of bare addresses."""
    return [
        found if isinstance(found, EndpointSpec) else EndpointSpec(f"{name}-{number}", *found, version="v1")
        for number, found in enumerate(endpoints, 1)
    ]


class Rig:
    """Listeners over one `Destinations`; `outbound` and, with `app`, `inbound` are their proxies."""

    def __init__(
        self,
        upstreams: Mapping[str, Sequence[Address | EndpointSpec]] | None = None,
        *,
        app: Address | None = None,
        policy: UpstreamPolicy | None = None,
        policies: str = "",
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        upstream_timeout: float = 5.0,
        default_service: str | None = None,
        listener: Mapping[str, Any] | None = None,
        tracer: Tracer | None = None,
        access_log: AccessLog | None = None,
        lookup: Lookup | None = None,
        protected: Sequence[str] = (),
        allow_any: bool = False,
    ) -> None:
        self._lookup = lookup
        self._protected = protected
        self._allow_any = allow_any
        self.pauses: asyncio.Queue[None] = asyncio.Queue()  # one in it lets names be asked again
        self._upstreams = dict(upstreams or {})
        self._app = app
        self._policy = policy or UpstreamPolicy()
        self._policies = policies
        self._limits = limits
        self._timeouts = timeouts
        self._upstream_timeout = upstream_timeout
        self._default_service = default_service
        self._listener = dict(listener or {})
        self._access_log = access_log
        self._tracer = tracer  # every request is sampled then
        self._group: asyncio.TaskGroup | None = None
        self._spawned: set[asyncio.Task[None]] = set()
        self.inbound: Inbound | None = None
        self.listeners: dict[str, Listener] = {}
        self.ports: dict[str, int] = {}
        self.clients: list[Client] = []
        self.app_stopped = False
        self.app_refused = 0  # times that the app was found not to take connections

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        rng = random.Random(5)
        self._group = await asyncio.TaskGroup().__aenter__()
        self.deadlines = Deadlines(lambda at, call: loop.call_later(max(0.0, at - clock()), call), clock)
        self.outbox = Outbox(loop.call_soon)
        events = EventLog("test-1", clock)
        metrics = Metrics(Peer("test", "v1"))
        self.explain = Explain("test-1", lambda: "0123456789ab", clock, clock)

        def make(meaning: Meaning) -> Upstream:
            return Upstream(meaning.key, meaning.policy, lambda event: None, "test-1", clock, rng)

        async def pause(seconds: float) -> None:
            await self.pauses.get()

        resolver = Resolver(self._spawn) if self._lookup is None else Resolver(self._spawn, self._lookup)
        whereabouts = Whereabouts(resolver, Boundary(lambda: self._protected), pause)
        self.events = events
        self.destinations = Destinations(None, make, self._spawn, self.deadlines, events, clock, whereabouts)
        for name, addresses in self._upstreams.items():
            self.destinations.static(name, specs(name, addresses))
        sample = 0.0 if self._tracer is None else 1.0
        common: tuple[Any, ...] = (
            self._spawn, self.deadlines, metrics, events, self._access_log, self._tracer, self.explain,
            self._upstream_timeout, sample, clock, rng,
        )  # fmt: skip
        edge = self._default_service is not None
        self.outbound = Outbound(self.destinations, ("test-1", "test", "v1"), edge, *common)
        self.outbound.allow_any = self._allow_any
        self.apply(self._policies)
        await self._listen("outbound", self.outbound)
        if self._app is not None:
            spec = EndpointSpec("test-1", *self._app)
            app = LocalApp(spec, self._policy.connection, self._refused, clock)
            self.inbound = Inbound(app, lambda: "passing", *common)
            await self._listen("inbound", self.inbound)
        return self

    def _refused(self) -> None:
        self.app_refused += 1

    async def _listen(self, name: str, proxy: Proxy) -> None:
        proxy.timeouts = self._timeouts
        proxy.outbox = self.outbox

        listener = Listener(
            name,
            handlers(proxy, lambda: self.app_stopped, self._spawn),
            proxy.refused,
            self.deadlines,
            clock,
            limits=proxy.take_limits(self._limits),
            outbox=self.outbox,
            **self._listener,
        )
        bound = await listener.open("127.0.0.1", 0)
        self.listeners[name] = listener
        self.ports[name] = int(bound.rpartition(":")[2])

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in self.clients:
            client.abort()
        for listener in self.listeners.values():
            listener.stop_accepting()
            await listener.drained(0.0)
        for pool in self.pools():
            pool.close()
        for task in self._spawned:
            task.cancel()
        self.deadlines.close()
        assert self._group is not None
        await self._group.__aexit__(None, None, None)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        assert self._group is not None
        task = self._group.create_task(coroutine, name=name)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    # -- what tests do -----------------------------------------------------------------------------

    def apply(self, policies: str) -> None:
        """Put these documents (YAML) in force."""
        documents = parse_text(policies) if policies else []
        known = self.destinations.knows
        compiled = compile_documents(
            documents, Identity("test"), self._policy, self._default_service, known, random.Random(7)
        )
        self.destinations.apply(compiled)
        self.outbound.apply(compiled.table)

    async def connect(self, side: str = "outbound") -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.ports[side]))
        self.clients.append(client)
        return client

    async def ask(self, request: bytes, side: str = "outbound") -> Answer:
        """One request on a connection of its own."""
        client = await self.connect(side)
        await client.send(request)
        answer = await client.answer(request.split(b" ", 1)[0])
        client.close()
        return answer

    def upstream(self, name: str = "svc") -> Upstream:
        upstream = self.destinations.get(name)
        assert upstream is not None
        return upstream

    def pools(self) -> list[Pool]:
        found = [
            endpoint.pool
            for upstream in self.destinations.upstreams()
            for endpoint in upstream.endpoints.all
            if endpoint.pool is not None
        ]
        if self.inbound is not None and self.inbound.app.pool is not None:
            found.append(self.inbound.app.pool)
        return found

    def taken(self) -> dict[str, int]:
        """Everything that is taken and not given back; empty when nothing is under way."""
        gauges: dict[str, int] = {}
        for proxy in (self.outbound, self.inbound):
            if proxy is not None:
                gauges[f"{proxy.direction} exchanges"] = proxy.in_flight
                gauges[f"{proxy.direction} queues"] = len(proxy.waiting.queues)
                gauges[f"{proxy.direction} held"] = len(proxy.holding.held)
                gauges[f"{proxy.direction} held bytes"] = proxy.holding.size
                gauges[f"{proxy.direction} late"] = proxy.holding.late
        if self.inbound is not None:
            gauges["app places"] = self.inbound.app.in_flight
            gauges["faults"] = self.inbound.faults.injector.active
            if self.inbound.protection.adaptive is not None:
                gauges["adaptive places"] = self.inbound.protection.adaptive.in_flight
        for upstream in self.destinations.upstreams():
            state = upstream.snapshot()
            gauges[f"{upstream.name} active"] = int(str(state["active"]))
            gauges[f"{upstream.name} pending"] = int(str(state["pending"]))
            for endpoint in upstream.endpoints.all:
                gauges[f"{endpoint.id} attempts"] = endpoint.pending
        for pool in self.pools():
            gauges[f"pool {pool.port} active"] = pool.active
            gauges[f"pool {pool.port} waiting"] = pool.pending
            gauges[f"pool {pool.port} connecting"] = pool.connecting
            gauges[f"pool {pool.port} tunnels"] = pool.tunnels
        return {name: value for name, value in gauges.items() if value}

    async def settled(self, timeout: float = 15.0) -> None:
        """Wait until everything is given back; fails with what is not."""
        await until(lambda: not self.taken(), timeout, self.taken)


async def until(
    condition: Callable[[], bool], timeout: float = 15.0, explain: Callable[[], object] | None = None
) -> None:
    """Wait for a condition of another connection's making."""
    end = clock() + timeout
    while not condition():
        assert clock() < end, explain() if explain is not None else "it did not come true"
        await asyncio.sleep(0.002)
