"""The one door for writes: a transaction that commits when its block ends and rolls back when it raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from registry.store.state import Commit, State, Write


class Store:
    """State plus what happens on each commit (the journal first, then the watchers)."""

    def __init__(self, state: State | None = None, keep: Callable[[Commit], None] | None = None) -> None:
        """`keep` makes a commit durable; when it raises, the commit did not happen."""
        self.state = state or State()
        self._keep = keep
        self._listeners: list[Callable[[Commit], None]] = []

    def on_commit(self, listener: Callable[[Commit], None]) -> None:
        """Called in order of registration, synchronously, for every commit."""
        self._listeners.append(listener)

    @contextmanager
    def write(self) -> Iterator[Write]:
        """One transaction; an exception inside leaves no trace. StateFull when there is no room for it."""
        write = Write(self.state)
        try:
            yield write
            write.check_room()
        except BaseException:
            write.rollback()
            raise
        commit = write.commit()
        if commit is not None:
            if self._keep is not None:
                try:
                    self._keep(commit)
                except BaseException:
                    write.rollback()
                    raise
            for listener in self._listeners:
                listener(commit)
