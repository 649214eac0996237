"""Policies checked before anything runs: those inside a topology, and files of them for `mesh validate`."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.errors import UsageError
from services.script import Topology, TopologyError

if TYPE_CHECKING:
    from mesh.policy_files import Reading
    from sidecar.routing.errors import Problem

# of a text that cannot be read: who wrote a policy is to be told of a policy
_POLICY = re.compile(r"""["']?kind["']?\s*:\s*["']?(VirtualService|DestinationRule|ServiceEntry|Fault)\b""")
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
    instances: dict[str, list[Mapping[str, str]]] = {}
    for instance in topology.instances():
        instances.setdefault(instance.service.name, []).append(instance.labels)
    return [f"policies: {warning}" for warning in policy_set.warnings_of(documents, instances)]


def _fault(topology: Topology, index: int, problem: "Problem") -> TopologyError:
    from sidecar.routing.entries import path_of
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


def validate_policies(files: Sequence[str], how: "Reading") -> int:
    """Say what is wrong with them as one set, what could never act, and how many are taken; the exit code."""
    from mesh import console, policy_set
    from mesh.policy_files import read_all

    read = read_all(files, how)
    refused = {str(problem): problem.document for problem in read.problems}
    together = policy_set.problems_by_document(read.policies)
    refused |= {read.placed(line): key for line, key in together.items()}
    for line in refused:
        console.print_error(line)
    wrong = set(together.values())
    taken = [policy.document for policy in read.policies if policy.key not in wrong]
    warnings = policy_set.warnings_of(taken, None) if taken else []
    for warning in warnings:
        console.print_error(f"warning: {read.placed(warning)}")
    skipped = read.skipped() if how.skip_unknown else []
    for line in skipped:
        console.print_error(line)
    warned = {warning.partition(": ")[0] for warning in warnings}
    count = read.refused + len(read.policies) - len(taken)
    words = f"{len(taken)} taken, {len(warned)} with warnings, {count} refused"
    console.print_line(words + (f", {len(skipped)} skipped" if skipped else ""))
    return UsageError.exit_code if refused else os.EX_OK
