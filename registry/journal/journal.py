"""Writing: one line per commit before it is acknowledged, and a snapshot when the journal grows long."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from registry.errors import RegistryError
from registry.journal.files import VERSION, Recovery, generations, journal_path, recover, snapshot_path
from registry.journal.frames import pack
from registry.journal.private_files import make_directory, open_file
from registry.journal.rows import key_to_json, to_json
from registry.store import Commit, State
from registry.store.state import TABLES

log = logging.getLogger("registry.journal")

FSYNC_EVERY: Final = 1.0
"""Seconds at most until a write is on the disk itself; see the package's docstring for the policy."""

SNAPSHOT_BYTES: Final = 8 * 1024 * 1024
"""A journal longer than this, and than the last snapshot, is replaced by a new one: recovery then
reads at most about twice the live data."""


class JournalError(RegistryError):
    """The data directory cannot be used, or a write could not be kept; status 500."""


class Journal:
    """The open files of one data directory. `recovered` is what it held; `append` keeps a commit."""

    def __init__(self, directory: Path, *, snapshot_bytes: int = SNAPSHOT_BYTES) -> None:
        self._directory = directory
        self._snapshot_bytes = snapshot_bytes
        self._snapshot_size = 0
        self._size = 0
        self._dirty = False
        self._fd = -1
        self._lock = self._take_lock()
        try:
            self.recovered: Recovery = recover(directory)
            for problem in self.recovered.problems:
                log.warning("recovery: %s", problem)
            self.state: State = self.recovered.state
            self._generation = self.recovered.generation
            self._open()
            if self.recovered.problems:
                # What was good is written down anew, so that the damage is dealt with once.
                self._begin_generation()
                self._write_snapshot(
                    self._generation, list(_rows(self.state)), self.state.index, dict(self.state.indexes)
                )
        except OSError as bad:
            self.close()
            raise JournalError(f"cannot use the registry's data in {directory}: {bad}") from bad

    def _take_lock(self) -> int:
        try:
            make_directory(self._directory)
            lock = open_file(self._directory / "lock", os.O_RDWR | os.O_CREAT)
        except OSError as bad:
            raise JournalError(f"cannot use {self._directory} for the registry's data: {bad}") from bad
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as bad:
            os.close(lock)
            raise JournalError(f"{self._directory} is in use by another registry") from bad
        return lock

    def _open(self) -> None:
        path = journal_path(self._directory, self._generation)
        self._fd = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._size = os.fstat(self._fd).st_size

    def append(self, commit: Commit) -> None:
        """Hand one commit to the operating system; JournalError when it does not take it whole."""
        changes = [[one.table, key_to_json(one.key), to_json(one.new)] for one in commit.changes]
        line = pack({"i": commit.index, "c": changes, "x": commit.indexes})
        try:
            written = os.write(self._fd, line)
            if written != len(line):
                raise OSError(f"only {written} of {len(line)} bytes were taken")
        except OSError as bad:
            # Half a record must not stand before the next whole one.
            os.ftruncate(self._fd, self._size)
            raise JournalError(f"the write could not be kept: {bad}", status=500) from bad
        self._size += len(line)
        self._dirty = True

    async def keep_up(self) -> None:
        """Sync and shorten, for ever; the work of a task. Disk work happens in a thread."""
        while True:
            await asyncio.sleep(FSYNC_EVERY)
            try:
                await self._sync()
                if self._size > max(self._snapshot_bytes, self._snapshot_size):
                    await self.snapshot()
            except OSError as bad:
                log.error("the journal in %s: %s", self._directory, bad)

    async def _sync(self) -> None:
        if self._dirty:
            self._dirty = False
            await asyncio.to_thread(os.fsync, self._fd)

    async def snapshot(self) -> None:
        """Write everything down in one file and begin a new journal.

        Rows are frozen, so a list of them is a consistent picture however long the writing takes.
        """
        rows = list(_rows(self.state))
        index, indexes = self.state.index, dict(self.state.indexes)
        self._begin_generation()
        await asyncio.to_thread(self._write_snapshot, self._generation, rows, index, indexes)

    def _begin_generation(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)
        self._generation += 1
        self._open()
        self._dirty = True

    def _write_snapshot(
        self, generation: int, rows: list[list[Any]], index: int, indexes: dict[str, int]
    ) -> None:
        path = snapshot_path(self._directory, generation)
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(pack({"v": VERSION, "i": index, "x": indexes}))
            for table, key, row in rows:
                file.write(pack({"r": [table, key_to_json(key), to_json(row)]}))
            file.write(pack({"end": len(rows) + 1}))
            file.flush()
            os.fsync(file.fileno())
            self._snapshot_size = file.tell()
        temporary.replace(path)
        _sync_directory(self._directory)
        for kind, name in (("snapshot", snapshot_path), ("journal", journal_path)):
            for old in generations(self._directory, kind):
                if old < generation:
                    name(self._directory, old).unlink()

    def close(self) -> None:
        """Sync and close; the directory is free again."""
        if self._fd >= 0:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _rows(state: State) -> Iterator[list[Any]]:
    for table in TABLES:
        for key, row in state.table(table).items():
            yield [table, key, row]


def _sync_directory(directory: Path) -> None:
    """Make a rename last; not every file system lets a directory be synced."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError:
        log.debug("no fsync of %s", directory)
    finally:
        os.close(fd)
