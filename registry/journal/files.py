"""The files of a data directory, and what can be recovered from them, also when they are torn.

`snapshot-N.jsonl` holds everything before `journal-N.jsonl`; N grows with every snapshot. What cannot be
read is moved aside as `*.bad`, never deleted, and named in the report.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.journal.frames import Records
from registry.journal.rows import from_json, key_from_json
from registry.store.state import TABLES, State

_NAME = re.compile(r"(snapshot|journal)-(\d+)\.jsonl")
VERSION = 1


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
    found.generation = max([base, *generations(directory, "journal"), *snapshots], default=0)
    return found


def _read_snapshot(path: Path, found: Recovery) -> State | None:
    """The state of a snapshot; its good part when nothing older is left; None when it is no use."""
    records = Records(path.read_bytes())
    state = State()
    whole = False
    try:
        for record in records:
            if "v" in record:
                if record["v"] != VERSION:
                    raise ValueError(f"format {record['v']}, this is {VERSION}")
                state.index, state.indexes = record["i"], record["x"]
            elif "end" in record:
                whole = record["end"] == records.count
            else:
                _put(state, record["r"])
            found.records += 1
    except (KeyError, TypeError, ValueError, IndexError) as bad:
        records.problem = f"record {records.count + 1}: {bad!r}"
    if whole and not records.problem:
        return state
    reason = records.problem or "it has no end"
    older = [one for one in generations(path.parent, "snapshot") if snapshot_path(path.parent, one) != path]
    kept = _set_aside(path)
    found.problems.append(f"{path}: {reason}; kept as {kept.name}")
    if any(snapshot_path(path.parent, one).exists() for one in older) or not state.index:
        return None
    found.problems.append(f"{path}: {records.count} good records of it are used, there is no older snapshot")
    return state


def _replay(path: Path, found: Recovery) -> bool:
    """Apply the commits of a journal; False when it is damaged, and then its tail is set aside."""
    data = path.read_bytes()
    records = Records(data)
    state = found.state
    try:
        for record in records:
            if record["i"] <= state.index:
                continue
            for row in record["c"]:
                _put(state, row)
            for name, index in record["x"].items():
                if index is None:
                    state.indexes.pop(name, None)
                else:
                    state.indexes[name] = index
            state.index = record["i"]
            found.records += 1
    except (KeyError, TypeError, ValueError, IndexError) as bad:
        records.problem = f"record {records.count + 1}: {bad!r}"
    if not records.problem:
        return True
    tail = path.with_name(path.name + ".bad")
    tail.write_bytes(data[records.good :])
    os.truncate(path, records.good)
    lost = len(data) - records.good
    found.problems.append(f"{path}: {records.problem}; the {lost} bytes from there are kept as {tail.name}")
    return False


def _put(state: State, row: list[Any]) -> None:
    table, key, value = row
    if table not in TABLES:
        raise ValueError(f"no table {table!r}")
    state.put(table, key_from_json(key), from_json(table, value))


def _set_aside(path: Path) -> Path:
    kept = path.with_name(path.name + ".bad")
    path.rename(kept)
    return kept
