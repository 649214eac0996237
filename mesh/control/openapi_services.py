"""Services and calls in the control API's description."""

from typing import Any

Document = dict[str, Any]

_ERROR = {"$ref": "#/components/responses/Error"}
_NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}
# null is the setting's default again
_DURATION = {"type": ["string", "null"], "pattern": "^[1-9][0-9]{0,3}ms$"}
_LATENCY = {"anyOf": [_DURATION, {"const": 0}], "description": "or a distribution, as in the topology file"}
_SIZE = {"type": ["integer", "null"], "minimum": 0, "maximum": 67_108_864}

SCHEMAS: Document = {
    "Service": {
        "type": "object",
        "description": "Settings with the names and units of the topology file, which knows more of them",
        "properties": {
            "numReplicas": {"type": ["integer", "null"], "minimum": 1, "maximum": 1000},
            "latency": _LATENCY,
            "errorRate": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
            "requestSize": _SIZE,
            "responseSize": _SIZE,
        },
        "additionalProperties": False,
    },
    "Call": {
        "type": "object",
        "properties": {
            "probability": {"type": ["integer", "null"], "minimum": 1, "maximum": 100},
            "required": {"type": ["boolean", "null"]},
            "timeout": _DURATION,
            "size": _SIZE,
        },
        "additionalProperties": False,
    },
    "Changed": {
        "type": "object",
        "required": ["changed"],
        "properties": {"changed": {"type": "boolean"}, "service": {"type": "object"}},
    },
}


def services() -> Document:
    """The paths."""
    one, call = [_path("service")], [_path("caller"), _path("callee")]
    return {
        "/api/topology.yaml": {
            "get": {
                "operationId": "saveTopology",
                "summary": "What runs, as a topology file",
                "responses": {
                    "200": {
                        "description": "For mesh up and mesh validate",
                        "content": {"application/yaml": {"schema": {}}},
                    }
                },
            }
        },
        "/api/services/{service}": {
            "get": {
                "operationId": "service",
                "summary": "What a service is told to do",
                "parameters": [_path("service")],
                "responses": {"200": _ok("Its settings", {"type": "object"}), "404": _ERROR},
            },
            "put": _change("putService", "Add a service, or change it", one, "Service"),
            "delete": _change(
                "removeService", "Drain and remove it, and the calls to it", [_path("service")]
            ),
        },
        "/api/calls/{caller}/{callee}": {
            "put": _change("connect", "Let one service call another, or change how", call, "Call"),
            "delete": _change("disconnect", "Let one service no longer call another", call),
        },
    }


def _change(name: str, summary: str, parameters: list[Document], body: str | None = None) -> Document:
    found: Document = {
        "operationId": name,
        "summary": f"{summary}; may be said twice",
        "parameters": parameters,
        "responses": {
            "200": _ok("Whether it was so before", {"$ref": "#/components/schemas/Changed"}),
            **dict.fromkeys(("400", "404", "409", "413", "503"), _ERROR),
        },
    }
    if body is not None:
        schema = {"$ref": f"#/components/schemas/{body}"}
        found["requestBody"] = {"required": False, "content": {"application/json": {"schema": schema}}}
    return found


def _path(name: str) -> Document:
    return {"name": name, "in": "path", "required": True, "schema": _NAME}


def _ok(description: str, schema: Document) -> Document:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
