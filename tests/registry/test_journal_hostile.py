"""Records with valid checksums that we never wrote are passed over by number, and nothing fails by them."""

import copy
import json
import logging
import os
import random
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from registry.journal import Journal, JournalError, recover
from registry.journal.files import SHOWN, journal_path, snapshot_path
from registry.journal.frames import pack
from registry.server import Options, Server
from registry.store import Store
from registry.store.documents import CONFIG, INTENTION, QUERY, put_document
from tests.fakes.clock import FakeClock
from tests.registry.test_journal import _fill, _picture

SEEDS = range(4)
EACH = 25

# In place of anything: every type of JSON, ends of ranges, and what only looks like text.
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**32,
        2**63,
        10**30,
        1.5,
        1e308,
        "",
        "x",
        "\x00",
        "\ud800",
        "é",
        "9" * 5000,
    ),
    *([], [[]], ["x"], [1], {}, {"a": 1}, {"a": None}, {"": []}),
]

# Each reads another part of what was recovered.
PATHS = [
    "catalog/nodes",
    "catalog/services",
    "catalog/service/web",
    "catalog/node/n1",
    "catalog/node-services/n1",
    "health/node/n1",
    "health/service/web",
    "health/checks/web",
    "health/state/any",
    "agent/services",
    "agent/checks",
    "agent/self",
    "agent/service/w1",
    "agent/health/service/name/web",
    "kv/?recurse",
    "kv/bytes",
    "kv/?keys",
    "session/list",
    "session/node/n1",
    "query",
    "query/by-name/execute",
    "connect/intentions",
    "config/service-defaults",
    "operator/autopilot/configuration",
    "discovery-chain/web",
]


def _records(directory: Path) -> list[Any]:
    """One of each kind, as they are written."""
    journal = Journal(directory)
    store = Store(journal.state, journal.append)
    _fill(store)
    with store.write() as write:
        service = {"Service": "web", "Near": "", "OnlyPassing": False, "Connect": False}
        put_document(
            write,
            QUERY,
            "0" * 36,
            {
                "Name": "by-name",
                "Session": "",
                "Template": {"Type": ""},
                "Service": service,
                "DNS": {"TTL": "5s"},
            },
        )
        put_document(write, INTENTION, "a b", {"SourceName": "a", "DestinationName": "b", "Action": "allow"})
        put_document(write, CONFIG + "service-defaults", "web", {"Protocol": "http"})
    journal.close()
    return [json.loads(line[9:]) for line in journal_path(directory, 0).read_bytes().splitlines()]


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    steps = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for step in steps:
        yield from _places(value[step], (*place, step))


def _with(record: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    record = copy.deepcopy(record)
    inner = record
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return record


def _mutated(records: list[Any], rng: random.Random) -> list[Any]:
    records = copy.deepcopy(records)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(records))
        place = rng.choice(list(_places(records[at])))
        changed = _with(records[at], place, copy.deepcopy(rng.choice([*VALUES, *records])))
        match rng.randrange(6):
            case 0:
                records.insert(at, changed)
            case 1:
                records.pop(at)
            case _:
                records[at] = changed
    return records


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_journal_prevents_the_start_nor_fails_later(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Each mutated journal starts, ticks, answers every question, and starts again without a word."""
    caplog.set_level(logging.WARNING)
    rng = random.Random(seed)
    records = _records(tmp_path / "whole")
    async with aiohttp.ClientSession() as session:
        for number in range(EACH):
            directory = tmp_path / str(number)
            directory.mkdir()
            lines = [pack(record) for record in _mutated(records, rng)]
            journal_path(directory, 0).write_bytes(b"".join(lines))
            clock = FakeClock()
            journal = Journal(directory)
            caplog.clear()  # of what was passed over
            server = Server(Options(port=0, node="n1"), journal=journal, clock=clock, rng=rng)
            async with server.running():
                for _ in range(3):
                    clock.advance(61)
                    server.tick()
                for path in PATHS:
                    async with session.get(f"http://{server.address}/v1/{path}") as answer:
                        assert answer.status in (200, 404, 429, 503), (path, await answer.text(), lines)
            again = Journal(directory)
            again.close()
            assert again.recovered.problems == []
            assert caplog.text == ""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[" * 100_000, "record 5: maximum recursion depth exceeded"),
        (b'{"i":' + b"9" * 5000 + b"}", "record 5: Exceeds the limit"),
        (b'{"i":NaN,"c":[],"x":{}}', "record 5: NaN is no number"),
        (b"\xff\xfe", "record 5: 'utf-8' codec can't decode"),
        (b"not json", "record 5: Expecting value"),
        (b"5", "record 5: it is no object"),
        (b'{"i":1e3,"c":[],"x":{}}', "record 5: an index is no whole number from 0 on"),
        (b'{"i":true,"c":[],"x":{}}', "record 5: an index is no whole number from 0 on"),
        (b'{"i":3,"c":[],"x":{}}', "record 5: its index 3 does not follow 4"),
        (
            b'{"i":9000000000000000000,"c":[],"x":{}}',
            "record 5: its index 9000000000000000000 does not follow 4",
        ),
        (b'{"i":5,"c":{},"x":{}}', "record 5: its changes are no list"),
        (b'{"i":5,"c":[],"x":[]}', "record 5: its indexes are no object"),
        (b'{"i":5,"c":[],"x":{"kvs":6}}', "record 5: an index of it is beyond its own"),
        (b'{"i":5,"c":[["nodes",["a"],null]],"x":{}}', "record 5: nodes: the key is no name"),
        (b'{"i":5,"c":[["services","a",null]],"x":{}}', "record 5: services: the key is no pair of names"),
        (
            b'{"i":5,"c":[["kvs","a",{"key":"b","value":""}]],"x":{}}',
            "record 5: kvs: the key is another row's",
        ),
        (b'{"i":5,"c":[["kvs","a",{"key":"a"}]],"x":{}}', "record 5: KVEntry has no value"),
        (
            b'{"i":5,"c":[["kvs","a",{"key":"a","value":"","__class__":1}]],"x":{}}',
            "record 5: KVEntry has no field",
        ),
        (b'{"i":5,"c":[["kvs","a",{"key":"a","value":"%"}]],"x":{}}', "record 5: KVEntry.value: "),
        (
            b'{"i":5,"c":[["kvs","a",{"key":"a","value":"","modify_index":7}]],"x":{}}',
            "record 5: kvs: a row is from",
        ),
        (b'{"i":5,"c":[["nodes","n9",{"name":"n9","address":5}]],"x":{}}', "record 5: Node.address: no text"),
        (
            b'{"i":5,"c":[["sessions","s",{"id":"s","node":"n","ttl":1e99}]],"x":{}}',
            "record 5: Session.ttl: ",
        ),
    ],
)
def test_a_hand_made_record_is_passed_over_with_its_number(tmp_path: Path, body: bytes, words: str) -> None:
    """What comes before and after it counts; its line is kept aside, and nothing of it is done."""
    journal = Journal(tmp_path)
    store = Store(journal.state, journal.append)
    for number in range(5):
        with store.write() as write:
            put_document(write, CONFIG + "x", f"d{number}", {})
    journal.close()
    path = journal_path(tmp_path, 0)
    lines = path.read_bytes().splitlines(keepends=True)
    evil = b"%08x %s\n" % (zlib.crc32(body), body)
    path.write_bytes(b"".join([*lines[:4], evil, lines[4]]))
    found = recover(tmp_path)
    assert len(found.problems) == 1
    assert found.problems[0].startswith(f"{path}: {words}")
    assert found.problems[0].endswith(f"; passed over, kept in {path.name}.bad")
    assert _picture(found.state) == _picture(journal.state)
    assert path.with_name(path.name + ".bad").read_bytes() == evil


def test_of_many_such_records_the_first_are_named(tmp_path: Path) -> None:
    """The others are a number, so that a hostile file is no log without end."""
    journal_path(tmp_path, 0).write_bytes(pack(5) * 1000)
    problems = recover(tmp_path).problems
    assert len(problems) == SHOWN + 1
    assert problems[-1].endswith(f": {1000 - SHOWN} more; passed over, kept in journal-0.jsonl.bad")


async def test_a_row_of_a_snapshot_is_passed_over_too(tmp_path: Path) -> None:
    """The others of the snapshot count."""
    journal = Journal(tmp_path)
    _fill(Store(journal.state, journal.append))
    await journal.snapshot()
    journal.close()
    path = snapshot_path(tmp_path, 1)
    lines = path.read_bytes().splitlines(keepends=True)
    evil = pack({"r": ["kvs", "z", {"key": "z", "value": 5}]})
    end = pack({"end": len(lines)})
    path.write_bytes(b"".join([*lines[:3], evil, *lines[3:-1], end]))
    found = recover(tmp_path)
    assert found.problems == [
        f"{path}: record 4: KVEntry.value: no text; passed over, kept in {path.name}.bad"
    ]
    assert _picture(found.state) == _picture(journal.state)


def test_what_lost_its_node_is_dropped_and_a_lock_without_holder_is_free(tmp_path: Path) -> None:
    """Every reader takes for granted that it is there."""
    records = _records(tmp_path / "whole")
    gone = ("nodes", "sessions", "checks")
    rows = [row for record in records for row in record["c"] if row[0] not in gone]
    journal_path(tmp_path, 0).write_bytes(pack({"i": 50, "c": rows, "x": {}}))
    found = recover(tmp_path)
    assert found.state.services == {}
    assert found.state.kvs["lock"].session == ""
    assert len(found.state.local_services) == 1  # the agent's own, which it puts there again
    assert found.problems == [
        f"{tmp_path}: services ('n1', 'consul') has no node 'n1', and is dropped",
        f"{tmp_path}: services ('n1', 'w1') has no node 'n1', and is dropped",
        f"{tmp_path}: the lock on 'lock' is free: there is no session 's'",
    ]


@pytest.mark.parametrize("name", ["journal-0.jsonl", "snapshot-3.jsonl", "lock"])
@pytest.mark.parametrize("kind", ["link", "second name", "pipe"])
def test_a_planted_file_is_refused_and_what_it_leads_to_is_untouched(
    tmp_path: Path, name: str, kind: str
) -> None:
    """A link would have another file cut off as a damaged journal."""
    victim, directory = tmp_path / "victim", tmp_path / "data"
    victim.write_text("precious\n")
    directory.mkdir()
    if kind == "link":
        (directory / name).symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(directory / name)
    else:
        (directory / name).hardlink_to(victim)
    with pytest.raises(
        JournalError, match=f"{name} is (a link|no file, or has another name elsewhere too): remove it"
    ):
        Journal(directory)
    assert victim.read_text() == "precious\n"


def test_a_link_that_comes_after_the_look_is_not_followed_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look is for the words; the open itself decides."""
    victim, directory = tmp_path / "victim", tmp_path / "data"
    victim.write_text("precious\n")
    directory.mkdir()
    journal_path(directory, 0).symlink_to(victim)
    monkeypatch.setattr(Path, "is_symlink", lambda self: False)
    with pytest.raises(JournalError, match=r"journal-0\.jsonl"):
        Journal(directory)
    assert victim.read_text() == "precious\n"


def test_what_is_written_anew_is_not_written_through_a_link(tmp_path: Path) -> None:
    """A snapshot that is not whole yet, and what is kept aside."""
    victim, directory = tmp_path / "victim", tmp_path / "data"
    victim.write_text("precious\n")
    directory.mkdir()
    journal_path(directory, 0).write_bytes(pack(5) + b"torn")
    (directory / "journal-0.jsonl.bad").symlink_to(victim)
    (directory / "snapshot-1.new").symlink_to(victim)
    Journal(directory).close()
    assert victim.read_text() == "precious\n"
    assert (directory / "journal-0.jsonl.bad").read_bytes() == pack(5) + b"torn"


async def test_its_files_are_for_nobody_else_whatever_the_umask(tmp_path: Path) -> None:
    """So is a folder that it makes."""
    before = os.umask(0)
    try:
        journal = Journal(tmp_path / ".mesh" / "registry")
        _fill(Store(journal.state, journal.append))
        await journal.snapshot()
        journal.close()
    finally:
        os.umask(before)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.rglob("*")}  # noqa: ASYNC240
    assert modes == {
        ".mesh": 0o700,
        "registry": 0o700,
        "journal-1.jsonl": 0o600,
        "snapshot-1.jsonl": 0o600,
        "lock": 0o600,
    }


@pytest.mark.parametrize("which", [".mesh", ".mesh/registry"])
def test_the_folder_of_a_mesh_must_be_ours(
    tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may not write in it, it is no link, and its owner runs this; another one is a choice."""
    place = tmp_path / which
    place.mkdir(parents=True)
    place.chmod(0o777)
    directory = tmp_path / ".mesh" / "registry"
    with pytest.raises(
        JournalError, match=r"is not yours, or others may write in it: move it away, or use --data"
    ):
        Journal(directory)
    place.chmod(0o755)
    Journal(directory).close()
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    other = tmp_path / "other"
    place.rename(other)
    other.chmod(0o777)
    Journal(other).close()
    place.symlink_to(other)
    with pytest.raises(JournalError, match="is a link: remove it"):
        Journal(directory)
    place.unlink()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(JournalError, match="is not yours"):
        Journal(directory)
