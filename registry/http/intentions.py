"""/v1/connect/intentions and /v1/agent/connect/authorize: who may call whom, kept and evaluated.

The sidecars of this mesh ask nobody: what is kept here is for clients that do ask. By exact names, as
since Consul 1.9; the older way by ids is refused with words.
"""

from __future__ import annotations

import re
from typing import Any, Final

from aiohttp import web

from registry.codec.fields import DecodeError, Fields, Shape
from registry.http.call import Call, HttpError, Malformed
from registry.http.router import Router
from registry.model import Document
from registry.store import Store
from registry.store.documents import INTENTION, delete_document, documents, index_name, put_document

ANY: Final = "*"
_PRECEDENCE: Final = {(True, True): 9, (False, True): 8, (True, False): 6, (False, False): 5}
"""Consul's numbers, by (exact source, exact destination)."""

_FIELDS: Final = Shape(
    """
    ID Description SourceNS SourceName DestinationNS DestinationName SourceType Action Permissions Meta
    Precedence CreateIndex ModifyIndex CreatedAt UpdatedAt Hash DefaultAddr DefaultPort
    """
)
_AUTHORIZE: Final = Shape("Target ClientCertURI ClientCertSerial")
_SPIFFE: Final = re.compile(r"spiffe://[^/]+/ns/([^/]+)/dc/([^/]+)/svc/([^/]+)")


class IntentionEndpoints:
    """Intentions by exact names, and what follows from them."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def routes(self, router: Router) -> None:
        """Add them to the router."""
        base = "/v1/connect/intentions"
        router.add("GET", base, self.all)
        router.add("PUT", f"{base}/exact", self.put)
        router.add("GET", f"{base}/exact", self.read)
        router.add("DELETE", f"{base}/exact", self.delete)
        router.add("GET", f"{base}/match", self.match)
        router.add("GET", f"{base}/check", self.check)
        router.add("POST", "/v1/agent/connect/authorize", self.authorize)

    async def all(self, call: Call) -> web.Response:
        """All, the most exact first."""
        call.check_common()
        topic = index_name(INTENTION)
        index = await call.past(self.store.state, topic)
        return call.respond(_sorted(documents(self.store.state, INTENTION)), index=index)

    async def put(self, call: Call) -> web.Response:
        """Write the one between two names."""
        call.check_common()
        source, destination = _required(call, "source"), _required(call, "destination")
        body = await call.json()
        fields = Fields(body, _FIELDS)
        action, permissions = fields.text("Action"), fields.raw("Permissions")
        kept: dict[str, Any] = {
            "SourceName": source,
            "DestinationName": destination,
            "SourceType": fields.text("SourceType") or "consul",
        }
        kept |= {"Description": text} if (text := fields.text("Description")) else {}
        kept |= {"Meta": meta} if (meta := fields.text_map("Meta")) else {}
        if permissions:
            if action:
                raise HttpError(400, "Bad request: Action must be omitted if Permissions are specified")
            kept["Permissions"] = permissions
        elif action in ("allow", "deny"):
            kept["Action"] = action
        else:
            raise HttpError(400, "Bad request: Action must be set to 'allow' or 'deny'")
        with self.store.write() as write:
            put_document(write, INTENTION, f"{source} {destination}", kept)
        return call.respond(True)

    async def read(self, call: Call) -> web.Response:
        """The one between two names."""
        call.check_common()
        name = f"{_required(call, 'source')} {_required(call, 'destination')}"
        topic = index_name(INTENTION)
        index = await call.past(self.store.state, topic)
        found = self.store.state.documents.get((INTENTION, name))
        if found is None:
            raise HttpError(404, "Intention not found", call.query_headers(index))
        return call.respond(_answer(found), index=index)

    async def delete(self, call: Call) -> web.Response:
        """Forget the one between two names; one that is not there is no error."""
        call.check_common()
        name = f"{_required(call, 'source')} {_required(call, 'destination')}"
        with self.store.write() as write:
            delete_document(write, INTENTION, name)
        return call.respond(True)

    async def match(self, call: Call) -> web.Response:
        """The ones that concern a name, in the order in which they decide."""
        call.check_common()
        by, names = _required(call, "by"), call.all("name")
        if by not in ("source", "destination"):
            raise Malformed("'by' parameter must be one of 'source' or 'destination'")
        if not names:
            raise Malformed("required query parameter 'name' not set")
        field = "SourceName" if by == "source" else "DestinationName"
        return call.respond({name: _sorted(self._of(field, name)) or None for name in names})

    async def check(self, call: Call) -> web.Response:
        """Whether one may call the other."""
        call.check_common()
        deciding = self._deciding(_required(call, "source"), _required(call, "destination"))
        return call.respond({"Allowed": deciding is None or deciding.body.get("Action") == "allow"})

    async def authorize(self, call: Call) -> web.Response:
        """Whether the holder of a client certificate may call; the certificate itself is not looked at."""
        call.check_common()
        try:
            fields = Fields(await call.json(), _AUTHORIZE)
            target, uri = fields.text("Target"), fields.text("ClientCertURI")
        except DecodeError as bad:
            raise HttpError(400, f"Bad request: Request decode failed: {bad}") from bad
        if not target:
            raise HttpError(400, "Bad request: Target service must be specified")
        caller = _SPIFFE.fullmatch(uri)
        if caller is None:
            raise HttpError(400, "Bad request: ClientCertURI not a valid Connect identifier")
        deciding = self._deciding(caller[3], target)
        if deciding is None:
            return call.respond({"Authorized": True, "Reason": "ACLs disabled, access is allowed by default"})
        allowed = deciding.body.get("Action") == "allow"
        source, destination = deciding.body["SourceName"], deciding.body["DestinationName"]
        words = f"{'ALLOW' if allowed else 'DENY'} default/{source} => default/{destination}"
        reason = f"Matched intention: {words} (Precedence: {_precedence(deciding)})"
        return call.respond({"Authorized": allowed, "Reason": reason})

    def _of(self, field: str, name: str) -> list[Document]:
        rows = documents(self.store.state, INTENTION)
        return [row for row in rows if row.body[field] in (name, ANY)]

    def _deciding(self, source: str, destination: str) -> Document | None:
        """The most exact one that is about both; None = there is none, and then all may call."""
        about = [
            row for row in self._of("DestinationName", destination) if row.body["SourceName"] in (source, ANY)
        ]
        return max(about, key=_precedence, default=None)


def _required(call: Call, name: str) -> str:
    value = call.get(name)
    if not value:
        raise Malformed(f"required query parameter '{name}' not set")
    return value


def _precedence(row: Document) -> int:
    return _PRECEDENCE[row.body["SourceName"] != ANY, row.body["DestinationName"] != ANY]


def _sorted(rows: list[Document]) -> list[dict[str, Any]]:
    return [_answer(row) for row in sorted(rows, key=lambda row: (-_precedence(row), row.name))]


def _answer(row: Document) -> dict[str, Any]:
    return {
        "SourceNS": "default",
        "DestinationNS": "default",
        **row.body,
        "Precedence": _precedence(row),
        "CreateIndex": row.create_index,
        "ModifyIndex": row.modify_index,
    }
