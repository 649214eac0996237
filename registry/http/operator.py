"""/v1/operator and /v1/coordinate: what Consul says of a cluster, said of a cluster of one."""

from __future__ import annotations

import math
from typing import Any, Final

from aiohttp import web

from registry.codec.fields import DecodeError, Fields, Shape
from registry.http.call import Call, HttpError, done
from registry.http.router import Router
from registry.http.status import DIMENSIONS, ORIGIN, StatusEndpoints
from registry.store import Store
from registry.store.documents import AUTOPILOT, COORDINATE, at_index, documents, index_name, put_document

_AUTOPILOT: Final = {
    "CleanupDeadServers": True,
    "LastContactThreshold": "200ms",
    "MaxTrailingLogs": 250,
    "MinQuorum": 0,
    "ServerStabilizationTime": "10s",
    "RedundancyZoneTag": "",
    "DisableUpgradeMigration": False,
    "UpgradeVersionTag": "",
}
_AUTOPILOT_ZERO: Final = {
    **_AUTOPILOT,
    "CleanupDeadServers": False,
    "LastContactThreshold": "0s",
    "MaxTrailingLogs": 0,
    "ServerStabilizationTime": "0s",
}
"""A write sets everything: what it does not name becomes nothing, as in Consul."""

_AUTOPILOT_FIELDS: Final = Shape(f"{' '.join(_AUTOPILOT)} CreateIndex ModifyIndex")
_UPDATE: Final = Shape("Node Segment Coord Datacenter Partition")
_COORD: Final = Shape("Vec Error Adjustment Height")


class OperatorEndpoints:
    """Raft, autopilot, usage, keyring; and the coordinates that clients report."""

    def __init__(self, store: Store, status: StatusEndpoints) -> None:
        self.store = store
        self.status = status
        self.node = status.node

    def routes(self, router: Router) -> None:
        """Add them to the router."""
        base = "/v1/operator"
        router.add("GET", f"{base}/raft/configuration", self.raft)
        router.add("DELETE", f"{base}/raft/peer", self.no_peer)
        router.add("GET", f"{base}/autopilot/configuration", self.autopilot)
        router.add("PUT", f"{base}/autopilot/configuration", self.set_autopilot)
        router.add("GET", f"{base}/autopilot/health", self.autopilot_health)
        router.add("GET PUT POST DELETE", f"{base}/keyring", self.no_keyring)
        router.add("GET", f"{base}/usage", self.usage)
        base = "/v1/coordinate"
        router.add("GET", f"{base}/datacenters", self.datacenters)
        router.add("GET", f"{base}/nodes", self.coordinates)
        router.add("GET", f"{base}/node/", self.coordinate)
        router.add("PUT", f"{base}/update", self.update_coordinate)

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

    async def no_peer(self, call: Call) -> web.Response:
        """The only peer there is cannot be removed, and there is no other."""
        by, named = ("id", call.get("id")) if call.has("id") else ("address", call.get("address"))
        if named in (self.node.id, self.status.address):
            raise HttpError(500, "the embedded registry is a cluster of one: its only peer stays")
        raise HttpError(500, f'{by} "{named}" was not found in the Raft configuration')

    async def autopilot(self, call: Call) -> web.Response:
        """What was set, or Consul's defaults; there is no other server that it could be about."""
        kept = self.store.state.documents.get((AUTOPILOT, ""))
        if kept is None:
            return call.respond({**_AUTOPILOT, "CreateIndex": 1, "ModifyIndex": 1})
        indexes = {"CreateIndex": kept.create_index, "ModifyIndex": kept.modify_index}
        return call.respond({**kept.body, **indexes})

    async def set_autopilot(self, call: Call) -> web.Response:
        """Set it; with `cas` only over the version it names."""
        call.check_common()
        try:
            fields = Fields(await call.json(), _AUTOPILOT_FIELDS)
            wanted = dict(_AUTOPILOT_ZERO)
            for name, value in _AUTOPILOT_ZERO.items():
                wanted[name] = fields.typed(name, value)
        except DecodeError as bad:
            raise HttpError(400, f"Bad request: Error parsing autopilot config: {bad}") from bad
        wanted_index = call.number("cas")
        state = self.store.state
        with self.store.write() as write:
            fits = (
                not call.has("cas")
                or at_index(state, AUTOPILOT, "", wanted_index)
                or (wanted_index == 1 and (AUTOPILOT, "") not in state.documents)
            )
            if fits:
                put_document(write, AUTOPILOT, "", wanted)
        return call.respond(fits)

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

    async def no_keyring(self, call: Call) -> web.Response:
        """There is no gossip to encrypt."""
        raise HttpError(500, f"{self.node.name}: Keyring is empty (encryption not enabled)")

    async def usage(self, call: Call) -> web.Response:
        """How much is registered."""
        state = self.store.state
        counts = {
            "Nodes": len(state.nodes),
            "Services": len(state.by_name),
            "ServiceInstances": len(state.services),
            "ConnectServiceInstances": {},
            "BillableServiceInstances": len(state.services) - ("consul" in state.by_name),
        }
        answer = {"Usage": {self.node.datacenter: counts}, "Index": state.index, "LastContact": 0}
        return call.respond({**answer, "KnownLeader": True, "ConsistencyLevel": "leader"}, index=state.index)

    # Coordinates

    async def datacenters(self, call: Call) -> web.Response:
        """The one there is, at no distance."""
        place = {"Node": self.node.name, "Segment": "", "Coord": ORIGIN}
        return call.respond([{"Datacenter": self.node.datacenter, "AreaID": "wan", "Coordinates": [place]}])

    async def coordinates(self, call: Call) -> web.Response:
        """What nodes reported: nothing is measured here, since all are on one machine."""
        call.check_common()
        index = await self._coordinate_index(call)
        return call.respond([dict(one.body) for one in documents(self.store.state, COORDINATE)], index=index)

    async def coordinate(self, call: Call) -> web.Response:
        """What one node reported."""
        call.check_common()
        index = await self._coordinate_index(call)
        found = self.store.state.documents.get((COORDINATE, call.rest))
        if found is None:
            return web.Response(status=404, headers=call.query_headers(index))
        return call.respond([dict(found.body)], index=index)

    async def _coordinate_index(self, call: Call) -> int:
        topic = index_name(COORDINATE)
        return await call.past(self.store.state, topic)

    async def update_coordinate(self, call: Call) -> web.Response:
        """Keep what a node reports; of an unknown node nothing is kept, as in Consul."""
        call.check_common()
        body = await call.json()
        fields = Fields(body, _UPDATE)
        node, segment = fields.text("Node"), fields.text("Segment")
        coord = _coordinate(fields.raw("Coord") or {})
        if node in self.store.state.nodes:
            with self.store.write() as write:
                put_document(write, COORDINATE, node, {"Node": node, "Segment": segment, "Coord": coord})
        return done()


def _coordinate(value: Any) -> dict[str, Any]:
    fields = Fields(value, _COORD)
    vec = fields.raw("Vec") or []
    coord = {name: fields.raw(name) or 0 for name in ("Error", "Adjustment", "Height")}
    numbers = [*vec, *coord.values()] if isinstance(vec, list) else []
    if len(numbers) != DIMENSIONS + 3:
        raise HttpError(500, "incompatible coordinate")
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
        raise DecodeError("json: cannot unmarshal value into Go struct field .Coord of type float64")
    if not all(map(math.isfinite, numbers)):
        raise HttpError(500, "invalid coordinate")
    return {"Vec": vec, **coord}
