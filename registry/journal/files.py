"""The files of a data directory, and what can be recovered from them, also when they are torn.

`snapshot-N.jsonl` holds everything before `journal-N.jsonl`; N grows with every snapshot. What cannot be
read is moved aside as `*.bad`, never deleted, and named in the report. A line that is not whole ends what is
read of its file; one that is whole and says nothing sensible is passed over alone, by its number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.journal.frames import Junk, Records
from registry.journal.private_files import open_file, read_file, write_new
from registry.journal.rows import index_from_json, row_from_json
from registry.journal.strays import drop_strays
from registry.store.state import Key, State

_NAME = re.compile(r"(snapshot|journal)-(\d+)\.jsonl")
VERSION = 1

SHOWN = 5
"""Records that are passed over are named with their reason up to this many; of the others, how many."""

MAX_FIRST_INDEX = 2**62
MAX_STEP = 2**32
"""An index starts at most there, and rises at most so far at once: none that we write is ever too large."""


@dataclass
class Recovery:
    """What came back: the state, the generation to go on with, and what was wrong."""

    state: State = field(default_factory=State)
    generation: int = 0
    records: int = 0
    problems: list[str] = field(default_factory=list)


def snapshot_path(directory: Path, generation: int) -> Path:
    """Everything before that generation's journal."""
    return directory / f"snapshot-{generation}.jsonl"


def journal_path(directory: Path, generation: int) -> Path:
    """The commits after that generation's snapshot."""
    return directory / f"journal-{generation}.jsonl"


def generations(directory: Path, kind: str) -> list[int]:
    """The generations of which there is such a file, in order."""
    names = (_NAME.fullmatch(name) for name in os.listdir(directory))
    return sorted(int(name[2]) for name in names if name and name[1] == kind)


def recover(directory: Path) -> Recovery:
    """Read what is there. The last whole snapshot counts, then every journal from its generation on."""
    found = Recovery()
    snapshots = generations(directory, "snapshot")
    base = 0
    for generation in reversed(snapshots):
        state = _read_snapshot(snapshot_path(directory, generation), found)
        if state is not None:
            found.state, base = state, generation
            break
    for generation in generations(directory, "journal"):
        if generation >= base and not _replay(journal_path(directory, generation), found):
            # What follows a hole may rest on what is lost in it.
            for later in generations(directory, "journal"):
                if later > generation:
                    path = journal_path(directory, later)
                    found.problems.append(
                        f"{path}: follows a damaged journal; kept as {_set_aside(path).name}"
                    )
            break
    found.problems += [f"{directory}: {words}" for words in _first(drop_strays(found.state))]
    found.generation = max([base, *generations(directory, "journal"), *snapshots], default=0)
    return found


def _read_snapshot(path: Path, found: Recovery) -> State | None:
    """The state of a snapshot; its good part when nothing older is left; None when it is no use."""
    records = Records(read_file(path))
    skipped = _Skipped()
    state = State()
    headed = whole = False
    for record in records:
        try:
            if "v" in _object(record):
                if record["v"] != VERSION:
                    raise ValueError(f"format {record['v']!r:.40}, this is {VERSION}")
                state.index, state.indexes = _head(record)
                headed = True
            elif "end" in record:
                whole = record["end"] == records.count
            else:
                _put(state, [_row(record.get("r"), state.index)])
            found.records += 1
        except ValueError as bad:
            skipped.add(records, bad)
    if headed and whole and not records.problem:
        skipped.keep(path, found)
        return state
    reason = records.problem or ("it has no end" if headed else "it has no head")
    older = [one for one in generations(path.parent, "snapshot") if snapshot_path(path.parent, one) != path]
    kept = _set_aside(path)
    found.problems.append(f"{path}: {reason}; kept as {kept.name}")
    if any(snapshot_path(path.parent, one).exists() for one in older) or not state.index:
        return None
    found.problems.append(f"{path}: {records.count} good records of it are used, there is no older snapshot")
    return state


def _replay(path: Path, found: Recovery) -> bool:
    """Apply the commits of a journal; False when it is damaged, and then its tail is set aside."""
    data = read_file(path)
    records = Records(data)
    skipped = _Skipped()
    state = found.state
    base = state.index
    for record in records:
        try:
            index = index_from_json(_object(record).get("i"))
            if index <= base:
                continue
            if not state.index < index <= state.index + MAX_STEP:
                raise ValueError(f"its index {index} does not follow {state.index}")
            _apply(state, index, record)
            found.records += 1
        except ValueError as bad:
            skipped.add(records, bad)
    tail = data[records.good :] if records.problem else b""
    skipped.keep(path, found, tail)
    if not records.problem:
        return True
    fd = open_file(path, os.O_WRONLY)
    os.ftruncate(fd, records.good)
    os.close(fd)
    kept = bad_path(path).name
    found.problems.append(f"{path}: {records.problem}; the {len(tail)} bytes from there are kept as {kept}")
    return False


def _apply(state: State, index: int, record: dict[str, Any]) -> None:
    """One commit; ValueError when something in it is none, and then nothing of it is done."""
    changes = record.get("c")
    if not isinstance(changes, list):
        raise ValueError("its changes are no list")
    rows = [_row(one, index) for one in changes]
    indexes = _indexes(record.get("x"), index)
    _put(state, rows)
    for name, value in indexes.items():
        if value is None:
            state.indexes.pop(name, None)
        else:
            state.indexes[name] = value
    state.index = index


def _head(record: dict[str, Any]) -> tuple[int, dict[str, int]]:
    index = index_from_json(record.get("i"))
    if index > MAX_FIRST_INDEX:
        raise ValueError(f"its index {index} is beyond all that are written")
    return index, {name: one for name, one in _indexes(record.get("x"), index).items() if one is not None}


def _indexes(value: Any, limit: int) -> dict[str, int | None]:
    if not isinstance(value, dict):
        raise ValueError("its indexes are no object")
    indexes = {name: None if one is None else index_from_json(one) for name, one in value.items()}
    if any(one is not None and one > limit for one in indexes.values()):
        raise ValueError("an index of it is beyond its own")
    return indexes


def _row(entry: Any, limit: int) -> tuple[str, Key, Any]:
    table, key, row = row_from_json(entry)
    newest = row if isinstance(row, int) else getattr(row, "modify_index", 0)
    if newest > limit:
        raise ValueError(f"{table}: a row is from index {newest}, beyond its own")
    return table, key, row


def _put(state: State, rows: Iterable[tuple[str, Key, Any]]) -> None:
    for table, key, row in rows:
        state.put(table, key, row)


def _object(record: Any) -> dict[str, Any]:
    if isinstance(record, Junk):
        raise ValueError(record.reason)
    if not isinstance(record, dict):
        raise ValueError("it is no object")
    return record


class _Skipped:
    """The records of one file that are passed over: what is said of them, and their lines."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._lines: list[bytes] = []

    def add(self, records: Records, reason: ValueError) -> None:
        """The one that was given last."""
        self._words.append(f"record {records.count + 1}: {reason}")
        self._lines.append(records.line)

    def keep(self, path: Path, found: Recovery, tail: bytes = b"") -> None:
        """Say it, and keep their lines, and the damaged `tail` of the file, beside it."""
        if self._lines or tail:
            write_new(bad_path(path), b"".join(self._lines) + tail)
        for words in _first(self._words):
            found.problems.append(f"{path}: {words}; passed over, kept in {bad_path(path).name}")


def _first(words: list[str]) -> list[str]:
    more = len(words) - SHOWN
    return words if more <= 0 else [*words[:SHOWN], f"{more} more"]


def bad_path(path: Path) -> Path:
    """Where what cannot be read of a file is kept."""
    return path.with_name(path.name + ".bad")


def _set_aside(path: Path) -> Path:
    return path.rename(bad_path(path))
