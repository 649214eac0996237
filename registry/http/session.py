"""/v1/session: leases that hold locks."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import web

from registry.antientropy import SERF_HEALTH
from registry.codec import encode
from registry.codec.fields import DecodeError, Fields, Shape, loads
from registry.durations import parse_duration
from registry.http.call import Call, HttpError
from registry.http.kv import check_uuid
from registry.http.router import Router
from registry.leases import MAX_TTL, MIN_TTL, Leases
from registry.model import Session
from registry.store import Store
from registry.store.sessions import DELETE, RELEASE, create_session, destroy_session, sessions_sorted

DEFAULT_LOCK_DELAY = 15.0
_NUMBER_IS_SECONDS_BELOW = 1000
"""A lock-delay given as a number is nanoseconds, but a small one means seconds: so does Consul."""

_FIELDS = Shape("ID Name Node LockDelay Behavior TTL Checks NodeChecks ServiceChecks")
_SERVICE_CHECK = Shape("ID Namespace")


class SessionEndpoints:
    """Everything below /v1/session."""

    def __init__(
        self, store: Store, leases: Leases, node: str, clock: Callable[[], float], rng: random.Random
    ) -> None:
        self.store = store
        self.leases = leases
        self.node_name = node
        self._clock = clock
        self._rng = rng

    def routes(self, router: Router) -> None:
        """Add them to the router."""
        base = "/v1/session"
        router.add("PUT", f"{base}/create", self.create)
        router.add("PUT", f"{base}/destroy/", self.destroy)
        router.add("PUT", f"{base}/renew/", self.renew)
        router.add("GET", f"{base}/info/", self.info)
        router.add("GET", f"{base}/list", self.list)
        router.add("GET", f"{base}/node/", self.node)

    async def create(self, call: Call) -> web.Response:
        """A new session; its id."""
        call.check_common()
        body = await call.body()
        session = self._session(loads(body) if body.strip() else {})
        if session.behavior not in (RELEASE, DELETE):
            raise HttpError(500, f"Invalid Behavior setting '{session.behavior}'")
        if session.ttl_text and not MIN_TTL <= session.ttl <= MAX_TTL:
            raise HttpError(
                500, f"Invalid Session TTL '{round(session.ttl * 1e9)}', must be between [10s=24h0m0s]"
            )
        with self.store.write() as write:
            session = create_session(write, session)
        self.leases.start(session, self._clock())
        return call.respond({"ID": session.id})

    def _session(self, value: Any) -> Session:
        fields = Fields(value, _FIELDS, lax=True)
        delay = fields.raw("LockDelay")
        if delay is None:
            lock_delay = DEFAULT_LOCK_DELAY
        elif (
            isinstance(delay, int | float)
            and not isinstance(delay, bool)
            and delay < _NUMBER_IS_SECONDS_BELOW
        ):
            lock_delay = float(delay)
        else:
            lock_delay = fields.seconds("LockDelay")
        ttl_text = fields.text("TTL")
        try:
            ttl = parse_duration(ttl_text) if ttl_text else 0.0
        except ValueError as bad:
            raise HttpError(500, f"Session TTL '{ttl_text}' invalid: {bad}") from bad
        own = fields.texts("Checks") if "Checks" in fields else None
        if own is None:
            own = fields.texts("NodeChecks") if "NodeChecks" in fields else (SERF_HEALTH,)
        return Session(
            id=str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
            node=fields.text("Node") or self.node_name,
            name=fields.text("Name"),
            lock_delay=lock_delay,
            behavior=fields.text("Behavior") or RELEASE,
            ttl=ttl,
            ttl_text=ttl_text,
            node_checks=own,
            service_checks=_service_checks(fields.raw("ServiceChecks")),
        )

    async def destroy(self, call: Call) -> web.Response:
        """End a session; an unknown one is fine."""
        call.check_common()
        check_uuid(call.rest)
        self.end(call.rest)
        return call.respond(True)

    def end(self, session_id: str) -> None:
        """End one session and forget its deadline."""
        with self.store.write() as write:
            destroy_session(write, session_id)
        self.leases.stop(session_id)

    async def renew(self, call: Call) -> web.Response:
        """A TTL session lives on."""
        call.check_common()
        check_uuid(call.rest)
        session = self.store.state.sessions.get(call.rest)
        if session is None:
            raise HttpError(404, f"Session id '{call.rest}' not found")
        self.leases.renew(session, self._clock())
        return call.respond([encode.session(session)])

    async def info(self, call: Call) -> web.Response:
        """One session in a list, or an empty list."""
        call.check_common()
        session_id = call.rest
        check_uuid(session_id)
        state = self.store.state
        index = await call.past(state, "sessions", topic=f"session/{session_id}")
        session = state.sessions.get(session_id)
        return call.respond([encode.session(session)] if session else [], index=index)

    async def list(self, call: Call) -> web.Response:
        """All sessions."""
        call.check_common()
        state = self.store.state
        index = await call.past(state, "sessions")
        return call.respond([encode.session(one) for one in sessions_sorted(state)], index=index)

    async def node(self, call: Call) -> web.Response:
        """The sessions of one node."""
        call.check_common()
        name = call.named("node name")
        state = self.store.state
        index = await call.past(state, "sessions", topic=f"session-node/{name}")
        return call.respond([encode.session(one) for one in sessions_sorted(state, name)], index=index)


def _service_checks(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise DecodeError("json: cannot unmarshal value into Go struct field .ServiceChecks")
    return tuple(Fields(one, _SERVICE_CHECK).text("ID") for one in value)
