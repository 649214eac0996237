"""A set of policies: documents read, checked together as every sidecar will, compared. Pure.

Importing it imports pydantic and the sidecar's routing, a tenth of a second: only when it is needed.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mesh.errors import DocumentsRefused
from sidecar.routing.compile import compile_documents, version_of
from sidecar.routing.destination_rule import DestinationRule
from sidecar.routing.documents import SET_BYTES_MAX, Document, parse_document
from sidecar.routing.errors import DocumentError, Problem
from sidecar.routing.fields import Budget
from sidecar.routing.kubernetes import documents_in, without_server_fields, write_time
from sidecar.routing.lint import lint
from sidecar.routing.lint_subsets import Instances, lint_subsets
from sidecar.routing.service_entry import ServiceEntry
from sidecar.routing.virtual_service import VirtualService

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

    @classmethod
    def of(cls, raw: object, document: Document) -> "Policy":
        """Of a document that was read, without what Kubernetes' server adds to one."""
        assert isinstance(raw, Mapping)  # nothing else is a document
        return cls(without_server_fields(raw), document)

    def created(self, at: str) -> "Policy":
        """With the time of its creation, which decides whose rules come first."""
        metadata = self.document.metadata.model_copy(update={"creationTimestamp": at})
        raw = {**self.raw, "metadata": {**self.raw["metadata"], "creationTimestamp": at}}
        return replace(self, raw=raw, document=self.document.model_copy(update={"metadata": metadata}))


@dataclass(frozen=True, slots=True)
class Change:
    """What putting a document does: `word` is created, configured, unchanged or deleted."""

    key: str
    word: str
    before: Raw | None
    after: Raw | None


def read_policies(
    raws: Iterable[object], source: str = "document", budget: Budget | None = None
) -> list[Policy]:
    """Raises DocumentsRefused with every problem of every document."""
    raws = [raw for each in raws for _, raw in documents_in(each)]
    budget = budget or Budget()
    found: list[Policy] = []
    problems: list[Problem] = []
    for index, raw in enumerate(raws):
        try:
            document = parse_document(raw, source if len(raws) == 1 else f"{source}[{index}]", budget)
        except DocumentError as error:
            problems.extend(error.problems)
        else:
            found.append(Policy.of(raw, document))
    if problems:
        raise DocumentsRefused([str(problem) for problem in problems])
    return found


def problems_of(policies: Sequence[Policy]) -> list[str]:
    """What any sidecar would refuse the whole set for; empty when all will take it."""
    return list(problems_by_document(policies))


def problems_by_document(policies: Sequence[Policy]) -> dict[str, str]:
    """The same, each with the document that it is about."""
    size = sum(len(json.dumps(policy.raw)) for policy in policies)  # as the registry keeps them
    if size > SET_BYTES_MAX:
        return {f"the policies: have {size} bytes together; sidecars take {SET_BYTES_MAX}": ""}
    found = problems_of_documents([policy.document for policy in policies])
    return {str(problem): problem.document for problem in found}


def problems_of_documents(documents: Sequence[Document]) -> list[Problem]:
    """The same with the place of each, but for the size."""
    try:
        compile_documents(documents, None)
    except DocumentError as error:
        return list(dict.fromkeys(error.problems))
    return []


def check(policies: Sequence[Policy]) -> None:
    """Raises DocumentsRefused when some sidecar would refuse the set."""
    problems = problems_of(policies)
    if problems:
        raise DocumentsRefused(problems)


def warnings_of(documents: Sequence[Document], instances: Instances | None) -> list[str]:
    """Rules that are right and can never act, one line each; None: nothing is known of who is there."""
    if instances is None:
        return [str(problem) for problem in lint(documents, None)]
    replicas = {service: len(everyone) for service, everyone in instances.items()}
    problems = [*lint(documents, replicas), *lint_subsets(documents, instances)]
    return [str(problem) for problem in problems]


def version(policies: Iterable[Policy]) -> str:
    """Twelve hex digits, what every sidecar shows that has taken this set."""
    return version_of([policy.document for policy in policies])


def hosts_of(document: Document) -> list[str]:
    """The services that it is about."""
    if isinstance(document, VirtualService):
        return list(document.spec.hosts)
    if isinstance(document, DestinationRule):
        return [document.spec.host]
    if isinstance(document, ServiceEntry):
        return list(document.spec.hosts)
    return [document.spec.instance or document.spec.host]


def merged(before: Sequence[Policy], put: Sequence[Policy]) -> list[Policy]:
    """`before` with `put` in the place of what has the same key, in the order of the registry's keys."""
    by_key = {policy.key: policy for policy in (*before, *put)}
    return [by_key[key] for key in sorted(by_key)]


def stamped(before: Sequence[Policy], put: Sequence[Policy], now: float) -> list[Policy]:
    """`put` with the time of each one's creation: that of what it takes the place of, else its own, as what
    comes from a cluster has one, else now.
    """
    times = {policy.key: policy.document.metadata.creationTimestamp for policy in before}
    return [
        policy.created(times.get(policy.key) or policy.document.metadata.creationTimestamp or write_time(now))
        for policy in put
    ]


def created_at(policy: Policy, otherwise: float | None) -> float | None:
    """Since when it is there, as kubectl counts its age; of a fault, since when it acts."""
    created = policy.document.metadata.creationTimestamp
    if not created or policy.document.kind == "Fault":
        return otherwise
    return datetime.fromisoformat(created).timestamp()


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
