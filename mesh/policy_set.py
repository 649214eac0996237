"""A set of policies: documents read, checked together as every sidecar will, compared. Pure.

Importing it imports pydantic and the sidecar's routing, a tenth of a second: only when it is needed.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.errors import DocumentsRefused
from sidecar.routing.compile import compile_documents, version_of
from sidecar.routing.destination_rule import DestinationRule
from sidecar.routing.documents import SET_BYTES_MAX, Document, parse_document
from sidecar.routing.errors import DocumentError, Problem
from sidecar.routing.fields import Budget
from sidecar.routing.lint import lint
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
    raws = list(raws)
    budget = budget or Budget()
    found: list[Policy] = []
    problems: list[Problem] = []
    for index, raw in enumerate(raws):
        try:
            document = parse_document(raw, source if len(raws) == 1 else f"{source}[{index}]", budget)
        except DocumentError as error:
            problems.extend(error.problems)
        else:
            assert isinstance(raw, Mapping)  # nothing else is a document
            found.append(Policy(raw, document))
    if problems:
        raise DocumentsRefused([str(problem) for problem in problems])
    return found


def problems_of(policies: Sequence[Policy]) -> list[str]:
    """What any sidecar would refuse the whole set for; empty when all will take it."""
    size = sum(len(json.dumps(policy.raw)) for policy in policies)  # as the registry keeps them
    if size > SET_BYTES_MAX:
        return [f"the policies: have {size} bytes together; sidecars take {SET_BYTES_MAX}"]
    return [str(problem) for problem in problems_of_documents([policy.document for policy in policies])]


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
