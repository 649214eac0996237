"""The embedded registry as one object: state, agent, endpoints and the loop work around them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import socket
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from guard.door import Door
from guard.gate import Gate, bearer
from guard.token import Token
from registry.agent import Agent
from registry.codec.fields import DecodeError
from registry.errors import RegistryError
from registry.events import Events
from registry.http.agent import AgentEndpoints
from registry.http.call import Call, HttpError, Malformed, text
from registry.http.catalog import CatalogEndpoints
from registry.http.cluster import ClusterEndpoints
from registry.http.config import ConfigEndpoints
from registry.http.connections import LARGE_ANSWER, MAX_CONNECTIONS, MAX_UNREAD, Connections
from registry.http.event import EventEndpoints
from registry.http.health import HealthEndpoints
from registry.http.intentions import IntentionEndpoints
from registry.http.kv import KVEndpoints
from registry.http.operator import OperatorEndpoints
from registry.http.query import QueryEndpoints
from registry.http.router import Router
from registry.http.session import SessionEndpoints
from registry.http.status import StatusEndpoints
from registry.http.txn import TxnEndpoint
from registry.journal import Journal
from registry.leases import Leases
from registry.model import Node
from registry.probes import Prober
from registry.store import Commit, Store
from registry.store.kv import reap
from registry.store.sessions import destroy_session
from registry.watchers import Watchers

log = logging.getLogger("registry")

TICK = 0.1
"""Seconds between looks at the clock: a TTL is then at most this late."""

SWEEP_TICKS = 10
"""Ticks between looks for clients that do not read."""

TOMBSTONE_TTL = 900.0
"""Seconds a deleted key is remembered for the index of its prefix; Consul's default."""

MAX_TOMBSTONES = 10_000
"""Deleted keys remembered at most. Past it the index of a prefix may fall back, which watchers take for a
registry that began anew: they look again, and nothing is lost."""

STOP_TIMEOUT = 3.0
"""Seconds that answers in flight get when the server stops."""


@dataclass
class Options:
    """How a registry is started; `host` and `port` as given (port 0 = a free one).

    With a token writes need it, and so does all that comes from another machine; `insecure` serves other
    machines as this one.
    """

    host: str = "127.0.0.1"
    port: int = 8500
    node: str = field(default_factory=lambda: socket.gethostname() or "localhost")
    datacenter: str = "dc1"
    token: str = ""
    token_file: Path | None = None
    insecure: bool = False


class Server:
    """One registry. `async with Server(…).running() as server:` serves until the block ends.

    With a `journal` its state is durable; else it lives in `store`, or in a new one.
    """

    def __init__(
        self,
        options: Options,
        *,
        store: Store | None = None,
        journal: Journal | None = None,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.options = options
        self.datacenter = options.datacenter
        self.clock = clock
        self.rng = rng
        self.journal = journal
        self.store = Store(journal.state, journal.append) if journal else store or Store()
        self.watchers = Watchers()
        self.leases = Leases()
        self.events = Events()
        self.stopping = False
        self.address = ""
        self.node = Node(
            name=options.node,
            address="127.0.0.1",
            id=str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{options.node}.node.{options.datacenter}.consul")),
            datacenter=options.datacenter,
            tagged_addresses=dict.fromkeys(("lan", "lan_ipv4", "wan", "wan_ipv4"), "127.0.0.1"),
            meta={"consul-network-segment": ""},
        )
        self.agent = Agent(self.store, self.node, clock)
        self.prober = Prober(self._probed, rng)
        self._buried: deque[tuple[float, str, int]] = deque()
        self._unread: Callable[[], int] = lambda: 0
        self._router = Router()
        token = Token(options.token, options.token_file, log.warning)
        self._gate = Gate("the registry", token, anybody=options.insecure)
        self.store.on_commit(self._committed)
        self.agent.on_probe_change(self._probe_changed)

    # Life

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Bind, serve, expire and probe; on leaving, answer who waits and stop."""
        http = Connections(self._handle, logger=log)
        self._unread = http.unread
        door = Door(http, MAX_CONNECTIONS)
        _, port = await door.open(self.options.host, self.options.port, backlog=1024)
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        self.address = f"{host}:{port}"
        self._mount(port)
        try:
            async with asyncio.TaskGroup() as group:
                self.prober.open(group)
                self._start(port)
                tasks = [group.create_task(self._tick_forever(http), name="registry ticker")]
                if self.journal is not None:
                    tasks.append(group.create_task(self.journal.keep_up(), name="registry journal"))
                try:
                    yield self
                finally:
                    self.stopping = True
                    self.watchers.wake_all()
                    door.close()
                    http.pre_shutdown()
                    await http.shutdown(STOP_TIMEOUT)
                    self.prober.close()
                    for task in tasks:
                        task.cancel()
        finally:
            door.close()
            if self.journal is not None:
                self.journal.close()

    def _start(self, port: int) -> None:
        self.agent.start(port)
        now = self.clock()
        for session in self.store.state.sessions.values():
            self.leases.start(session, now)
        for key, index in self.store.state.tombstones.items():
            self._buried.append((now + TOMBSTONE_TTL, key, index))

    def _mount(self, port: int) -> None:
        status = StatusEndpoints(self.store, self.node, port)
        for family in (
            status,
            ClusterEndpoints(self.store),
            OperatorEndpoints(self.store, status),
            QueryEndpoints(self.store, self.datacenter, self.node.name, self.rng),
            ConfigEndpoints(self.store, self.node),
            IntentionEndpoints(self.store),
            AgentEndpoints(self.agent),
            CatalogEndpoints(self.store, self.datacenter),
            HealthEndpoints(self.store),
            KVEndpoints(self.store, self.leases, self.clock),
            SessionEndpoints(self.store, self.leases, self.node.name, self.clock, self.rng),
            TxnEndpoint(self.store, self.leases, self.datacenter, self.clock),
            EventEndpoints(self.events, self.agent, self.rng),
        ):
            family.routes(self._router)

    # Requests

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "CONNECT":  # aiohttp takes what follows for a request, whatever the head says
            answer = text(405, "method CONNECT not allowed")
            answer.force_close()
            return answer
        call = Call(request, self)
        try:
            answer = await self._dispatch(call)
            if (answer.content_length or 0) > LARGE_ANSWER and self._unread() > MAX_UNREAD:
                raise HttpError(503, "too many large answers wait for their readers: ask again")
            return answer
        except HttpError as refused:
            headers = refused.headers
            if not headers and not isinstance(refused, Malformed):
                headers = _failed_query(call, refused.status)
            return text(refused.status, refused.text, headers)
        except DecodeError as bad:
            return text(400, f"Request decode failed: {bad}")
        except RegistryError as refused:
            status = refused.status or 500
            return text(status, str(refused), _failed_query(call, status))

    async def _dispatch(self, call: Call) -> web.Response:
        self._guard(call)
        found = self._router.find(call.path)
        if found is None:
            return web.Response(status=404)
        methods, call.rest = found
        endpoint = methods.get(call.method)
        if endpoint is None:
            allowed = ",".join(sorted([*methods, "OPTIONS"]))
            if call.method == "OPTIONS":
                return web.Response(headers={"Allow": allowed})
            raise HttpError(405, f"method {call.method} not allowed", {"Allow": allowed})
        call.refuse_namespace()
        return await endpoint(call)

    def _guard(self, call: Call) -> None:
        """The token is a header, a bearer, or Consul's old query parameter; every refusal is a 403."""
        request = call.request
        headers = request.headers
        given = headers.get("X-Consul-Token") or bearer(headers) or call.get("token")
        refused = self._gate.refusal(call.method, call.path, request.remote, headers, given)
        if refused is not None:
            raise HttpError(403, "Permission denied" if refused.status == 401 else refused.words)

    # Work of its own

    async def _tick_forever(self, http: Connections) -> None:
        for number in itertools.count():
            await asyncio.sleep(TICK)
            try:
                self.tick()
            except RegistryError as bad:
                # A full disk must not end the registry: reads go on, and writes say why they fail.
                log.error("cannot keep what is due: %s", bad)
            if number % SWEEP_TICKS == 0:
                http.sweep(self.clock())

    def tick(self) -> None:
        """Expire TTL checks, sessions, tombstones; whatever is due by the clock."""
        now = self.clock()
        for session_id in self.leases.expired(now):
            session = self.store.state.sessions.get(session_id)
            if session is None:
                continue  # a check, or its owner, ended it before
            self.leases.start(session, now)
            with self.store.write() as write:
                destroy_session(write, session_id)
            self.leases.stop(session_id)
        over: list[str] = []
        tombstones = self.store.state.tombstones
        while self._buried and (self._buried[0][0] <= now or len(self._buried) > MAX_TOMBSTONES):
            _, key, index = self._buried.popleft()
            if tombstones.get(key) == index:
                over.append(key)
        if over:
            with self.store.write() as write:
                reap(write, over)
        self.agent.tick()

    def _committed(self, commit: Commit) -> None:
        now = self.clock()
        for key, seconds in commit.delays:
            self.leases.delay(key, seconds, now)
        for change in commit.changes:
            if change.table == "tombstones" and change.new is not None:
                self._buried.append((now + TOMBSTONE_TTL, str(change.key), change.new))
        self.watchers.committed(commit)

    def _probed(self, check_id: str, status: str, output: str) -> None:
        try:
            self.agent.set_status(check_id, status, output)
        except RegistryError as bad:
            log.error("cannot keep the result of check %s: %s", check_id, bad)

    def _probe_changed(self, check_id: str) -> None:
        check = self.store.state.local_checks.get(check_id)
        self.prober.change(check_id, check.definition if check else None)


def _failed_query(call: Call, status: int) -> dict[str, str]:
    """What Consul says with a query of the catalog that failed inside: no index to go on from, no leader."""
    if call.method != "GET" or status != 500 or call.path.startswith("/v1/agent/"):
        return {}
    return {"X-Consul-Index": "1", "X-Consul-KnownLeader": "false", "X-Consul-LastContact": "0"}
