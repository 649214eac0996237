"""/v1/txn: several operations as one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from aiohttp import web

from registry.codec import encode
from registry.codec.decode import catalog_check, catalog_service
from registry.codec.fields import DecodeError, Fields, Shape, loads
from registry.http.call import Call, HttpError
from registry.http.kv import check_answer
from registry.http.router import Router
from registry.leases import Leases
from registry.model import Check, KVEntry, Node, Service
from registry.store import Store
from registry.store.txn import MAX_OPS, KVOp, Op, Row, RowOp, apply

_OP = Shape("KV Node Service Check Intention Session")
_KV = Shape("Verb Key Value Flags Index Session Namespace Partition")
_NODE = Shape("Verb Node")
_NODE_ROW = Shape(
    "ID Node Address Datacenter TaggedAddresses Meta CreateIndex ModifyIndex Partition PeerName"
)
_SERVICE = Shape("Verb Node Service")
_CHECK = Shape("Verb Check")
_MODIFY = Shape("ModifyIndex")
_HINT = "See https://www.consul.io/docs/agent/options.html#txn_max_req_len."


class _Failed(Exception):
    """Leaves the write's block, so that it rolls back."""


class TxnEndpoint:
    """The one endpoint."""

    def __init__(self, store: Store, leases: Leases, datacenter: str, clock: Callable[[], float]) -> None:
        self.store = store
        self.leases = leases
        self.datacenter = datacenter
        self._clock = clock

    def routes(self, router: Router) -> None:
        """Add it to the router."""
        router.add("PUT", "/v1/txn", self.txn)

    async def txn(self, call: Call) -> web.Response:
        """All or nothing: 200 with results, or 409 with the reason of each failure."""
        call.check_common()
        body = await call.body(hint=_HINT)
        try:
            ops = self._ops(loads(body))
        except DecodeError as bad:
            raise HttpError(400, f"Failed to parse body: {bad}") from bad
        reads = not any(op.writes for op in ops)
        now = self._clock()
        rows: list[Row] = []
        errors: list[tuple[int, str]] = []
        try:
            with self.store.write() as write:
                rows, errors = apply(write, ops, lambda key: self.leases.delayed(key, now))
                if errors:
                    raise _Failed
                check_answer(row for row in rows if isinstance(row, KVEntry))
        except _Failed:
            rows = []
        answer: dict[str, Any] = {
            "Results": None if errors else [_result(row) for row in rows],
            "Errors": [{"OpIndex": at, "What": why} for at, why in errors] or None,
        }
        if reads:
            answer |= {"Index": 0, "LastContact": 0, "KnownLeader": True, "ConsistencyLevel": ""}
        response = call.respond(answer, status=409 if errors else 200)
        if reads:
            response.headers.update({"X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"})
        return response

    def _ops(self, value: Any) -> list[Op]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise DecodeError("json: cannot unmarshal object into Go value of type api.TxnOps")
        if len(value) > MAX_OPS:
            raise HttpError(413, f"Transaction contains too many operations ({len(value)} > {MAX_OPS})")
        ops = [self._op(Fields(one, _OP)) for one in value]
        return [op for op in ops if op is not None]

    def _op(self, fields: Fields) -> Op | None:
        if "KV" in fields:
            return _kv_op(fields.raw("KV"))
        if "Node" in fields:
            op = Fields(fields.raw("Node"), _NODE)
            return RowOp(op.text("Verb"), self._node(op.raw("Node") or {}))
        if "Service" in fields:
            op = Fields(fields.raw("Service"), _SERVICE)
            value = op.raw("Service") or {}
            service = catalog_service(value, op.text("Node"))
            return RowOp(op.text("Verb"), replace(service, modify_index=_modify_index(value)))
        if "Check" in fields:
            op = Fields(fields.raw("Check"), _CHECK)
            value = op.raw("Check") or {}
            return RowOp(
                op.text("Verb"), replace(catalog_check(value, ""), modify_index=_modify_index(value))
            )
        return None

    def _node(self, value: Any) -> Node:
        fields = Fields(value, _NODE_ROW)
        return Node(
            name=fields.text("Node"),
            address=fields.text("Address"),
            id=fields.text("ID"),
            datacenter=fields.text("Datacenter") or self.datacenter,
            tagged_addresses=fields.text_map("TaggedAddresses"),
            meta=fields.text_map("Meta"),
            modify_index=fields.number("ModifyIndex", unsigned=True),
        )


def _kv_op(value: Any) -> KVOp:
    fields = Fields(value, _KV)
    return KVOp(
        verb=fields.text("Verb"),
        key=fields.text("Key"),
        value=_base64(fields.text("Value")),
        flags=fields.number("Flags", unsigned=True),
        index=fields.number("Index", unsigned=True),
        session=fields.text("Session"),
    )


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as bad:
        valid = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        at = next((at for at, one in enumerate(text) if one not in valid), len(text))
        raise DecodeError(f"illegal base64 data at input byte {at}") from bad


def _modify_index(value: Any) -> int:
    return Fields(value, _MODIFY, lax=True).number("ModifyIndex", unsigned=True)


def _result(row: Row) -> dict[str, Any]:
    if isinstance(row, KVEntry):
        return {"KV": encode.kv(row)}
    if isinstance(row, Node):
        return {"Node": encode.node(row)}
    if isinstance(row, Service):
        return {"Service": encode.service(row)}
    assert isinstance(row, Check)
    return {"Check": encode.check(row)}
