"""VirtualServices that leave rules to others (`delegate`), put together as Istio does.

A document without hosts is a delegate: its rules stand in the place of the rule that names it. Each gets what
it does not say itself (timeout, retries, headers, ...) from that rule, and meets both conditions; one whose
condition is none of the delegating rule's takes no effect. One level only.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from .documents import Document
from .errors import Problem
from .fields import StringMatch
from .virtual_service import HTTPMatchRequest, HTTPRoute, VirtualService

INHERITED: Final = (
    "rewrite",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirrorPercentage",
    "mirrors",
    "corsPolicy",
    "headers",
)


class Delegation:
    """`documents` without delegates and delegating rules; what is wrong, and what takes no effect.

    `limit` is how many rules and conditions there may be: two documents of a thousand make a million.
    """

    def __init__(self, documents: Sequence[Document], limit: int) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.documents: list[Document] = []
        self._left = limit
        self._named: set[tuple[str, str]] = set()
        self._services = {
            (document.metadata.namespace, document.metadata.name): document
            for document in documents
            if isinstance(document, VirtualService)
        }
        for document in documents:
            if not isinstance(document, VirtualService):
                self.documents.append(document)
            elif document.spec.hosts:
                self.documents.append(self._whole(document))
            else:
                self._check(document)
        for name, document in self._services.items():
            if not document.spec.hosts and name not in self._named:
                words = "no rule delegates to it, and it has no hosts: it does nothing"
                self.warnings.append(Problem(document.key, "spec", words))

    def _check(self, document: VirtualService) -> None:
        for index, block in enumerate(document.spec.http):
            if block.delegate is not None:
                words = "goes one level deep only: a document without hosts cannot delegate"
                self.problems.append(Problem(document.key, f"spec.http[{index}].delegate", words))

    def _whole(self, document: VirtualService) -> VirtualService:
        if all(block.delegate is None for block in document.spec.http):
            return document
        blocks: list[HTTPRoute] = []
        for index, block in enumerate(document.spec.http):
            path = f"spec.http[{index}]"
            if block.delegate is None:
                blocks.append(block.placed(document.key, path))
            else:
                blocks.extend(self._of(document, block, path))
        spec = document.spec.model_copy(update={"http": blocks})
        return document.model_copy(update={"spec": spec})

    def _of(self, document: VirtualService, root: HTTPRoute, path: str) -> Iterator[HTTPRoute]:
        assert root.delegate is not None
        name = root.delegate.name
        place = root.delegate.namespace or document.metadata.namespace, name
        found = self._services.get(place)
        if found is None:  # it may come yet
            words = f"no VirtualService is named {name!r}: until one is, the rule does nothing"
            self.warnings.append(Problem(document.key, f"{path}.delegate.name", words))
            return
        if found.spec.hosts:
            words = f"VirtualService {name!r} has hosts of its own; a delegate is a document without hosts"
            self.problems.append(Problem(document.key, f"{path}.delegate.name", words))
            return
        self._named.add(place)
        for index, leaf in enumerate(found.spec.http):
            self._left -= max(1, len(root.match)) * max(1, len(leaf.match)) * max(1, len(leaf.route))
            if self._left < 0:
                words = "the set has too many routes with what it delegates"
                self.problems.append(Problem(document.key, f"{path}.delegate", words))
                return
            here = f"spec.http[{index}]"
            merged = _merged(root, leaf)
            if merged is None:
                words = (
                    f"takes no effect: a match of it is none of {document.key}: {path}, which delegates to it"
                )
                self.warnings.append(Problem(found.key, here, words))
            else:
                yield merged.placed(found.key, here)


def place_of(document: VirtualService, index: int) -> tuple[str, str]:
    """(document's key, path) of a rule, where it was written."""
    return document.spec.http[index].place or (document.key, f"spec.http[{index}]")


def _merged(root: HTTPRoute, leaf: HTTPRoute) -> HTTPRoute | None:
    matches = _matches(root.match, leaf.match)
    if matches is None:
        return None
    given = leaf.model_fields_set
    taken: dict[str, object] = {
        name: getattr(root, name)
        for name in INHERITED
        if name in root.model_fields_set and (name not in given or getattr(leaf, name) is None)
    }
    return leaf.model_copy(update={**taken, "match": matches, "name": _name(root.name, leaf.name)})


def _name(root: str, leaf: str) -> str:
    return f"{root}-{leaf}" if root and leaf else root or leaf


def _matches(root: list[HTTPMatchRequest], leaf: list[HTTPMatchRequest]) -> list[HTTPMatchRequest] | None:
    """Each of the leaf's with each of the root's that it fits; None if one of them fits none."""
    if not root or not leaf:
        return root or leaf
    found = []
    for narrow in leaf:
        fitting = [_match(wide, narrow) for wide in root if not _conflict(wide, narrow)]
        if not fitting:
            return None
        found += fitting
    return found


def _match(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> HTTPMatchRequest:
    both = {
        name: {**getattr(root, name), **getattr(leaf, name)}
        for name in ("headers", "withoutHeaders", "queryParams", "sourceLabels")
    }
    first = {
        name: getattr(leaf, name) or getattr(root, name)
        for name in ("uri", "method", "authority", "port", "sourceNamespace", "gateways")
    }
    return leaf.model_copy(update={**both, **first, "name": _name(root.name, leaf.name)})


def _conflict(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> bool:
    """Whether the leaf's is not for certain a part of the root's, by Istio's own rules."""
    if any(_differ(getattr(root, name), getattr(leaf, name)) for name in ("uri", "method", "authority")):
        return True
    for name in ("headers", "withoutHeaders", "queryParams"):
        wide: Mapping[str, StringMatch] = getattr(root, name)
        if any(_differ(wide.get(key), narrow) for key, narrow in getattr(leaf, name).items()):
            return True
    return (
        root.ignoreUriCase != leaf.ignoreUriCase
        or (root.port is not None and leaf.port is not None and root.port != leaf.port)
        or (bool(root.sourceNamespace) and root.sourceNamespace != leaf.sourceNamespace)
        or any(root.sourceLabels.get(key, value) != value for key, value in leaf.sourceLabels.items())
        or (bool(root.gateways) and not set(leaf.gateways) <= set(root.gateways))
    )


def _differ(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """Whether two conditions on one text are at odds; of expressions nobody can tell, so they are."""
    if root is None or leaf is None:
        return False
    if root.regex is not None or leaf.regex is not None:
        return True
    if root.exact is not None:
        return leaf.exact != root.exact
    wide, narrow = root.prefix or "", leaf.exact if leaf.exact is not None else leaf.prefix or ""
    return not narrow.startswith(wide)
