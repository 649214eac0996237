"""The topology as the page needs it: services, who calls whom, the entrypoint. Pure."""

from typing import Any

from services.script import Topology

INGRESS = "ingress"


def graph_of(topology: Topology, name: str) -> dict[str, Any]:
    """`services` in the file's order, `calls` as [caller, callee], the ingress first."""
    calls: dict[tuple[str, str], None] = {(INGRESS, topology.entrypoint.name): None}
    for service in topology.services:
        for call in service.calls():
            calls[service.name, call.service] = None
    return {
        "name": name,
        "ingress": INGRESS,
        "entrypoint": topology.entrypoint.name,
        "services": [
            {
                "name": service.name,
                "replicas": service.replicas,
                "versions": list(service.versions),
                "error_rate": service.error_rate,
                "command": service.command is not None,
            }
            for service in topology.services
        ],
        "calls": [list(call) for call in calls],
    }
