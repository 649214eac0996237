"""Of ServiceEntries: what is right and does not do what its author may think."""

from collections.abc import Iterator, Mapping, Sequence

from .client_tls import ClientTLS
from .compile_entry import host_name
from .documents import Document
from .errors import Problem
from .service_entry import ServiceEntry
from .table import service_name


def lint_tls(key: str, path: str, block: ClientTLS, of_mesh: bool) -> Iterator[Problem]:
    """`of_mesh`: the service's sidecars are the mesh's own."""
    here = f"{path}.tls.mode"
    if block.mode == "ISTIO_MUTUAL":
        words = "ISTIO_MUTUAL: the mesh has no identities of its own yet; connections stay plain"
        yield Problem(key, here, words)
    elif block.mode in ("SIMPLE", "MUTUAL"):
        if of_mesh:
            words = f"{block.mode}: the mesh's own sidecars take plain HTTP: no request will arrive there"
            yield Problem(key, here, words)
        if block.insecureSkipVerify:
            words = "nobody knows who answers: anybody on the way can read and change what is said"
            yield Problem(key, f"{path}.tls.insecureSkipVerify", words)


def hosts_outside(documents: Sequence[Document]) -> list[str]:
    """All hosts that they have."""
    return [host for each in documents if isinstance(each, ServiceEntry) for host in each.spec.hosts]


def lint_shared(acting: Sequence[Document]) -> Iterator[Problem]:
    """Of the documents in force, the oldest first: what a later one says of a host in vain."""
    owners: dict[tuple[str, int], ServiceEntry] = {}
    for document in acting:
        if not isinstance(document, ServiceEntry):
            continue
        static = document.spec.resolution == "STATIC"
        for index, host in enumerate(document.spec.hosts):
            for port in document.spec.ports:
                first = owners.setdefault((host_name(host), port.number), document)
                if first is document or (static and first.spec.resolution == "STATIC"):
                    continue
                words = f"changes nothing at port {port.number} of {host!r}: {first.key} is older"
                yield Problem(document.key, f"spec.hosts[{index}]", words)


def lint_entry(document: ServiceEntry, replicas: Mapping[str, int]) -> Iterator[Problem]:
    """`replicas`: instances by service, as far as they are known."""
    for index, host in enumerate(document.spec.hosts):
        if service_name(host) in replicas:
            words = f"{host!r} is a service of the mesh: its {replicas[service_name(host)]} instances get no "
            yield Problem(document.key, f"spec.hosts[{index}]", f"{words}requests any more")
    for index, port in enumerate(document.spec.ports):
        if port.protocol in ("HTTPS", "TLS"):
            words = (
                f"{port.protocol}: a sidecar takes no TLS from the app (it does not know CONNECT): call the "
            )
            words += "host by http://, and let a DestinationRule say trafficPolicy.tls.mode: SIMPLE"
            yield Problem(document.key, f"spec.ports[{index}].protocol", words)
