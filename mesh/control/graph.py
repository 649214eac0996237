"""The topology as the page needs it: services, who calls whom, the entrypoint. Pure."""

from typing import Any

from services.script import Topology

INGRESS = "ingress"


def graph_of(
    topology: Topology, name: str, jaeger: str | None = None, *, containers: bool = False
) -> dict[str, Any]:
    """`services` in the file's order, `calls` as [caller, callee], the ingress first.

    `jaeger` is the address of the pages of the Jaeger that has the spans, where there is one; `containers`
    can be cut off from the network, processes cannot.
    """
    calls: dict[tuple[str, str], None] = {(INGRESS, topology.entrypoint.name): None}
    names = {service.name for service in topology.services}
    for service in topology.services:
        for call in service.calls():
            if call.service in names:  # a host outside has its place once it is called
                calls[service.name, call.service] = None
    return {
        "name": name,
        "ingress": INGRESS,
        "jaeger": jaeger,
        "containers": containers,
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
