"""/v1/status and /v1/agent/self, members: who this server says it is."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from registry.codec import encode
from registry.http.call import Call
from registry.http.router import Router
from registry.model import CONSUL_VERSION, Node
from registry.store import Store

DIMENSIONS: Final = 8
"""Of Consul's coordinates; others are incompatible."""

ORIGIN: Final = {"Vec": [0.0] * DIMENSIONS, "Error": 1.5, "Adjustment": 0, "Height": 0.00001}
"""Where a node is of which nothing was measured, as Consul says it."""


class StatusEndpoints:
    """Leader, peers, self and members of a cluster of one."""

    def __init__(self, store: Store, node: Node, port: int) -> None:
        self.store = store
        self.node = node
        self.port = port

    def routes(self, router: Router) -> None:
        """Add them to the router."""
        router.add("GET", "/v1/status/leader", self.leader)
        router.add("GET", "/v1/status/peers", self.peers)
        router.add("GET", "/v1/agent/self", self.self)
        router.add("GET", "/v1/agent/members", self.members)

    @property
    def address(self) -> str:
        """HOST:PORT of the one server there is."""
        return f"{self.node.address}:{self.port}"

    async def leader(self, call: Call) -> web.Response:
        """This server leads itself."""
        return call.respond(self.address)

    async def peers(self, call: Call) -> web.Response:
        """The one peer."""
        return call.respond([self.address])

    async def members(self, call: Call) -> web.Response:
        """The one member."""
        return call.respond([self._member()])

    async def self(self, call: Call) -> web.Response:
        """Configuration, member, meta and a few counts."""
        state = self.store.state
        ttls = sum(check.type == "ttl" for check in state.local_checks.values())
        answer: encode.Json = {
            "Config": {
                "Datacenter": self.node.datacenter,
                "NodeName": self.node.name,
                "NodeID": self.node.id,
                "Revision": "embedded",
                "Server": True,
                "Version": CONSUL_VERSION,
            },
            "DebugConfig": {
                "Datacenter": self.node.datacenter,
                "NodeName": self.node.name,
                "HTTPPort": self.port,
                "KVMaxValueSize": 512 * 1024,
                "MaxQueryTime": "10m0s",
                "DefaultQueryTime": "5m0s",
            },
            "Coord": ORIGIN,
            "Member": self._member(),
            "Stats": {
                "agent": {
                    "check_monitors": str(len(state.local_checks) - ttls),
                    "check_ttls": str(ttls),
                    "checks": str(len(state.local_checks)),
                    "services": str(len(state.local_services)),
                },
                "consul": {"leader": "true", "leader_addr": self.address, "server": "true"},
                "raft": {"applied_index": str(state.index), "state": "Leader"},
            },
            "Meta": self.node.meta or {},
        }
        return call.respond(answer)

    def _member(self) -> encode.Json:
        return {
            "Name": self.node.name,
            "Addr": self.node.address,
            "Port": self.port,
            "Tags": {
                "acls": "0",
                "build": f"{CONSUL_VERSION}:embedded",
                "dc": self.node.datacenter,
                "id": self.node.id,
                "port": str(self.port),
                "role": "consul",
                "segment": "",
                "vsn": "2",
                "vsn_max": "3",
                "vsn_min": "2",
            },
            "Status": 1,
            "ProtocolMin": 1,
            "ProtocolMax": 5,
            "ProtocolCur": 2,
            "DelegateMin": 2,
            "DelegateMax": 5,
            "DelegateCur": 4,
        }
