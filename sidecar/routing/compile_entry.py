"""ServiceEntries -> `outside.Outside`, and what is wrong with them as a whole.

The registry's own entry can be no host and no endpoint. `localhost` neither: to name this machine a document
writes the address, with resolution STATIC, and then it is seen (`sidecar/boundary.py` has the other rules).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from .errors import Problem
from .outside import HTTP_PORT, Entry, Host, Outside, Place, Resolution
from .service_entry import ServiceEntry, ServiceEntrySpec, ServicePort, WorkloadEntry
from .table import LOCALHOST, service_name

REGISTRY = "consul"  # what the registry has for itself in its catalog
WEIGHT_MAX = 128  # of an endpoint, in here and in Consul


def compile_entries(documents: Sequence[ServiceEntry], problems: list[Problem]) -> Outside:
    """All of a set, the oldest first: what two of them say of a host is put together (`_joined`)."""
    hosts: dict[str, Host] = {}
    addresses: list[tuple[str, Host]] = []
    for document in documents:
        found = [Problem(document.key, f"spec.{path}", words) for path, words in _faults(document.spec)]
        problems += found
        places = {port.number: tuple(_places(document.spec.endpoints, port)) for port in document.spec.ports}
        for index, name in enumerate(() if found else document.spec.hosts):
            name = host_name(name)
            host = _host(name, document.spec, places)
            hosts[name] = host = _joined(hosts[name], host) if name in hosts else host
            if index == 0:  # an address is one name more of the first host
                addresses += [(address, host) for address in document.spec.addresses]
    return Outside(hosts, addresses)


def host_name(host: str) -> str:
    """As it is looked up."""
    return host.lower() if "*" in host else service_name(host)


def _joined(first: Host, then: Host) -> Host:
    """As in Istio: the ports of both; at a port of both the endpoints of both where both write addresses
    (STATIC), else those of the older document alone.
    """
    if first.dynamic or then.dynamic:
        return first
    entries = {**then.entries, **first.entries}
    for port in first.entries.keys() & then.entries.keys():
        one, other = first.entries[port], then.entries[port]
        if one.resolution == other.resolution == "STATIC":
            entries[port] = replace(one, places=one.places + other.places)
    return replace(first, entries=entries, ports=first.ports | then.ports)


def places_of(spec: ServiceEntrySpec) -> int:
    """How many a document makes: endpoints, which its hosts share, and hosts, for each port."""
    return len(spec.ports) * (len(spec.hosts) + len(spec.endpoints))


_Places = Mapping[int, tuple[Place, ...]]


def _host(name: str, spec: ServiceEntrySpec, places: _Places) -> Host:
    ports = [port.number for port in spec.ports]
    plain = [port.number for port in spec.ports if port.protocol == "HTTP"]
    usual = HTTP_PORT if HTTP_PORT in ports else (plain or ports)[0]
    external = spec.location == "MESH_EXTERNAL"
    names = tuple(spec.subjectAltNames)
    dynamic = spec.resolution == "NONE" and ("*" in name or bool(spec.addresses))
    entries = {} if dynamic else {port.number: _entry(name, spec, port, places) for port in spec.ports}
    return Host(name, usual, entries, frozenset(ports), external, names)


def _entry(name: str, spec: ServiceEntrySpec, port: ServicePort, shared: _Places) -> Entry:
    resolution: Resolution = "DNS" if spec.resolution == "NONE" else spec.resolution
    own = port.number if spec.resolution == "NONE" else port.targetPort or port.number
    places = shared[port.number] or (Place(name, own),)
    external = spec.location == "MESH_EXTERNAL"
    server_name = "" if "*" in name else name
    return Entry(places, resolution, external, server_name, tuple(spec.subjectAltNames))


def _places(endpoints: Sequence[WorkloadEntry], port: ServicePort) -> Iterator[Place]:
    heaviest = max((endpoint.weight for endpoint in endpoints), default=0)
    for endpoint in endpoints:
        weight = max(1, endpoint.weight)
        if heaviest > WEIGHT_MAX:  # the relation counts
            weight = max(1, round(endpoint.weight * WEIGHT_MAX / heaviest))
        number = endpoint.ports.get(port.name, port.targetPort or port.number)
        region, _, rest = endpoint.locality.partition("/")
        zone = rest.partition("/")[0] or region
        host = endpoint.ip or endpoint.address.lower().rstrip(".")
        yield Place(host, number, weight, zone, endpoint.labels)


def _faults(spec: ServiceEntrySpec) -> Iterator[tuple[str, str]]:
    """(path, words) of what no single field can know."""
    names = [host_name(host) for host in spec.hosts]
    for index, host in enumerate(spec.hosts):
        if names[index] in names[:index]:
            yield f"hosts[{index}]", f"{host!r} is there twice"
        elif "*" in host and not (host.startswith("*.") and len(host) > 2 and "*" not in host[1:]):
            yield f"hosts[{index}]", f"{host!r}: only *.domain is a pattern here"
        elif service_name(host) == REGISTRY:
            yield f"hosts[{index}]", f"{host!r} is the registry itself, and no sidecar leads there"
        elif _is_localhost(host):
            yield f"hosts[{index}]", f"{host!r} is this machine to every program; choose another name"
    numbers = [port.number for port in spec.ports]
    port_names = [port.name for port in spec.ports]
    for index, port in enumerate(spec.ports):
        if port.number in numbers[:index]:
            yield f"ports[{index}].number", f"{port.number} is there twice"
        if port.name in port_names[:index]:
            yield f"ports[{index}].name", f"{port.name!r} is there twice"
    for index, endpoint in enumerate(spec.endpoints):
        for name in endpoint.ports:
            if name not in port_names:
                words = f"no port has that name; known are {', '.join(port_names)}"
                yield f"endpoints[{index}].ports.{name}", words
    yield from _faults_of_resolution(spec)


def _faults_of_resolution(spec: ServiceEntrySpec) -> Iterator[tuple[str, str]]:
    kind, by_name = spec.resolution, spec.resolution.startswith("DNS")
    if kind == "NONE" and spec.endpoints:
        yield "endpoints", "resolution NONE has none; write resolution: STATIC (or DNS)"
    if kind == "STATIC" and not spec.endpoints:
        yield "endpoints", "resolution STATIC needs some"
    if kind == "DNS_ROUND_ROBIN" and len(spec.endpoints) > 1:
        yield "endpoints", "resolution DNS_ROUND_ROBIN has at most one"
    if by_name and any("/" in each for each in spec.addresses):
        yield "addresses", "a CIDR prefix goes with resolution STATIC or NONE"
    if by_name and not spec.endpoints and any("*" in host for host in spec.hosts):
        yield "hosts", "no pattern can be asked of DNS; give endpoints, or resolution NONE"
    for index, endpoint in enumerate(spec.endpoints):
        here = f"endpoints[{index}].address"
        if _is_localhost(endpoint.address):
            yield here, "write 127.0.0.1, with resolution: STATIC"
        elif service_name(endpoint.address) == REGISTRY:
            yield here, "is the registry itself, and no sidecar leads there"
        elif kind == "STATIC" and endpoint.ip is None:
            yield here, f"{endpoint.address!r} is a name: write resolution: DNS"


def _is_localhost(host: str) -> bool:
    return f".{host.lower().rstrip('.')}".endswith(LOCALHOST)
