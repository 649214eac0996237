"""What Kubernetes adds to documents: lists, and what its server keeps of each. Pure.

The output of `kubectl get -o yaml` is a `List` whose items carry a status, a uid, who manages which field.
None of that is anybody's wish, so it is left out where documents are read; the time of creation stays, for it
decides whose rules come first. Importing it imports nothing heavy.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

Raw = Mapping[str, Any]
Path = tuple[str | int, ...]

SERVER_KEEPS: Final = {
    "": ("status",),
    "metadata": (
        "uid",
        "resourceVersion",
        "generation",
        "managedFields",
        "selfLink",
        "ownerReferences",
        "finalizers",
        "generateName",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "clusterName",
    ),
    "metadata.annotations": ("kubectl.kubernetes.io/last-applied-configuration",),
}
"""Place -> keys. (Controllers leave `generateName` beside the name that they made of it.)"""

LISTS: Final = frozenset({"List", "VirtualServiceList", "DestinationRuleList", "ServiceEntryList"})
NESTED_MAX: Final = 4
"""Lists in lists; kubectl makes one."""


def documents_in(raw: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """(place, document) of each document that a value stands for: itself, or the items of a list."""
    kind = raw.get("kind") if isinstance(raw, Mapping) else None
    if isinstance(raw, Mapping) and isinstance(kind, str) and kind in LISTS and len(path) < 2 * NESTED_MAX:
        items = raw.get("items")
        if items is None:
            return
        if isinstance(items, list):
            for index, item in enumerate(items):
                yield from documents_in(item, (*path, "items", index))
            return
    yield path, raw


def without_server_fields(raw: Raw) -> dict[str, Any]:
    """The same document as its author wrote it."""
    found = {key: value for key, value in raw.items() if key not in SERVER_KEEPS[""]}
    metadata = found.get("metadata")
    if not isinstance(metadata, Mapping):
        return found
    kept = {key: value for key, value in metadata.items() if key not in SERVER_KEEPS["metadata"]}
    if not kept.get("creationTimestamp", True):  # null is what `kubectl create --dry-run -o yaml` writes
        del kept["creationTimestamp"]
    for part in ("labels", "annotations"):
        if kept.get(part, "") is None:
            del kept[part]
    annotations = kept.get("annotations")
    if isinstance(annotations, Mapping):
        gone = SERVER_KEEPS["metadata.annotations"]
        kept["annotations"] = {key: value for key, value in annotations.items() if key not in gone}
        if not kept["annotations"]:
            del kept["annotations"]
    found["metadata"] = kept
    return found


def parse_time(value: object) -> str:
    """A time as Kubernetes writes it, in whole seconds of UTC: `2026-01-31T08:00:00Z`."""
    try:
        if not isinstance(value, str) or not 19 <= len(value) <= 40:
            raise ValueError
        read = datetime.fromisoformat(value)
        return write_time(read.replace(tzinfo=read.tzinfo or UTC).timestamp())
    except (ValueError, OverflowError):
        words = "is no time; write it like 2026-01-31T08:00:00Z, or leave it out"
        raise ValueError(f"{str(value)[:40]!r} {words}") from None


def write_time(seconds: float) -> str:
    """Seconds since the epoch as such a time."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
