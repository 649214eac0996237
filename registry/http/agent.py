"""/v1/agent: this node's services and checks."""

from __future__ import annotations

from aiohttp import web

from registry.agent import Agent
from registry.codec import encode
from registry.codec.decode import check_definition, registration
from registry.codec.fields import Fields, Shape
from registry.filters import CHECK, SERVICE
from registry.http.call import Call, HttpError, done, text
from registry.http.router import Router
from registry.model import CRITICAL, PASSING, STATUSES, WARNING

_UPDATE = Shape("Status Output")
_HEALTH_STATUS = {PASSING: 200, WARNING: 429, CRITICAL: 503, "maintenance": 503}


class AgentEndpoints:
    """Everything below /v1/agent that speaks of services and checks."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def routes(self, router: Router) -> None:
        """Add them to the router."""
        base = "/v1/agent"
        router.add("GET", f"{base}/services", self.services)
        router.add("GET", f"{base}/service/", self.service)
        router.add("GET", f"{base}/checks", self.checks)
        router.add("PUT", f"{base}/service/register", self.register)
        router.add("PUT", f"{base}/service/deregister/", self.deregister)
        router.add("PUT", f"{base}/service/maintenance/", self.service_maintenance)
        router.add("PUT", f"{base}/maintenance", self.node_maintenance)
        router.add("PUT", f"{base}/check/register", self.register_check)
        router.add("PUT", f"{base}/check/deregister/", self.deregister_check)
        router.add("PUT", f"{base}/check/pass/", self.passing)
        router.add("PUT", f"{base}/check/warn/", self.warning)
        router.add("PUT", f"{base}/check/fail/", self.failing)
        router.add("PUT", f"{base}/check/update/", self.update)
        router.add("GET", f"{base}/health/service/id/", self.health_by_id)
        router.add("GET", f"{base}/health/service/name/", self.health_by_name)

    async def services(self, call: Call) -> web.Response:
        """Every service of this agent, by id."""
        rows = call.keep((encode.agent_service(one) for one in self.agent.services()), SERVICE)
        return call.respond({one["ID"]: one for one in rows})

    async def checks(self, call: Call) -> web.Response:
        """Every check of this agent, by id."""
        agent = self.agent
        rows = (
            encode.agent_check(one, agent.service(one.service_id), agent.node.name) for one in agent.checks()
        )
        return call.respond({one["CheckID"]: one for one in call.keep(rows, CHECK)})

    async def service(self, call: Call) -> web.Response:
        """One definition; `hash` blocks until it is another one."""
        wanted = call.get("hash")
        wait = call.wait_seconds()
        answer, digest = self._definition(call.rest)
        if wanted:
            deadline = call.server.clock() + wait
            topic = f"node/{self.agent.node.name}"
            while digest == wanted and not call.server.stopping:
                left = deadline - call.server.clock()
                if left <= 0 or not await call.server.watchers.wait((topic,), left):
                    break
                answer, digest = self._definition(call.rest)
        response = call.respond(answer)
        response.headers["X-Consul-ContentHash"] = digest
        return response

    def _definition(self, service_id: str) -> tuple[encode.Json, str]:
        service = self.agent.service(service_id)
        if service is None:
            raise HttpError(404, f"unknown service ID: {service_id}")
        answer = encode.agent_service(service)
        digest = encode.content_hash(answer)
        return {**answer, "ContentHash": digest}, digest

    async def register(self, call: Call) -> web.Response:
        """Add or update an instance with its checks."""
        body = await call.json()
        wanted = registration(body, self.agent.node.name)
        replace_checks = call.flag("replace-existing-checks")
        self.agent.register_service(wanted.service, wanted.checks, replace_checks=replace_checks)
        return done()

    async def deregister(self, call: Call) -> web.Response:
        """Remove an instance; one that is not there is no error, as in Consul up to 1.10."""
        self.agent.deregister_service(call.rest)
        return done()

    async def register_check(self, call: Call) -> web.Response:
        """Add or update one check."""
        body = await call.json()
        definition, service_id = check_definition(body)
        self.agent.register_check(definition, service_id)
        return done()

    async def deregister_check(self, call: Call) -> web.Response:
        """Remove one check."""
        self.agent.deregister_check(call.rest)
        return done()

    async def passing(self, call: Call) -> web.Response:
        """A TTL check reports passing."""
        self.agent.update_ttl(call.rest, PASSING, call.get("note"))
        return done()

    async def warning(self, call: Call) -> web.Response:
        """A TTL check reports warning."""
        self.agent.update_ttl(call.rest, WARNING, call.get("note"))
        return done()

    async def failing(self, call: Call) -> web.Response:
        """A TTL check reports critical."""
        self.agent.update_ttl(call.rest, CRITICAL, call.get("note"))
        return done()

    async def update(self, call: Call) -> web.Response:
        """A TTL check reports a status with an output."""
        body = await call.json()
        fields = Fields(body, _UPDATE)
        status, output = fields.text("Status"), fields.text("Output")
        if status not in STATUSES:
            raise HttpError(400, f"Invalid check status: '{status}'")
        self.agent.update_ttl(call.rest, status, output)
        return done()

    async def node_maintenance(self, call: Call) -> web.Response:
        """Put the node into maintenance, or take it out."""
        self.agent.maintenance(_enable(call), call.get("reason"))
        return done()

    async def service_maintenance(self, call: Call) -> web.Response:
        """Put one service into maintenance, or take it out."""
        if not call.rest:
            raise HttpError(400, "Missing service ID")
        self.agent.maintenance(_enable(call), call.get("reason"), call.rest)
        return done()

    async def health_by_id(self, call: Call) -> web.Response:
        """The aggregate of one instance, as a status code too: 200, 429, 503, 404."""
        service = self.agent.service(call.rest)
        plain = call.get("format") == "text"
        if service is None:
            reason = f"ServiceId {call.rest} not found"
            if plain:
                # Text under a JSON label: Consul's own slip, kept, because clients look at the label.
                return text(404, reason, {"X-Consul-Reason": reason, "Content-Type": "application/json"})
            return _reasoned(
                call, {"AggregatedStatus": CRITICAL, "Service": None, "Checks": None}, 404, reason
            )
        status, answer = self._health(service.id)
        code = _HEALTH_STATUS[status]
        return _as_text(code, status, status) if plain else _reasoned(call, answer, code, status)

    async def health_by_name(self, call: Call) -> web.Response:
        """The worst aggregate over the instances of one name."""
        plain = call.get("format") == "text"
        found = [self._health(one.id) for one in self.agent.services() if one.name == call.rest]
        if not found:
            reason = f"ServiceName {call.rest} Not Found"
            return _as_text(404, reason, reason) if plain else _reasoned(call, [], 404, reason)
        codes = [(_HEALTH_STATUS[status], status) for status, _ in found]
        code, status = max(codes)
        return (
            _as_text(code, status, status)
            if plain
            else _reasoned(call, [one for _, one in found], code, status)
        )

    def _health(self, service_id: str) -> tuple[str, encode.Json]:
        service = self.agent.service(service_id)
        assert service is not None
        status, checks = self.agent.health(service_id)
        rows = [encode.aggregated_check(one, service, self.agent.node.name) for one in checks]
        return status, {"AggregatedStatus": status, "Service": encode.agent_service(service), "Checks": rows}


def _enable(call: Call) -> bool:
    if not call.get("enable"):
        raise HttpError(400, "Missing value for enable")
    value = call.get("enable").lower()
    if value not in ("1", "t", "true", "0", "f", "false"):
        raise HttpError(400, f'Invalid value for enable: "{call.get("enable")}"')
    return value in ("1", "t", "true")


def _reasoned(call: Call, answer: object, status: int, reason: str) -> web.Response:
    response = call.respond(answer, status=status)
    response.headers["X-Consul-Reason"] = reason
    return response


def _as_text(status: int, body: str, reason: str) -> web.Response:
    return text(status, body, {"X-Consul-Reason": reason, "Content-Type": "text/plain"})
