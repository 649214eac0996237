"""Policies as text: tables as kubectl prints them, YAML, differences. Pure."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from mesh.plain import is_plain
from mesh.policy_names import HOME, key_of, shown

AGE_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns three blanks apart; the last one is not padded."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return [
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def age(seconds: float | None) -> str:
    """`12s`, `3m`, `2h`, `4d`; `-` when nobody knows."""
    if seconds is None:
        return "-"
    for unit, size in AGE_UNITS:
        if seconds >= size or unit == "s":
            return f"{max(0, int(seconds // size))}{unit}"
    return "0s"


def policy_table(
    documents: Iterable[Mapping[str, Any]], now: float, *, namespaces: bool = False
) -> list[str]:
    """KIND, NAME, HOSTS, AGE; a document that sidecars refuse says so. With `namespaces`, NAMESPACE too."""
    rows = [
        (
            *([each.get("namespace", HOME)] if namespaces else []),
            each["kind"],
            each["name"],
            ",".join(each["hosts"]) or "-",
            age(None if each["at"] is None else now - each["at"])
            + (f"   {each['problem']}" if each["problem"] else ""),
        )
        for each in documents
    ]
    return table((*(["NAMESPACE"] if namespaces else []), "KIND", "NAME", "HOSTS", "AGE"), rows)


def fault_table(faults: Iterable[Mapping[str, Any]]) -> list[str]:
    """NAME, TARGET, WHAT, WHICH, LEFT."""
    rows = [
        (
            each["name"],
            each["instance"] or each["host"],
            each["what"],
            each["which"],
            "-" if each["ends_in_s"] is None else f"{each['ends_in_s']:.0f}s",
        )
        for each in faults
    ]
    return table(("NAME", "TARGET", "WHAT", "REQUESTS", "LEFT"), rows)


def taken(sidecars: Mapping[str, Any]) -> str:
    """`17 of 17 sidecars at version 0123456789ab`."""
    line = f"{sidecars['current']} of {sidecars['total']} sidecars at version {sidecars['version']}"
    if sidecars["paused"]:
        line += f" ({', '.join(sidecars['paused'])} paused: when resumed)"
    return line


def behind(sidecars: Mapping[str, Any]) -> list[str]:
    """One line for each sidecar that does not act on the version."""
    found = []
    for each in sidecars["behind"]:
        at = f"at version {each['version']}" if each["version"] else "at no version"
        found.append(f"{each['instance']}: {at}{': ' if each['problem'] else ''}{each['problem']}")
    return found


def change_line(change: Mapping[str, Any]) -> str:
    """`virtualservice/orders configured`."""
    return f"{shown(_key(change))} {change['change']}"


def difference(change: Mapping[str, Any]) -> list[str]:
    """A unified diff of the YAML; no lines when nothing is different."""
    name = _key(change)
    before, after = (_lines(change[side]) for side in ("before", "after"))
    return [
        line.rstrip("\n")
        for line in difflib.unified_diff(before, after, f"{name} (in force)", f"{name} (after)", lineterm="")
    ]


def _key(change: Mapping[str, Any]) -> str:
    return key_of(change["kind"], change["name"], change.get("namespace", HOME))


def as_list(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several documents as kubectl prints them."""
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [*documents]}


def _lines(document: Mapping[str, Any] | None) -> list[str]:
    return [] if document is None else as_yaml(document).splitlines()


def as_yaml(document: Mapping[str, Any]) -> str:
    """Keys in the order in which they were written; what a terminal would obey stands there as an escape."""
    document = json.loads(json.dumps(document))
    text = str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return text if is_plain(text) else str(yaml.safe_dump(document, sort_keys=False))
