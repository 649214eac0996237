"""What no single key of a topology can know: names used twice, calls to nobody, cycles, the entrypoint."""

from collections.abc import Iterator

from services.document import CallDocument, ServiceDocument, TopologyDocument
from services.entrypoint import problem_of, uncalled
from services.errors import Fault, Path, suggest
from services.graph import Edge, endless_calls
from services.outside import hosts_outside, is_outside
from services.yaml_lines import Lines


def faults_of_the_whole(document: TopologyDocument, lines: Lines) -> Iterator[Fault]:
    """Every fault of a document whose single values are sound."""
    names: dict[str, int] = {}
    for index, service in enumerate(document.services):
        if service.name in names:
            line = lines.at(("services", names[service.name], "name"))
            problem = f'"{service.name}" is named twice, first in line {line}'
            yield Fault(("services", index, "name"), problem, "rename one of them")
        names.setdefault(service.name, index)
        yield from _faults_of_replicas(("services", index), service, document)

    outside = hosts_outside(document.policies)
    edges: list[Edge] = []
    reported: set[Path] = set()
    for index, service in enumerate(document.services):
        for place, call in _calls(document, index):
            if call.service in names:
                edges.append(Edge(service.name, call.service, call.probability or 1.0, place))
                yield from _faults_of_versions(place, call, service, document)
            elif place not in reported and not is_outside(
                call.service, outside
            ):  # a call in defaults is every service's
                reported.add(place)
                remedy = suggest(call.service, names, "services")
                yield Fault(place, f'no service is named "{call.service}"', remedy)
    endless = endless_calls(edges)
    if endless is not None:
        yield endless
    yield from _faults_of_entrypoints(document, lines, edges)


def _faults_of_replicas(place: Path, service: ServiceDocument, document: TopologyDocument) -> Iterator[Fault]:
    replicas = document.setting(service, "num_replicas")
    if service.port is not None and replicas > 1:
        problem = f"a fixed port with {replicas} replicas: only one process can have it"
        yield Fault((*place, "port"), problem, 'leave out "port", or write "numReplicas: 1"')
    for many in ("versions", "zones"):
        count = len(getattr(service, many) or ())
        if count > replicas:
            problem = f"{count} {many} for {replicas} replicas: the last would never run"
            yield Fault((*place, many), problem, f'write "numReplicas: {count}", or fewer {many}')


def _faults_of_versions(
    place: Path, call: CallDocument, service: ServiceDocument, document: TopologyDocument
) -> Iterator[Fault]:
    """A call that names versions which no replica of the caller has would never be made by them."""
    own = document.one_or_many(service, "version", "versions", "v1")
    for version in call.versions:
        if version not in own:
            problem = f'"{service.name}" has no version "{version}"'
            yield Fault((*place[:-1], "versions"), problem, f"its versions: {', '.join(own)}")


def _faults_of_entrypoints(document: TopologyDocument, lines: Lines, edges: list[Edge]) -> Iterator[Fault]:
    marked = [index for index, service in enumerate(document.services) if service.is_entrypoint]
    names = [service.name for service in document.services]
    if not marked and len(found := uncalled(names, (edge.callee for edge in edges))) != 1:
        yield Fault(("services",), *problem_of(names, found))
    for index in marked[1:]:
        line = lines.at(("services", marked[0], "isEntrypoint"))
        problem = f'"{document.services[marked[0]].name}" is the entrypoint already, in line {line}'
        yield Fault(("services", index, "isEntrypoint"), problem, "keep one of them")


def _calls(document: TopologyDocument, index: int) -> Iterator[tuple[Path, CallDocument]]:
    """Every call of a service's script with its place, which is in `defaults` when the script is."""
    service = document.services[index]
    if "script" in service.model_fields_set or service.command is not None:
        base: Path = ("services", index, "script")
        script = service.script
    else:
        base = ("defaults" if document.defaults else "default", "script")
        script = document.shared.script
    for number, item in enumerate(script):
        steps = item if isinstance(item, tuple) else (item,)
        for inner, step in enumerate(steps):
            if step.call is not None:
                place: Path = (*base, number, inner) if isinstance(item, tuple) else (*base, number)
                yield (*place, "call", "service"), step.call
