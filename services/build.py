"""From the document as written to what it means: every default filled in, every unit a number."""

from dataclasses import replace
from typing import Any

from services.document import ScriptItem, ServiceDocument, StepDocument, TopologyDocument
from services.entrypoint import note_of, uncalled
from services.fields import TRAFFIC_MODES
from services.topology import Call, Concurrent, Health, Load, Service, Sleep, Step, Topology
from services.yaml_lines import Lines


def build_topology(document: TopologyDocument, file: str, lines: Lines) -> Topology:
    """The topology that the document means; the document must be free of faults."""
    services = tuple(
        _service(service, document, lines.at(("services", index)))
        for index, service in enumerate(document.services)
    )
    notes: tuple[str, ...] = ()
    if not any(service.is_entrypoint for service in services):
        callees = (call.service for service in services for call in service.calls())
        (name,) = uncalled((service.name for service in services), callees)
        services = tuple(replace(each, is_entrypoint=each.name == name) for each in services)
        notes = (note_of(name),)
    load = Load(document.load.rate, document.load.pattern) if document.load else None
    port = document.ingress.port if document.ingress else None
    policy = document.outbound_traffic_policy
    mode = policy.mode if policy else TRAFFIC_MODES[0]
    return Topology(file, services, load, port, document.policies, lines, mode, notes)


def _service(service: ServiceDocument, document: TopologyDocument, line: int) -> Service:
    def setting(name: str) -> Any:
        return document.setting(service, name)

    scripted = service.command is None
    health = setting("health")
    path = health.path if health else None
    return Service(
        name=service.name,
        line=line,
        is_entrypoint=service.is_entrypoint,
        replicas=setting("num_replicas"),
        versions=document.one_or_many(service, "version", "versions", "v1"),
        zones=document.one_or_many(service, "zone", "zones", ""),
        labels=tuple(service.labels.items()),
        error_rate=setting("error_rate") if scripted else 0.0,
        request_size=setting("request_size"),
        response_size=setting("response_size") if scripted else 0,
        latency=setting("latency") if scripted else None,
        script=_script(setting("script"), setting("request_size")) if scripted else (),
        command=service.command,
        port=service.port,
        health=Health(path or ("/health" if scripted else None), health.interval if health else 1.0),
    )


def _script(items: tuple[ScriptItem, ...], request_size: int) -> tuple[Step, ...]:
    def step(document: StepDocument) -> Sleep | Call:
        if document.call is None:
            return Sleep(document.sleep or 0.0)
        call = document.call
        size = call.size if call.size is not None else call.payload_size
        return Call(
            service=call.service,
            size=request_size if size is None else size,
            probability=call.probability or 1.0,
            headers=call.extra_header,
            method=call.method,
            path=call.path,
            timeout=call.timeout,
            required=call.required,
            versions=call.versions,
        )

    return tuple(
        Concurrent(tuple(step(inner) for inner in item)) if isinstance(item, tuple) else step(item)
        for item in items
    )
