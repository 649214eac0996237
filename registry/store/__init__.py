"""The pure state of the registry: tables, indexes and the writes on them. No loop, socket or clock.

`state.py` holds rows and the one growing index; a `Write` collects changes and either commits or
rolls back whole. `catalog.py`, `kv.py`, `sessions.py` and `txn.py` are the operations on it.
`store.py` is the door that tells listeners (journal, watchers) of each commit.
"""

from registry.store.state import Change, Commit, State, Write
from registry.store.store import Store

__all__ = ["Change", "Commit", "State", "Store", "Write"]
