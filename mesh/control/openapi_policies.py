"""The part of the OpenAPI document about policies, faults and explanations."""

from typing import Any

Document = dict[str, Any]

_ERROR = {"$ref": "#/components/responses/Error"}
_REFUSED = {"$ref": "#/components/responses/Refused"}
_KIND = {"enum": ["VirtualService", "DestinationRule", "ServiceEntry", "Fault"]}
_NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]{0,60}[a-z0-9])?$"}
_NAMESPACE = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", "default": "default"}
_DURATION = {"type": "string", "pattern": "^[1-9][0-9]?(ms|s)$"}
_PERCENT = {"type": "number", "minimum": 0, "maximum": 100}


def components() -> Document:
    """`responses` and `schemas`."""
    return {
        "responses": {
            "Refused": {
                "description": "Documents that are wrong, each problem with its place; nothing was done",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
            }
        },
        "schemas": {
            "Refusal": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {"type": "string"},
                    "problems": {"type": "array", "items": {"type": "string"}},
                },
            },
            "Policy": {
                "type": "object",
                "description": "An Istio document or a Fault; `mesh schema` prints all that may stand in it",
                "required": ["apiVersion", "kind", "metadata", "spec"],
                "properties": {
                    "apiVersion": {"enum": ["networking.istio.io/v1", "mesh/v1"]},
                    "kind": _KIND,
                    "metadata": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": _NAME, "namespace": _NAMESPACE},
                    },
                    "spec": {"type": "object"},
                },
            },
            "Fault": {
                "type": "object",
                "description": "A target and the fields of a Fault's spec",
                "required": ["target"],
                "properties": {
                    "target": {"type": "string", "description": "a service or an instance"},
                    "name": _NAME,
                    "delay": {
                        "type": "object",
                        "required": ["duration"],
                        "properties": {
                            "duration": _DURATION,
                            "shape": {"enum": ["fixed", "uniform", "exponential", "lognormal"]},
                            "percentage": _PERCENT,
                        },
                        "additionalProperties": False,
                    },
                    "action": {
                        "enum": ["none", "abort", "reset", "hang", "truncate", "slow-body", "fail-first"]
                    },
                    "percentage": _PERCENT,
                    "status": {"type": "integer", "minimum": 200, "maximum": 599},
                    "afterBytes": {"type": "integer", "minimum": 0, "maximum": 10**9},
                    "bytesPerSecond": {"type": "number", "minimum": 1, "maximum": 10**9},
                    "count": {"type": "integer", "minimum": 1, "maximum": 1000},
                    "ttl": _DURATION,
                    "maxActive": {"type": "integer", "minimum": 1, "maximum": 100_000},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "match": {
                        "type": "array",
                        "items": {"type": "object"},
                        "description": "as in a VirtualService",
                    },
                },
                "additionalProperties": False,
            },
            "Sidecars": {
                "type": ["object", "null"],
                "description": "How many of the sidecars that run act on the version, and who does not",
                "required": ["version", "total", "current", "behind", "paused"],
            },
        },
    }


_WAIT = {"name": "wait", "in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": 10}}
_DRY_RUN = {"name": "dry_run", "in": "query", "schema": {"type": "boolean"}}
_BY_KIND = {"name": "kind", "in": "path", "required": True, "schema": _KIND}
_BY_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_IN_NAMESPACE = {"name": "namespace", "in": "query", "schema": _NAMESPACE}
_BY_TRACE = {
    "name": "trace_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}


def paths() -> Document:
    """Method by method."""
    listed = _object("version", "documents", "problems", "sidecars")
    changed = _object("version", "changes", "warnings", "sidecars")
    one = {"$ref": "#/components/schemas/Policy"}
    many = {
        "type": "object",
        "required": ["documents"],
        "properties": {"documents": {"type": "array", "items": one, "minItems": 1, "maxItems": 200}},
        "additionalProperties": False,
    }
    key = {
        "name": "key",
        "in": "query",
        "required": True,
        "schema": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "string",
                "pattern": "^(VirtualService|DestinationRule|ServiceEntry|Fault)/[a-z]{1,9}$",
            },
        },
    }
    by_name: list[Document] = [_BY_KIND, _BY_NAME, _IN_NAMESPACE]
    cleared = _object("cleared", "sidecars")
    kind = {"name": "kind", "in": "query", "schema": _KIND}
    return {
        "/api/policies": {
            "get": _op(
                "policies", "Policies, and how many sidecars act on them", listed, "400", parameters=[kind]
            ),
            "put": _op(
                "putPolicies", "Put documents, all or none; others stay", changed, "409", "413",
                parameters=[_WAIT, _DRY_RUN], body=many, refused=True,
            ),
            "delete": _op(
                "deletePolicies", "Remove documents by Kind/[namespace/]name", changed, "404", "409",
                parameters=[key, _WAIT, _DRY_RUN], refused=True,
            ),
        },
        "/api/policies/{kind}/{name}": {
            "get": _op("policy", "One policy", listed, "400", "404", parameters=by_name),
            "put": _op(
                "putPolicy", "Put one policy", changed, "409", "413",
                parameters=[*by_name, _WAIT, _DRY_RUN], body=one, refused=True,
            ),
            "delete": _op(
                "deletePolicy", "Remove one policy", changed, "404", "409",
                parameters=[*by_name, _WAIT, _DRY_RUN], refused=True,
            ),
        },
        "/api/faults": {
            "get": _op("faults", "The faults in force, and the time they have left", _object("faults")),
            "post": _op(
                "putFault", "Start a fault at a service or an instance; again, its time begins anew",
                _object("fault", "change", "sidecars"), "404", "409", "413",
                parameters=[_WAIT], body={"$ref": "#/components/schemas/Fault"}, refused=True,
            ),
            "delete": _op("clearFaults", "End all faults", cleared, "400", "409", parameters=[_WAIT]),
        },
        "/api/faults/{name}": {
            "delete": _op(
                "clearFault", "End one fault, or those of a service or instance", cleared,
                "400", "404", "409", parameters=[_BY_NAME, _WAIT],
            )
        },
        "/api/explain/{trace_id}": {
            "get": _op(
                "explain", "What every sidecar kept of a request: rule, candidates, attempts",
                _object("trace_id", "exchanges", "silent"), "400", "404",
                parameters=[_BY_TRACE, {"name": "maybe", "in": "query", "schema": {"type": "boolean"}}],
            )
        },
    }  # fmt: skip


def _op(
    name: str,
    summary: str,
    schema: Document,
    *errors: str,
    parameters: list[Document] | None = None,
    body: Document | None = None,
    refused: bool = False,
) -> Document:
    responses: Document = {
        "200": {"description": summary, "content": {"application/json": {"schema": schema}}},
        **dict.fromkeys((*errors, "503"), _ERROR),
    }
    if refused:
        responses["400"] = _REFUSED
    found: Document = {
        "operationId": name,
        "summary": summary,
        "parameters": parameters or [],
        "responses": responses,
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return found


def _object(*required: str) -> Document:
    properties = {"sidecars": {"$ref": "#/components/schemas/Sidecars"}} if "sidecars" in required else {}
    return {"type": "object", "required": list(required), "properties": properties}
