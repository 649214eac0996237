"""What Consul has for clusters and ACLs, answered for a cluster of one without ACLs.

Read-only questions get the answer such a Consul gives; what would need gossip, raft or a certificate
authority is refused with words (501), so that nobody takes silence for success.
"""

from __future__ import annotations

from aiohttp import web

from registry.http.call import Call, HttpError, done, text
from registry.http.router import Router
from registry.store import Store

_READS = "GET"
_ANY = "GET PUT POST DELETE"


class ClusterEndpoints:
    """ACL, metrics, joining and leaving, and all that is refused."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def routes(self, router: Router) -> None:
        """Add them to the router; `operator.py` and `intentions.py` have exact paths below the refused."""
        router.add(_ANY, "/v1/acl/", self.no_acl)
        router.add("PUT", "/v1/agent/token/", self.no_acl)
        router.add(_READS, "/v1/agent/metrics", self.metrics)
        router.add("PUT", "/v1/agent/reload", self.accepted)
        router.add("PUT", "/v1/agent/force-leave/", self.force_leave)
        router.add("PUT", "/v1/agent/join/", self.alone)
        for path in ("/v1/snapshot", "/v1/agent/leave", "/v1/agent/monitor"):
            router.add(_ANY, path, self.not_here)
        router.add("POST", "/v1/connect/intentions", self.not_here)
        for path in ("/v1/connect/", "/v1/agent/connect/", "/v1/operator/"):
            router.add(_ANY, path, self.not_here)

    async def no_acl(self, call: Call) -> web.Response:
        """ACLs are off."""
        raise HttpError(401, "ACL support disabled")

    async def accepted(self, call: Call) -> web.Response:
        """Taken; there is nothing to do."""
        return done()

    async def metrics(self, call: Call) -> web.Response:
        """Counts of what is registered, in Consul's shape."""
        state = self.store.state
        gauges = {
            "consul.catalog.nodes": len(state.nodes),
            "consul.catalog.services": len(state.services),
            "consul.catalog.checks": len(state.checks),
            "consul.kv.keys": len(state.kvs),
            "consul.sessions": len(state.sessions),
            "consul.raft.applied_index": state.index,
            "consul.blocking_queries": len(call.server.watchers),
        }
        if call.get("format") == "prometheus":
            lines = (
                f"# TYPE {name.replace('.', '_')} gauge\n{name.replace('.', '_')} {value}\n"
                for name, value in gauges.items()
            )
            return text(200, "".join(lines))
        rows = [{"Name": name, "Value": value, "Labels": {}} for name, value in gauges.items()]
        return call.respond({"Gauges": rows, "Points": [], "Counters": [], "Samples": []})

    async def force_leave(self, call: Call) -> web.Response:
        """Nobody else is here."""
        raise HttpError(500, f"agent: No node found with name '{call.rest}'")

    async def alone(self, call: Call) -> web.Response:
        """There is no gossip to join."""
        raise HttpError(500, f"Failed to join {call.rest}: the embedded registry is a cluster of one")

    async def not_here(self, call: Call) -> web.Response:
        """Refused with words."""
        why = f"the embedded registry has no {call.path}: start real Consul (--registry URL) for it"
        raise HttpError(501, why)
