"""Stored policies as the control API tells them. Pure; what it imports late is heavy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mesh.errors import DocumentsRefused
from mesh.policies import Stored
from mesh.words import UnknownName, unknown_name

if TYPE_CHECKING:
    from mesh.policy_set import Change, Policy

Document = dict[str, Any]


def understood(stored: Sequence[Stored]) -> "tuple[list[Policy], dict[str, list[str]]]":
    """The documents that can be read, and Kind/name -> what is wrong with the others."""
    from mesh import policy_set

    found: list[Policy] = []
    broken: dict[str, list[str]] = {}
    for each in stored:
        if each.raw is None:
            broken[each.key] = [f"{each.key}: is no JSON object (remove it with: mesh delete {each.key})"]
            continue
        try:
            found += policy_set.read_policies([each.raw], each.key)
        except DocumentsRefused as error:
            broken[each.key] = list(error.problems)
    return found, broken


def set_of(stored: Sequence[Stored]) -> tuple[str, list[str]]:
    """The version that sidecars should show, and what keeps them from it."""
    from mesh import policy_set

    found, broken = understood(stored)
    problems = [problem for each in broken.values() for problem in each]
    problems += [str(problem) for problem in policy_set.problems_of([policy.document for policy in found])]
    return policy_set.version(found), problems


def check_there(keys: Sequence[str], stored: Sequence[Stored]) -> None:
    """Raises UnknownName for the first of these Kind/name that is not stored."""
    there = {each.key for each in stored}
    for key in keys:
        if key not in there:
            kind, _, name = key.partition("/")
            raise unknown_policy(
                kind, name, [one.partition("/")[2] for one in there if one.startswith(f"{kind}/")]
            )


def unknown_policy(kind: str, name: str, known: Sequence[str]) -> UnknownName:
    """The error to raise, with the name of that kind that was perhaps meant."""
    if not known:
        return UnknownName(f'no {kind} is named "{name}" (there is none of that kind)')
    return unknown_name(kind, name, known)


def told(change: "Change") -> Document:
    """What became of one document."""
    kind, _, name = change.key.partition("/")
    return {
        "kind": kind,
        "name": name,
        "change": change.word,
        "before": change.before,
        "after": change.after,
    }


def row_of(stored: Stored) -> Document:
    """One document with the hosts that it is about, since when it is there, and what is wrong with it."""
    from mesh import policy_set

    kind, _, name = stored.key.partition("/")
    hosts: list[str] = []
    problems: list[str] = []
    try:
        found = policy_set.read_policies([stored.raw], stored.key)
        hosts = policy_set.hosts_of(found[0].document)
    except DocumentsRefused as error:
        problems = list(error.problems)
    return {
        "kind": kind,
        "name": name,
        "hosts": hosts,
        "at": stored.at,
        "problem": "; ".join(problems),
        "document": stored.raw,
    }
