"""Stored policies as the control API tells them. Pure; what it imports late is heavy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mesh.errors import DocumentsRefused
from mesh.policies import Stored
from mesh.policy_names import split_key
from mesh.words import UnknownName, unknown_name

if TYPE_CHECKING:
    from mesh.policy_set import Change, Policy

Document = dict[str, Any]


def understood(stored: Sequence[Stored]) -> "tuple[dict[str, Policy], dict[str, list[str]]]":
    """The documents that can be read, by their key, and what is wrong with the others."""
    from mesh import policy_set
    from sidecar.routing.fields import Budget

    budget = Budget()
    found: dict[str, Policy] = {}
    broken: dict[str, list[str]] = {}
    for each in stored:
        if each.raw is None:
            broken[each.key] = [f"{each.key}: is no JSON object (remove it with: mesh delete {each.key})"]
            continue
        try:
            (found[each.key],) = policy_set.read_policies([each.raw], each.key, budget)
        except DocumentsRefused as error:
            broken[each.key] = list(error.problems)
    return found, broken


def report_of(stored: Sequence[Stored]) -> tuple[list[Document], str, list[str]]:
    """Each document as a row, the version that sidecars should show, and what keeps them from it."""
    from mesh import policy_set

    found, broken = understood(stored)
    rows = [_row(each, found.get(each.key), broken.get(each.key, ())) for each in stored]
    problems = [problem for each in broken.values() for problem in each]
    policies = list(found.values())
    return rows, policy_set.version(policies), problems + policy_set.problems_of(policies)


def check_there(keys: Sequence[str], stored: Sequence[Stored]) -> None:
    """Raises UnknownName for the first of these Kind/name that is not stored."""
    there = {each.key for each in stored}
    for key in keys:
        if key not in there:
            kind, _, name = key.partition("/")
            known = [one.partition("/")[2] for one in there if one.startswith(f"{kind}/")]
            raise unknown_policy(kind, name, known)


def unknown_policy(kind: str, name: str, known: Sequence[str]) -> UnknownName:
    """The error to raise, with the name of that kind that was perhaps meant."""
    if not known:
        return UnknownName(f'no {kind} is named "{name}" (there is none of that kind)')
    return unknown_name(kind, name, known)


def told(change: "Change") -> Document:
    """What became of one document."""
    kind, namespace, name = split_key(change.key)
    return {
        "kind": kind,
        "namespace": namespace,
        "name": name,
        "change": change.word,
        "before": change.before,
        "after": change.after,
    }


def _row(stored: Stored, policy: "Policy | None", problems: Sequence[str]) -> Document:
    """One document with the hosts that it is about, since when it is there, and what is wrong with it."""
    from mesh import policy_set

    kind, namespace, name = split_key(stored.key)
    return {
        "kind": kind,
        "namespace": namespace,
        "name": name,
        "hosts": [] if policy is None else policy_set.hosts_of(policy.document),
        "at": stored.at if policy is None else policy_set.created_at(policy, stored.at),
        "problem": "; ".join(problems),
        "document": stored.raw,
    }
