"""Durability: what was acknowledged comes back, from whole files and from broken ones."""

import asyncio
import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry.agent import Agent
from registry.journal import Journal, JournalError, recover
from registry.journal.files import generations, journal_path, snapshot_path
from registry.journal.frames import Records, pack, unpack
from registry.model import PASSING, Check, CheckDefinition, Node, Service, Session
from registry.store import State, Store, kv
from registry.store.catalog import ensure_check
from registry.store.sessions import create_session
from registry.store.state import TABLES
from tests.fakes.clock import FakeClock


def _picture(state: State) -> dict[str, object]:
    return {name: dict(state.table(name)) for name in TABLES} | {"i": state.index, "x": dict(state.indexes)}


def _fill(store: Store) -> None:
    """At least one row in every table, every field of each away from its default somewhere."""
    clock = FakeClock()
    agent = Agent(store, Node("n1", "127.0.0.1", "id", "dc1", {"lan": "1"}, {"a": "b"}), clock)
    agent.start(8500)
    check = CheckDefinition(
        http="http://x",
        interval=5,
        timeout=1,
        method="POST",
        body="b",
        header={"h": ("1", "2")},
        tls_skip_verify=True,
        success_before_passing=2,
        failures_before_critical=3,
        deregister_critical_after=90,
        notes="n",
    )
    service = Service(
        "n1",
        "w1",
        "web",
        "10.0.0.1",
        80,
        ("v1", "ü"),
        {"k": "v"},
        {"lan": {"Address": "a", "Port": 1}},
        3,
        2,
        True,
        {"Kind": "connect-proxy", "Proxy": {"DestinationServiceName": "x"}},
    )
    agent.register_service(
        service, [(check, ""), (CheckDefinition(ttl=5, status=PASSING), "")], replace_checks=False
    )
    agent.maintenance(True, "why", "w1")
    with store.write() as write:
        ensure_check(write, Check("n1", "ext", "ext", PASSING, type="x", definition={"Interval": "10s"}))
        kv.set_key(write, "bytes", bytes(range(256)), 2**63)
        kv.set_key(write, "empty", b"", 0)
        kv.set_key(write, "gone", b"x", 0)
    with store.write() as write:
        kv.delete_key(write, "gone")
        create_session(write, Session("s", "n1", "name", 1.5, "delete", 10, "10s", ("serfHealth",), ("ext",)))
        kv.acquire(write, "lock", b"v", 1, "s")


def _written(directory: Path) -> State:
    """A directory with a journal of a filled store, closed; the state it stands for."""
    journal = Journal(directory)
    _fill(Store(journal.state, journal.append))
    journal.close()
    return journal.state


def test_everything_comes_back(tmp_path: Path) -> None:
    state = _written(tmp_path)
    found = recover(tmp_path)
    assert found.problems == []
    assert _picture(found.state) == _picture(state)
    assert found.state.by_name == state.by_name
    assert found.state.sorted_keys == state.sorted_keys


async def test_everything_comes_back_from_a_snapshot_and_the_journal_after_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    store = Store(journal.state, journal.append)
    _fill(store)
    await journal.snapshot()
    with store.write() as write:
        kv.set_key(write, "later", b"x", 0)
        kv.delete_key(write, "bytes")
    journal.close()
    assert (generations(tmp_path, "snapshot"), generations(tmp_path, "journal")) == ([1], [1])
    found = recover(tmp_path)
    assert found.problems == []
    assert _picture(found.state) == _picture(journal.state)


async def test_a_write_during_a_snapshot_is_not_lost(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    store = Store(journal.state, journal.append)
    _fill(store)
    async with asyncio.TaskGroup() as group:
        snapshot = group.create_task(journal.snapshot())
        number = 0
        while not snapshot.done():
            with store.write() as write:
                kv.set_key(write, f"k{number}", b"x", 0)
            number += 1
            await asyncio.sleep(0)
    journal.close()
    assert number > 0
    assert _picture(recover(tmp_path).state) == _picture(journal.state)


def test_a_crash_before_the_snapshot_was_whole_falls_back_to_the_files_before(tmp_path: Path) -> None:
    state = _written(tmp_path)
    (tmp_path / "snapshot-1.new").write_bytes(b"half of it")
    journal_path(tmp_path, 1).write_bytes(b"")
    assert _picture(recover(tmp_path).state) == _picture(state)


def test_a_journal_cut_at_any_byte_gives_its_good_part(tmp_path: Path) -> None:
    """Every prefix of the file recovers to the state after some commit, never to half of one."""
    journal = Journal(tmp_path / "a")
    pictures = [_picture(State())]
    store = Store(journal.state, journal.append)
    store.on_commit(lambda commit: pictures.append(_picture(store.state)))
    _fill(store)
    journal.close()
    data = journal_path(tmp_path / "a", 0).read_bytes()
    cut = tmp_path / "b"
    for length in [*range(0, len(data), 37), len(data) - 1]:
        shutil.rmtree(cut, ignore_errors=True)
        cut.mkdir()
        journal_path(cut, 0).write_bytes(data[:length])
        found = recover(cut)
        whole = data[:length].count(b"\n")
        assert _picture(found.state) == pictures[whole], length
        assert bool(found.problems) == (not data[:length].endswith(b"\n") and length > 0)


def test_a_damaged_record_ends_the_good_part_and_the_rest_is_kept_aside(tmp_path: Path) -> None:
    _written(tmp_path)
    path = journal_path(tmp_path, 0)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"c"', b'"d"', 1)
    path.write_bytes(b"".join(lines))
    found = recover(tmp_path)
    assert len(found.problems) == 1
    assert "record 4" in found.problems[0]
    assert "checksum" in found.problems[0]
    assert found.state.index == 3
    assert path.with_name(path.name + ".bad").read_bytes() == b"".join(lines[3:])


@pytest.mark.parametrize(
    "record", [{}, {"i": 99}, {"i": 99, "c": [["nowhere", "k", 1]], "x": {}}, [], 5, None]
)
def test_a_record_of_another_make_is_damage_too(tmp_path: Path, record: object) -> None:
    _written(tmp_path)
    with journal_path(tmp_path, 0).open("ab") as file:
        file.write(pack(record))
    found = recover(tmp_path)
    assert len(found.problems) == 1
    assert found.state.index > 3


async def test_damage_is_dealt_with_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = _written(tmp_path)
    with journal_path(tmp_path, 0).open("ab") as file:
        file.write(b"torn")
    before = _picture(state)
    journal = Journal(tmp_path)
    journal.close()
    assert "record" in caplog.text
    assert _picture(journal.state) == before
    caplog.clear()
    again = Journal(tmp_path)
    again.close()
    assert caplog.text == ""
    assert _picture(again.state) == before


async def _with_snapshots(directory: Path) -> State:
    journal = Journal(directory)
    _fill(Store(journal.state, journal.append))
    await journal.snapshot()
    journal.close()
    return journal.state


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data.replace(b"10.0.0.1", b"10.0.0.2", 1),
    ],
)
async def test_a_damaged_only_snapshot_gives_its_good_rows(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    state = await _with_snapshots(tmp_path)
    path = snapshot_path(tmp_path, 1)
    path.write_bytes(damage(path.read_bytes()))
    found = recover(tmp_path)
    assert found.problems
    assert found.state.index == state.index
    assert found.state.nodes == state.nodes
    assert path.with_name(path.name + ".bad").exists()


async def test_a_snapshot_without_a_head_is_no_use(tmp_path: Path) -> None:
    await _with_snapshots(tmp_path)
    snapshot_path(tmp_path, 1).write_bytes(b"garbage")
    found = recover(tmp_path)
    assert found.problems
    assert found.state.index == 0


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - a file appears without telling
        await asyncio.sleep(0.01)


async def test_a_long_journal_is_shortened_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.journal.journal.FSYNC_EVERY", 0.01)
    journal = Journal(tmp_path, snapshot_bytes=10_000)
    store = Store(journal.state, journal.append)
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(journal.keep_up())
        for number in range(300):
            with store.write() as write:
                kv.set_key(write, "k", b"%d" % number, 0)
        await _until(lambda: generations(tmp_path, "journal") == [1] == generations(tmp_path, "snapshot"))
        keeping.cancel()
    journal.close()
    assert sum(path.stat().st_size for path in list(tmp_path.iterdir())) < 10_000  # noqa: ASYNC240
    assert recover(tmp_path).state.kvs["k"].value == b"299"


async def test_a_record_older_than_the_snapshot_is_passed_over(tmp_path: Path) -> None:
    state = await _with_snapshots(tmp_path)
    path = journal_path(tmp_path, 1)
    path.write_bytes(pack({"i": 1, "c": [["kvs", "bytes", None]], "x": {"kvs": 1}}))
    found = recover(tmp_path)
    assert found.problems == []
    assert _picture(found.state) == _picture(state)


def test_a_full_disk_refuses_the_write_and_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    store = Store(journal.state, journal.append)
    with store.write() as write:
        kv.set_key(write, "a", b"1", 0)
    before = _picture(store.state)
    real_write = os.write

    def half(fd: int, data: bytes) -> int:
        return real_write(fd, data[: len(data) // 2])

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for broken in (half, full):
        monkeypatch.setattr(os, "write", broken)
        with pytest.raises(JournalError, match="could not be kept") as refused, store.write() as write:
            kv.set_key(write, "a", b"2", 0)
        assert refused.value.status == 500
        monkeypatch.undo()
        assert _picture(store.state) == before
    with store.write() as write:
        kv.set_key(write, "b", b"3", 0)
    journal.close()
    found = recover(tmp_path)
    assert found.problems == []
    assert _picture(found.state) == _picture(store.state)


def test_one_registry_per_directory(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(JournalError, match="in use by another registry"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_a_directory_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot use"):
        Journal(tmp_path / "file")


def test_a_frame_shows_every_change_of_a_byte() -> None:
    line = pack({"a": [1, "ü\n"]})
    assert unpack(line) == {"a": [1, "ü\n"]}
    for position in range(len(line)):
        changed = bytearray(line)
        changed[position] ^= 1
        with pytest.raises(ValueError, match=r"cut off|checksum"):
            unpack(bytes(changed))
    records = Records(line + line[:-3])
    assert list(records) == [{"a": [1, "ü\n"]}]
    assert (records.good, records.count, records.problem) == (
        len(line),
        1,
        f"record 2 at byte {len(line)}: cut off",
    )


def test_rows_do_not_share_what_may_change(tmp_path: Path) -> None:
    """A replaced row in the state leaves the file's copy alone."""
    journal = Journal(tmp_path)
    store = Store(journal.state, journal.append)
    _fill(store)
    service = store.state.services["n1", "w1"]
    store.state.services["n1", "w1"] = replace(service, port=1)
    journal.close()
    assert recover(tmp_path).state.services["n1", "w1"] == service
