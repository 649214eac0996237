"""A topology as a Compose file for people to read: comments, anchors, one block per replica, a stable order.

Text, not a dumped mapping: YAML writers keep neither comments nor anchors.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

from mesh.errors import UsageError
from mesh.export import images, template
from mesh.plan import DRAIN_S, SIDECAR_END_S
from services.script import Instance, Service, Topology, shipped_topologies

# Traffic for a topology that says nothing of it, as in `mesh up`.
DEFAULT_RATE = 20.0

TOPOLOGY_IN_CONTAINER = "/etc/mesh/topology.yaml"
TOPOLOGY_CONFIG = f"\n    configs: [{{source: topology, target: {TOPOLOGY_IN_CONTAINER}}}]"


def compose_file(topology: Topology, name: str, directory: Path, drain_s: float = DRAIN_S) -> str:
    """The text of compose.yaml; `name` as `mesh export compose` was told it, `directory` where the file lies.
    `drain_s` is how long requests under way may take when a container is to stop.

    Raises UsageError for what containers cannot run.
    """
    _refuse_commands(topology)
    shipped = name in shipped_topologies()
    instances = topology.instances()
    values = {
        "command": _command(name, drain_s),
        "drain": f"{drain_s:g}s",
        "traffic_policy": _traffic_policy(topology),
        "grace": f"{math.ceil(drain_s + SIDECAR_END_S)}s",
        "name": topology_name(name),
        "topology": name if shipped else TOPOLOGY_IN_CONTAINER,
        "topology_config": "" if shipped else TOPOLOGY_CONFIG,
        "entrypoint": topology.entrypoint.name,
        "rate": f"{topology.load.rate if topology.load else DEFAULT_RATE:g}",
        "pattern": (topology.load.pattern if topology.load else None) or "constant",
        "ingress_port": str(topology.ingress_port or 8080),
        "ours": images.OURS,
        "consul": images.pinned(images.CONSUL),
        "prometheus": images.pinned(images.PROMETHEUS),
        "grafana": images.pinned(images.GRAFANA),
        "jaeger": images.pinned(images.JAEGER),
        "wait_for_all": indent(
            "\n".join(f"{one.name}-sidecar: {{condition: service_healthy}}" for one in instances), "      "
        ),
    }
    parts = [_fill(template.HEAD, values)]
    parts += [_fill(template.INSTANCE, values | _instance_values(one)) for one in instances]
    parts.append(_fill(template.AROUND, values))
    if not shipped:
        parts.append(f"\nconfigs:\n  topology: {{file: {_relative(topology.file, directory)}}}\n")
    return "".join(parts)


def _traffic_policy(topology: Topology) -> str:
    """Of all sidecars but the ingress; nothing where it is the default."""
    mode = topology.outbound_traffic_policy
    return "" if mode == "REGISTRY_ONLY" else f"\n      SIDECAR_OUTBOUND_TRAFFIC_POLICY: {mode}"


def _command(name: str, drain_s: float) -> str:
    words = ["mesh export compose"]
    if name != "shop":
        words.append(name)
    if drain_s != DRAIN_S:
        words.append(f"--drain-timeout {drain_s:g}s")
    return " ".join(words)


def topology_name(name: str) -> str:
    """A project name that Compose takes, from a topology's name or file."""
    letters = "".join(letter if letter.isalnum() else "-" for letter in Path(name).stem.lower())
    return letters.strip("-") or "mesh"


def _refuse_commands(topology: Topology) -> None:
    for index, service in enumerate(topology.services):
        if service.command is not None:
            place = f"{topology.file}:{topology.line_of('services', index, 'command')}"
            raise UsageError(
                f'{place}: services[{index}].command: the image does not hold "{service.command[0]}" '
                "(containers take scripted services; run this topology with mesh up)"
            )


def _instance_values(instance: Instance) -> dict[str, str]:
    service = instance.service
    return {
        "instance": instance.name,
        "service": service.name,
        "version": instance.version,
        "zone": instance.zone,
        "labels": _labels(service),
        "health_path": service.health.path or "",
        "health_interval": f"{service.health.interval:g}s",
        "about": ", ".join(_about(instance)),
    }


def _labels(service: Service) -> str:
    """A line of its own, where there are any."""
    text = ";".join(f"{key}={value}" for key, value in service.labels)
    return f'\n      SIDECAR_LABEL: "{text}"' if text else ""


def _about(instance: Instance) -> Iterator[str]:
    yield instance.version
    if instance.zone:
        yield f"zone {instance.zone}"
    if instance.service.is_entrypoint:
        yield "the ingress sends to it"


def _fill(text: str, values: dict[str, str]) -> str:
    # not str.format: the braces of YAML and of Compose's own ${…} stay as they are
    for key, value in values.items():
        text = text.replace(f"<{key}>", value)
    return text


def _relative(file: str, directory: Path) -> str:
    path = Path(file).resolve()
    try:
        return f"./{path.relative_to(directory.resolve())}"
    except ValueError:
        return str(path)
