"""A set of policies: documents read, checked together as every sidecar will, compared. Pure.

Importing it imports pydantic and the sidecar's routing, a tenth of a second: only when it is needed.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.errors import DocumentsRefused
from sidecar.routing.compile import compile_documents, version_of
from sidecar.routing.compiled import Identity
from sidecar.routing.destination_rule import DestinationRule
from sidecar.routing.documents import Document, parse_document
from sidecar.routing.errors import DocumentError, Problem
from sidecar.routing.fault_document import FaultDocument
from sidecar.routing.lint import lint
from sidecar.routing.table import service_name
from sidecar.routing.virtual_service import Destination, VirtualService

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Policy:
    """A document as somebody wrote it, and as it was understood."""

    raw: Raw
    document: Document

    @property
    def key(self) -> str:
        """Kind/name."""
        return self.document.key


@dataclass(frozen=True, slots=True)
class Change:
    """What putting a document does: `word` is created, configured, unchanged or deleted."""

    key: str
    word: str
    before: Raw | None
    after: Raw | None


def read_policies(raws: Iterable[object], source: str = "document") -> list[Policy]:
    """Raises DocumentsRefused with every problem of every document."""
    raws = list(raws)
    found: list[Policy] = []
    problems: list[Problem] = []
    for index, raw in enumerate(raws):
        try:
            document = parse_document(raw, source if len(raws) == 1 else f"{source}[{index}]")
        except DocumentError as error:
            problems.extend(error.problems)
        else:
            assert isinstance(raw, Mapping)  # nothing else is a document
            found.append(Policy(raw, document))
    if problems:
        raise DocumentsRefused([str(problem) for problem in problems])
    return found


def problems_of(documents: Sequence[Document]) -> list[Problem]:
    """What any sidecar would refuse the whole set for; empty when all will take it."""
    found = _problems(documents, Identity())
    for identity in _identities(documents):
        # the documents that concern a service are few; the whole set is compiled for it only to be sure
        if _problems(_concerning(documents, identity.service), identity).keys() - found.keys():
            found |= _problems(documents, identity)
    return list(found)


def _problems(documents: Sequence[Document], identity: Identity) -> dict[Problem, None]:
    try:
        compile_documents(documents, identity)
    except DocumentError as error:
        return dict.fromkeys(error.problems)
    return {}


def _concerning(documents: Sequence[Document], service: str) -> list[Document]:
    """What leads to a service or is about it, and the rules of whatever else that leads to."""
    hosts = {service}
    found: list[Document] = []
    for document in documents:
        if isinstance(document, VirtualService):
            targets = {service_name(target.host) for target in _targets(document)}
            if service in targets:
                hosts |= targets
                found.append(document)
        elif isinstance(document, FaultDocument) and service_name(document.spec.host) == service:
            found.append(document)
    return found + [
        document
        for document in documents
        if isinstance(document, DestinationRule) and service_name(document.spec.host) in hosts
    ]


def _targets(document: VirtualService) -> Iterator[Destination]:
    for block in document.spec.http:
        yield from block.destinations()


def check(documents: Sequence[Document]) -> None:
    """Raises DocumentsRefused when some sidecar would refuse the set."""
    problems = problems_of(documents)
    if problems:
        raise DocumentsRefused([str(problem) for problem in problems])


def _identities(documents: Sequence[Document]) -> Iterator[Identity]:
    """A sidecar of each service, version and instance that a document means.

    What only the called service compiles (faults, limits) is refused only there, so all must be asked.
    """
    seen = set()
    for service, instance, labels in _meant(documents):
        identity = Identity(service, instance, labels.get("version", ""), labels.get("zone", ""), labels)
        if (text := f"{instance}{identity.labels()}") not in seen:
            seen.add(text)
            yield identity


def _meant(documents: Sequence[Document]) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    subsets: dict[tuple[str, str], Mapping[str, str]] = {}
    for document in documents:
        if isinstance(document, DestinationRule):
            service = service_name(document.spec.host)
            yield service, "", {}
            for subset in document.spec.subsets:
                subsets[service, subset.name] = subset.labels
    for document in documents:
        if isinstance(document, FaultDocument):
            yield service_name(document.spec.host), document.spec.instance or "", document.spec.labels
        elif isinstance(document, VirtualService):
            for target in _targets(document):
                service = service_name(target.host)
                yield service, "", subsets.get((service, target.subset or ""), {})


def warnings_of(documents: Sequence[Document], replicas: Mapping[str, int] | None) -> list[str]:
    """Rules that are right and can never act, one line each. `replicas`: instances by service."""
    return [str(problem) for problem in lint(documents, replicas)]


def version(policies: Iterable[Policy]) -> str:
    """Twelve hex digits, what every sidecar shows that has taken this set."""
    return version_of([policy.document for policy in policies])


def hosts_of(document: Document) -> list[str]:
    """The services that it is about."""
    if isinstance(document, VirtualService):
        return list(document.spec.hosts)
    if isinstance(document, DestinationRule):
        return [document.spec.host]
    return [document.spec.instance or document.spec.host]


def merged(before: Sequence[Policy], put: Sequence[Policy]) -> list[Policy]:
    """`before` with `put` in the place of what has the same key, in the order of the registry's keys."""
    by_key = {policy.key: policy for policy in (*before, *put)}
    return [by_key[key] for key in sorted(by_key)]


def changes(before: Sequence[Policy], put: Sequence[Policy]) -> list[Change]:
    """What putting them does to each, in their order."""
    old = {policy.key: policy.raw for policy in before}
    return [
        Change(policy.key, _word(old.get(policy.key), policy.raw), old.get(policy.key), policy.raw)
        for policy in put
    ]


def _word(before: Raw | None, after: Raw) -> str:
    if before is None:
        return "created"
    return "unchanged" if canonical(before) == canonical(after) else "configured"


def canonical(raw: Raw) -> str:
    """The same text for the same document, however it was written."""
    return json.dumps(raw, sort_keys=True)


_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]|\[([^\]]*)\]")


def path_of(field: str) -> tuple[str | int, ...]:
    """`spec.http[0].route` -> ("spec", "http", 0, "route"), to look its line up."""
    found: list[str | int] = []
    for name, index, word in _STEP.findall(field):
        found.append(int(index) if index else name or word)
    return tuple(found)
