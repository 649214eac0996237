"""Destinations of a split that fail while the split still sends them requests: a broken canary.

A retry stays within the destination that the split drew, as in a cluster, so their share of the clients sees
the failures; somebody should be told. Pure: made from the callers' snapshots.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

ATTEMPTS_MIN: Final = 10  # of the last seconds, of all callers together: fewer prove nothing
FAILED_SHARE: Final = 0.5


def broken_arms(snapshots: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each destination that mostly fails, or is open at some caller."""
    found: dict[tuple[str, str, float], list[Mapping[str, Any]]] = {}
    for snapshot in snapshots:
        for upstream in (snapshot.get("upstreams") or {}).values():
            for arm in upstream.get("arms") or ():
                found.setdefault((arm["rule"], arm["key"], arm["percent"]), []).append(arm)
    lines = []
    for (rule, key, percent), seen in sorted(found.items()):
        words = _fate(seen)
        if words:
            share = f"the rule {rule} sends it {percent:g} %: who is sent there sees that"
            lines.append(f"{key.replace('|', ' ')} {words}, and {share}")
    return lines


def _fate(seen: list[Mapping[str, Any]]) -> str:
    if any(arm["open"] for arm in seen):
        return "has no endpoint that works"
    attempts, failed = (sum(arm[name] for arm in seen) for name in ("attempts", "failed"))
    if attempts >= ATTEMPTS_MIN and failed >= FAILED_SHARE * attempts:
        return f"fails {failed / attempts:.0%} of its requests"
    return ""
