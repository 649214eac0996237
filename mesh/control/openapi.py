"""The control API's own description (OpenAPI 3.1); a test holds it against the routes."""

from typing import Any

from mesh.actions import Action
from mesh.control import openapi_policies
from mesh.control.openapi_services import SCHEMAS, services

Document = dict[str, Any]

_ERROR = {"$ref": "#/components/responses/Error"}
_OBJECT = {"type": "object"}


def document() -> Document:
    """What `GET /api/openapi.json` answers."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Control API of a local mesh",
            "version": "1",
            "description": 'Reads and steers one mesh. Errors are {"error": one line}. No page of another '
            "origin may use it, and whoever does sends the token that `mesh token` prints.",
        },
        "paths": _guarded({**_mesh(), **services(), **_live(), **_traces(), **openapi_policies.paths()}),
        "components": {
            "responses": {
                "Error": {
                    "description": "What was wrong, and what to do",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                },
                **openapi_policies.components()["responses"],
            },
            "schemas": {
                **openapi_policies.components()["schemas"],
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string"}},
                },
                "Instance": {
                    "type": "object",
                    "required": ["name", "service", "state", "healthy", "reason", "pids", "traffic"],
                    "properties": {
                        "name": {"type": "string"},
                        "service": {"type": "string"},
                        "state": {"enum": ["starting", "healthy", "degraded", "down", "paused", "draining"]},
                        "healthy": {"type": "boolean"},
                        "reason": {"type": "string"},
                        "pids": _OBJECT,
                        "traffic": _OBJECT,
                    },
                },
                **SCHEMAS,
                "Load": {
                    "type": "object",
                    "properties": {
                        "rate": {"type": "number", "minimum": 0, "description": "requests per second"},
                        "pattern": {"anyOf": [{"enum": list(_PATTERNS)}, *map(_pattern, _PATTERNS)]},
                    },
                    "minProperties": 1,
                    "additionalProperties": False,
                },
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _guarded(paths: Document) -> Document:
    """Each answers 401 without the token."""
    for methods in paths.values():
        for operation in methods.values():
            operation["responses"]["401"] = _ERROR
    return paths


_MULTIPLE = {"type": "number", "minimum": 0, "maximum": 1000}
_SECONDS = {"type": "string", "pattern": "^[1-9][0-9]s$"}
# The settings of each pattern of the load generator, all of them optional.
_PATTERNS: Document = {
    "constant": {},
    "poisson": {},
    "ramp": {"start": _MULTIPLE, "end": _MULTIPLE, "over": _SECONDS},
    "step": {
        "levels": {"type": "array", "items": _MULTIPLE, "minItems": 1, "maxItems": 100},
        "every": _SECONDS,
    },
    "sine": {"amplitude": {"type": "number", "minimum": 0, "maximum": 1}, "period": _SECONDS},
    "spike": {"factor": _MULTIPLE, "lasting": {"type": "string", "pattern": "^[1-9]s$"}, "every": _SECONDS},
}


def _pattern(name: str) -> Document:
    return {
        "type": "object",
        "required": ["pattern"],
        "properties": {"pattern": {"const": name}, **_PATTERNS[name]},
        "additionalProperties": False,
    }


def _mesh() -> Document:
    instance = {"$ref": "#/components/schemas/Instance"}
    return {
        "/api/status": {"get": _get("status", "The mesh as of now: instances, processes, traffic")},
        "/api/instances/{name}/{action}": {
            "post": {
                "operationId": "act",
                "summary": "Kill, pause, resume, drain or heal an instance; may be said twice",
                "parameters": [
                    _path("name"),
                    {
                        **_path("action"),
                        "schema": {"enum": [each.value for each in Action]},
                    },
                    _query("part", {"enum": ["app", "sidecar", "both"]}),
                ],
                "responses": {
                    "200": _ok("The instance as it then is", instance),
                    **dict.fromkeys(("400", "404", "409", "503"), _ERROR),
                },
            }
        },
        "/api/instances/{name}/logs": {
            "get": _get(
                "logs",
                "The last lines of its processes",
                _path("name"),
                _query("part", {"enum": ["app", "sidecar", "both"]}),
                _query("lines", {"type": "integer", "minimum": 0, "maximum": 10_000}),
                errors=("400", "404"),
            )
        },
        "/api/load": {
            "put": {
                "operationId": "steer",
                "summary": "Change the traffic: rate, pattern or both",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Load"}}},
                },
                "responses": {
                    "200": _ok("The traffic", _OBJECT),
                    **dict.fromkeys(("400", "413", "503"), _ERROR),
                },
            }
        },
        "/api/shutdown": {
            "post": {
                "operationId": "shutdown",
                "summary": "End the mesh",
                "responses": {"202": _ok("It is ending", _OBJECT)},
            }
        },
    }


def _live() -> Document:
    number = {"type": "integer", "minimum": 0, "maximum": 10**12}
    stream = _get("stream", "Server-sent events: hello, change, second, event, flights, watch")
    stream["responses"]["200"] = {
        "description": "Without end",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    stream["responses"]["503"] = _ERROR
    return {
        "/api/stream": {"get": stream},
        "/api/topology": {"get": _get("topology", "Services and who calls whom")},
        "/api/picture": {"get": _get("picture", "Services, calls and traffic, as the page draws them")},
        "/api/history": {
            "get": _get(
                "history",
                "Five minutes by the second: of all, a service (orders) or a call (gateway>orders)",
                _query("of", {"type": "string"}),
                errors=("404",),
            )
        },
        "/api/events": {
            "get": _get(
                "events",
                "What happened: actions, states, breakers, memberships",
                _query("since", number),
                _query("kind", {"type": "string"}),
                errors=("400",),
            )
        },
        "/api/detections": {"get": _get("detections", "After each kill: when each layer noticed")},
        "/api/recent": {
            "get": _get(
                "recent",
                "The newest traces, one line each",
                _query("service", {"type": "string"}),
                _query("kind", {"enum": ["all", "failed", "retried"]}),
                _query("status", {"type": "string", "pattern": "^(0|[1-5]([0-9]{2}|xx))?$"}),
                _query("min_ms", number),
                _query("limit", number),
                errors=("400",),
            )
        },
        "/api/openapi.json": {"get": _get("openapi", "This document")},
    }


def _traces() -> Document:
    word = {"type": "string"}
    digits = {"type": "string", "pattern": "^[0-9]{1,18}$"}
    duration = {"type": "string", "pattern": "^[0-9]{1,6}(us|ms|s|m|h)$"}
    search = [
        {**_query("service", {"type": "string", "minLength": 1}), "required": True},
        _query("operation", word),
        *(_query(name, digits) for name in ("start", "end", "limit")),
        *(_query(name, duration) for name in ("minDuration", "maxDuration")),
    ]
    return {
        "/v1/traces": {
            "post": {
                "operationId": "receive",
                "summary": "Take spans as an OTLP/HTTP receiver does",
                "requestBody": {
                    "required": True,
                    "content": {"application/x-protobuf": {"schema": {"type": "string", "format": "binary"}}},
                },
                "responses": {
                    "200": {
                        "description": "Stored",
                        "content": {
                            "application/x-protobuf": {"schema": {"type": "string", "format": "binary"}}
                        },
                    },
                    **dict.fromkeys(("400", "413", "415"), _ERROR),
                },
            }
        },
        "/api/services": {"get": _get("jaegerServices", "Jaeger: services")},
        "/api/services/{service}/operations": {
            "get": _get("jaegerServiceOperations", "Jaeger: span names", _path("service"), errors=("404",))
        },
        "/api/operations": {
            "get": _get(
                "jaegerOperations",
                "Jaeger: span names and kinds",
                {**_query("service", {"type": "string", "minLength": 1}), "required": True},
                errors=("400",),
            )
        },
        "/api/traces": {"get": _get("jaegerTraces", "Jaeger: search", *search, errors=("400",))},
        "/api/traces/{id}": {"get": _get("jaegerTrace", "Jaeger: one trace", _path("id"), errors=())},
    }


def _get(name: str, summary: str, *parameters: Document, errors: tuple[str, ...] = ()) -> Document:
    responses: Document = {"200": _ok(summary, _OBJECT)}
    responses.update(dict.fromkeys(errors, _ERROR))
    if name == "jaegerTrace":
        responses["404"] = _ok("Jaeger's own envelope", _OBJECT)
    return {"operationId": name, "summary": summary, "parameters": list(parameters), "responses": responses}


def _ok(description: str, schema: Document) -> Document:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _path(name: str) -> Document:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query(name: str, schema: Document) -> Document:
    return {"name": name, "in": "query", "required": False, "schema": schema}
