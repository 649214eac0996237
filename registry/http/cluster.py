"""What Consul has for clusters and ACLs, answered for a cluster of one without ACLs.

Read-only questions get the answer such a Consul gives; what would need gossip, raft or a certificate
authority is refused with words (501), so that nobody takes silence for success.
"""

from __future__ import annotations

from aiohttp import web

from registry.http.call import Call, HttpError, done, text
from registry.http.router import Router
from registry.http.status import StatusEndpoints
from registry.store import Store

_READS = "GET"
_ANY = "GET PUT POST DELETE"


class ClusterEndpoints:
    """Coordinates, operator, ACL, Connect: the small answers."""

    def __init__(self, store: Store, status: StatusEndpoints) -> None:
        self.store = store
        self.status = status
        self.node = status.node

    def routes(self, router: Router) -> None:
        """Add them to the router."""
        router.add(_ANY, "/v1/acl/", self.no_acl)
        router.add("PUT", "/v1/agent/token/", self.no_acl)
        router.add(_READS, "/v1/coordinate/nodes", self.coordinates)
        router.add(_READS, "/v1/coordinate/node/", self.no_coordinate)
        router.add(_READS, "/v1/coordinate/datacenters", self.datacenters)
        router.add("PUT", "/v1/coordinate/update", self.accepted)
        router.add(_READS, "/v1/operator/raft/configuration", self.raft)
        router.add(_READS, "/v1/operator/autopilot/configuration", self.autopilot)
        router.add(_READS, "/v1/operator/autopilot/health", self.autopilot_health)
        router.add(_READS, "/v1/connect/intentions", self.empty_list)
        router.add(_READS, "/v1/agent/metrics", self.metrics)
        router.add("PUT", "/v1/agent/reload", self.accepted)
        router.add("PUT", "/v1/agent/force-leave/", self.force_leave)
        router.add("PUT", "/v1/agent/join/", self.alone)
        for path in ("/v1/snapshot", "/v1/config", "/v1/query", "/v1/agent/leave", "/v1/agent/monitor"):
            router.add(_ANY, path, self.not_here)
        for path in (
            "/v1/config/",
            "/v1/query/",
            "/v1/connect/",
            "/v1/agent/connect/",
            "/v1/discovery-chain/",
            "/v1/operator/",
        ):
            router.add(_ANY, path, self.not_here)

    async def no_acl(self, call: Call) -> web.Response:
        """ACLs are off."""
        raise HttpError(401, "ACL support disabled")

    async def coordinates(self, call: Call) -> web.Response:
        """No network coordinates are measured on one machine."""
        return call.respond([], index=self.store.state.index_of("nodes"))

    async def no_coordinate(self, call: Call) -> web.Response:
        """As for a node that sent none."""
        return web.Response(status=404, headers=call.query_headers(1))

    async def datacenters(self, call: Call) -> web.Response:
        """The one there is, at no distance."""
        coord = {"Vec": [0.0] * 8, "Error": 1.5, "Adjustment": 0, "Height": 0.00001}
        place = {"Node": self.node.name, "Segment": "", "Coord": coord}
        return call.respond([{"Datacenter": self.node.datacenter, "AreaID": "wan", "Coordinates": [place]}])

    async def accepted(self, call: Call) -> web.Response:
        """Taken; there is nothing to do."""
        return done()

    async def empty_list(self, call: Call) -> web.Response:
        """Nothing of that kind is kept here."""
        return call.respond([], index=1)

    async def raft(self, call: Call) -> web.Response:
        """The one voter."""
        server = {
            "ID": self.node.id,
            "Node": self.node.name,
            "Address": self.status.address,
            "Leader": True,
            "ProtocolVersion": "3",
            "Voter": True,
        }
        return call.respond({"Servers": [server], "Index": 0})

    async def autopilot(self, call: Call) -> web.Response:
        """Consul's defaults; nothing here acts on them."""
        answer = {
            "CleanupDeadServers": True,
            "LastContactThreshold": "200ms",
            "MaxTrailingLogs": 250,
            "MinQuorum": 0,
            "ServerStabilizationTime": "10s",
            "RedundancyZoneTag": "",
            "DisableUpgradeMigration": False,
            "UpgradeVersionTag": "",
            "CreateIndex": 1,
            "ModifyIndex": 1,
        }
        return call.respond(answer)

    async def autopilot_health(self, call: Call) -> web.Response:
        """One healthy server."""
        server = {
            "ID": self.node.id,
            "Name": self.node.name,
            "Address": self.status.address,
            "SerfStatus": "alive",
            "Leader": True,
            "LastContact": "0s",
            "LastIndex": self.store.state.index,
            "Healthy": True,
            "Voter": True,
        }
        return call.respond({"Healthy": True, "FailureTolerance": 0, "Servers": [server]})

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
