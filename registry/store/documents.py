"""What Consul keeps for parts that are not here: prepared queries, config entries, intentions, coordinates.

They are stored, listed and read back with their indexes; who acts on one says so where it does.
Index names: "documents/FAMILY", where every kind of config entry counts to one family.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from registry.model import Document
from registry.store.state import State, Write

QUERY: Final = "query"
CONFIG: Final = "config/"
INTENTION: Final = "intention"
COORDINATE: Final = "coordinate"
AUTOPILOT: Final = "autopilot"


def index_name(family: str) -> str:
    """The index, and the topic, of a family."""
    return f"documents/{family.partition('/')[0]}"


def put_document(write: Write, family: str, name: str, body: Mapping[str, Any]) -> Document:
    """Write one, new or over the old one; a write of the same takes an index too, as in Consul."""
    old = write.state.documents.get((family, name))
    created = old.create_index if old else write.index
    document = Document(family, name, body, created, write.index)
    write.put("documents", (family, name), document)
    write.touch(index_name(family))
    return document


def delete_document(write: Write, family: str, name: str) -> bool:
    """Remove one; False when there was none."""
    if (family, name) not in write.state.documents:
        return False
    write.put("documents", (family, name), None)
    write.touch(index_name(family))
    return True


def at_index(state: State, family: str, name: str, index: int) -> bool:
    """Whether it was last written at this index; 0 = it must not be there: what `cas` asks."""
    document = state.documents.get((family, name))
    return (document.modify_index if document else 0) == index


def documents(state: State, family: str) -> list[Document]:
    """All of one family, by name."""
    found = [document for (of, _), document in state.documents.items() if of == family]
    return sorted(found, key=lambda document: document.name)
