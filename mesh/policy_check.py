"""Policies checked before anything runs: those inside a topology, and files of them for `mesh validate`."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.errors import DocumentsRefused, UsageError
from services.script import Topology, TopologyError

if TYPE_CHECKING:
    from sidecar.routing.errors import Problem

# of a text that cannot be read: who wrote a policy is to be told of a policy
_POLICY = re.compile(r"""["']?kind["']?\s*:\s*["']?(VirtualService|DestinationRule|Fault)\b""")
TOPOLOGY_KIND = "MockServiceGraph"
REMEDY = "write it as in Istio's documents; mesh schema prints what is allowed"


def check_topology(topology: Topology) -> list[str]:
    """Raises TopologyError with line and field of all that is wrong; returns warnings, one line each."""
    if not topology.policies:
        return []  # the usual case: it does not even import what reads policies
    from mesh import policy_set
    from sidecar.routing.documents import Document, parse_document
    from sidecar.routing.errors import DocumentError

    documents: list[Document] = []
    faults: list[TopologyError] = []
    index_of: dict[str, int] = {}
    for index, raw in enumerate(topology.policies):
        try:
            document = parse_document(raw, "policies")
        except DocumentError as error:
            faults += [_fault(topology, index, problem) for problem in error.problems]
            continue
        index_of.setdefault(document.key, index)
        documents.append(document)
    if not faults:
        faults = [
            _fault(topology, index_of.get(problem.document, 0), problem)
            for problem in policy_set.problems_of_documents(documents)
        ]
    if faults:
        first = min(faults, key=lambda fault: fault.line or 0)
        first.more = tuple(fault for fault in faults if fault is not first)
        raise first
    replicas = {service.name: service.replicas for service in topology.services}
    return [f"policies: {warning}" for warning in policy_set.warnings_of(documents, replicas)]


def _fault(topology: Topology, index: int, problem: "Problem") -> TopologyError:
    from mesh.policy_set import path_of
    from sidecar.routing.errors import printable

    field = f"policies[{index}]" + (f".{problem.path}" if problem.path else "")
    line = topology.line_of("policies", index, *path_of(problem.path))
    return TopologyError(
        topology.file, line, field, printable(f"{problem.document}: {problem.problem}"), REMEDY
    )


def holds_policies(file: str) -> bool:
    """Whether it is a folder, or a file with a document of a kind that is not a topology's."""
    path = Path(file)
    if file == "-" or path.is_dir():
        return True
    if not path.is_file():
        return False  # a topology that ships, or a name for the topology's reader to complain of
    from sidecar.routing.plain import TEXT_MAX, NotPlain, read_yaml

    text = ""
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(TEXT_MAX + 1)
        found = read_yaml(text)
    except (OSError, UnicodeDecodeError):
        return False
    except NotPlain:
        return _POLICY.search(text) is not None
    kinds = {str(each.get("kind")) for each in found if isinstance(each, Mapping) and each.get("kind")}
    return bool(kinds - {TOPOLOGY_KIND})


def validate_policies(files: Sequence[str]) -> int:
    """Say what is wrong with them as one set, or what could never act; the exit code."""
    from mesh import console, policy_set
    from mesh.policy_files import read_files

    try:
        read = read_files(files)
        policy_set.check(read.policies)
    except DocumentsRefused as error:
        for problem in error.problems:
            console.print_error(problem)
        return UsageError.exit_code
    documents = [policy.document for policy in read.policies]
    for warning in policy_set.warnings_of(documents, None):
        console.print_error(f"warning: {warning}")
    counts: dict[str, int] = {}
    for document in documents:
        counts[document.kind] = counts.get(document.kind, 0) + 1
    words = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in sorted(counts.items()))
    console.print_line(f"{' '.join(files)}: valid: {words}")
    return os.EX_OK
