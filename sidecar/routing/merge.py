"""Several documents for one host, by Istio's rules: the oldest comes first, and what nobody here sees is left
out. Pure.

DestinationRules of one host are one: the subsets of all (of two by one name the older), the traffic policy of
the oldest that has one. A caller takes those of its own namespace, else those of the service's, else those of
the root namespace. VirtualServices are not merged for sidecars: the oldest that has rules for a host is the
one that acts. At the ingress those that are bound to it are, rules that take every request at the end.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from .destination_rule import DestinationRule, DestinationRuleSpec
from .documents import Document
from .errors import Problem
from .fields import HOME
from .match import Match
from .service_entry import ServiceEntry
from .table import Rule, service_name
from .virtual_service import VirtualService

ROOT: Final = "istio-system"
"""Istio's namespace for rules that hold where nobody has written others."""


def in_order(documents: Sequence[Document]) -> list[Document]:
    """By creation, in whole seconds; of one second, by name and namespace."""
    return sorted(
        documents,
        key=lambda each: (
            each.metadata.creationTimestamp,
            f"{each.metadata.name}.{each.metadata.namespace}",
            each.kind,
        ),
    )


def is_seen(document: Document) -> bool:
    """Whether the sidecars of the mesh are in a namespace that it is exported to."""
    if not isinstance(document, VirtualService | DestinationRule | ServiceEntry):
        return True
    to, own = document.spec.exportTo, document.metadata.namespace
    return not to or "*" in to or HOME in to or ("." in to and own == HOME)


def in_force(documents: Sequence[Document]) -> list[Document]:
    """What there is to act on, in order; the DestinationRules of a host are one document."""
    seen = [document for document in in_order(documents) if is_seen(document)]
    found: list[Document] = [each for each in seen if not isinstance(each, DestinationRule)]
    return found + [_joined(rules) for _, rules in _groups(seen)]


def merge_warnings(documents: Sequence[Document]) -> Iterator[Problem]:
    """What does nothing, or less than it says, because of other documents or namespaces."""
    ordered = in_order(documents)
    for document in ordered:
        if not is_seen(document):
            words = f"changes nothing here: the mesh's sidecars are in the namespace {HOME!r}"
            yield Problem(document.key, "spec.exportTo", words)
    seen = [document for document in ordered if is_seen(document)]
    yield from _same_host(each for each in seen if isinstance(each, VirtualService))
    chosen: set[str] = set()
    for _, rules in _groups(seen):
        chosen.update(rule.key for rule in rules)
        yield from _same_rule(rules)
    for document in seen:
        if isinstance(document, DestinationRule) and document.key not in chosen:
            host = service_name(document.spec.host)
            words = f"changes nothing here: callers take the rules for {host!r} from another namespace"
            yield Problem(document.key, "metadata.namespace", words)


def join_rules(first: Sequence[Rule], then: Sequence[Rule]) -> tuple[Rule, ...]:
    """Rules of two documents for one host of the ingress: what takes every request comes last."""
    before: list[Rule] = []
    last: list[Rule] = []
    for rule in (*first, *then):
        pairs = list(zip(rule.matches, rule.routes, strict=True))
        for chosen, into in ((False, before), (True, last)):
            part = [(match, route) for match, route in pairs if _takes_all(match) is chosen]
            if part:
                into.append(Rule(rule.name, [match for match, _ in part], [route for _, route in part]))
    return (*before, *last)


def binds_sidecars(gateways: Collection[str]) -> bool:
    """Whether a document is for the sidecars, and not for gateways alone."""
    return not gateways or "mesh" in gateways


def _takes_all(match: Match) -> bool:
    path = match.path
    everywhere = path is None or (path.kind == "prefix" and path.value == b"/")
    return everywhere and match == Match(path=path)


def _groups(seen: Sequence[Document]) -> list[tuple[str, list[DestinationRule]]]:
    """(host, its rules that act, in order)."""
    by_host: dict[str, list[DestinationRule]] = {}
    for document in seen:
        if isinstance(document, DestinationRule):
            by_host.setdefault(rule_host(document), []).append(document)
    return [(host, _chosen(host, rules)) for host, rules in by_host.items() if _chosen(host, rules)]


def rule_host(rule: DestinationRule) -> str:
    """The service that it is about, or a pattern of them."""
    host = rule.spec.host
    return host.lower() if "*" in host else service_name(host)


def _chosen(host: str, rules: Sequence[DestinationRule]) -> list[DestinationRule]:
    domain = ".svc.cluster.local"
    owner = host.removesuffix(domain).rpartition(".")[2] if "*" in host else host.partition(".")[2] or HOME
    for namespace in (HOME, owner, ROOT):
        found = [rule for rule in rules if rule.metadata.namespace == namespace]
        if found:
            return found
    # of a host that is no service of a namespace, as a name of the internet: who wrote of it is its owner
    elsewhere = "." in host and "*" not in host
    return [rule for rule in rules if elsewhere and rule.metadata.namespace == rules[0].metadata.namespace]


def _joined(rules: Sequence[DestinationRule]) -> DestinationRule:
    first, *others = rules
    if not others:
        return first
    subsets = {subset.name: subset for rule in reversed(rules) for subset in rule.spec.subsets}
    names = dict.fromkeys(subset.name for rule in rules for subset in rule.spec.subsets)
    policies = [rule.spec.trafficPolicy for rule in rules if rule.spec.trafficPolicy is not None]
    spec: DestinationRuleSpec = first.spec.model_copy(
        update={
            "subsets": [subsets[name] for name in names],
            "trafficPolicy": policies[0] if policies else None,
        }
    )
    joined = first.model_copy(update={"spec": spec})
    joined._notes = {name: note for rule in reversed(rules) for name, note in rule.notes.items()}
    return joined


def _same_host(documents: Iterator[VirtualService]) -> Iterator[Problem]:
    older: dict[str, str] = {}
    for document in documents:
        if not binds_sidecars(document.spec.gateways):
            continue
        for index, host in enumerate(document.spec.hosts):
            name = host.lower() if "*" in host else service_name(host)
            first = older.setdefault(name, document.key)
            if first != document.key:
                words = (
                    f"{name!r} has rules in {first} already, which is older: at the sidecars those alone act"
                )
                yield Problem(document.key, f"spec.hosts[{index}]", f"{words}, as in Istio; merge the two")


def _same_rule(rules: Sequence[DestinationRule]) -> Iterator[Problem]:
    policy = ""
    subsets: dict[str, str] = {}
    for rule in rules:
        if rule.spec.trafficPolicy is not None:
            if policy:
                words = f"changes nothing: {policy}, which is older, has one for {rule_host(rule)!r}"
                yield Problem(rule.key, "spec.trafficPolicy", words)
            policy = policy or rule.key
        for index, subset in enumerate(rule.spec.subsets):
            first = subsets.setdefault(subset.name, rule.key)
            if first != rule.key:
                words = f"changes nothing: {first}, which is older, defines the subset {subset.name!r}"
                yield Problem(rule.key, f"spec.subsets[{index}]", words)
