"""What the access log says of answers that are the sidecar's own, and of requests that it cut."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.observe.access_log import AccessLog
from tests.fakes.upstream import Peer, ScriptedUpstream, replies

from .harness import Rig, Truncated, clock, until
from .test_routes import FAIL, GET, service

HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all of it"


class Records:
    """An access log, read again."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "access.log"
        self.log = AccessLog(str(self._path), clock, time.time)  # noqa: TID251 - only written down

    def read(self) -> list[dict[str, Any]]:
        self.log.flush()
        return [json.loads(line) for line in self._path.read_text().splitlines()]


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    made = Records(tmp_path)
    yield made
    made.log.close()


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    ("host", "policies", "answer", "flag"),
    [
        (b"nobody", "", FAIL, "NC"),
        (b"svc", service("{directResponse: {status: 418, body: {string: short and stout}}}"), FAIL, "-"),
        (b"svc", "", HALF, "UC"),
    ],
    ids=["no service", "a route's answer", "after half of another's"],
)
async def test_our_own_answers_have_their_size(
    records: Records, method: bytes, host: bytes, policies: str, answer: bytes, flag: str
) -> None:
    """Of the body that was sent: none for HEAD, and nothing of what the endpoint had begun to say."""

    async def half(peer: Peer) -> None:
        await peer.request()
        peer.send(answer if method == b"GET" else b"")

    async with (
        ScriptedUpstream(half) as up,
        Rig({"svc": [up.address]}, policies=policies, access_log=records.log) as rig,
    ):
        got = await rig.ask(b"%b / HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, host))
        await rig.settled()
    (line,) = records.read()
    assert (line["response_code"], line["response_flags"]) == (got.status, flag)
    assert line["bytes_sent"] == len(got.body)
    assert bool(got.body) == (method == b"GET")


async def test_one_connection_too_many_is_told_as_that(records: Records) -> None:
    """UO, as the client was told, and not as if it had broken the protocol."""
    async with (
        ScriptedUpstream(replies(FAIL)) as up,
        Rig({"svc": [up.address]}, listener={"max_connections": 1}, access_log=records.log) as rig,
    ):
        await rig.connect()
        await until(lambda: rig.listeners["outbound"].connections == 1)
        answer = await (await rig.connect()).answer()
        assert answer["x-mesh-reason"] == "UO: too many connections"
    (line,) = records.read()
    assert (line["response_code"], line["response_flags"]) == (503, "UO")
    assert line["bytes_sent"] == len(answer.body)


@pytest.mark.parametrize("begun", [False, True], ids=["before the answer", "in the middle of it"])
async def test_what_a_drain_cuts_was_not_the_clients_doing(records: Records, begun: bool) -> None:
    """LR with 503, also to the client if its answer has not begun; else that is cut."""
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nnot all of it"

    async def never_done(peer: Peer) -> None:
        await peer.request()
        peer.send(long if begun else b"")
        await peer.gone()

    async with ScriptedUpstream(never_done) as up, Rig({"svc": [up.address]}, access_log=records.log) as rig:
        client = await rig.connect()
        await client.send(GET)
        await until(lambda: bool(up.heads))
        if begun:
            await client.reader.readuntil(b"not all of it")
        rig.outbound.draining = True
        listener = rig.listeners["outbound"]
        listener.stop_accepting()
        assert await listener.drained(0.05) == (0, 1)
        if begun:
            with pytest.raises(ConnectionResetError):
                await client.reader.read()
        else:
            answer = await client.answer()
            assert (answer.status, answer["x-mesh-reason"]) == (503, "LR: a drain gave it no more time")
            assert answer["connection"] == "close"
        await rig.settled()
    (line,) = records.read()
    assert (line["response_code"], line["response_flags"]) == (200 if begun else 503, "LR")
    assert line["response_code_details"] == "a drain gave it no more time"


async def test_who_leaves_is_still_told_as_gone(records: Records) -> None:
    """499 and DC: that is the client's doing."""

    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with ScriptedUpstream(silent) as up, Rig({"svc": [up.address]}, access_log=records.log) as rig:
        client = await rig.connect()
        await client.send(GET)
        await until(lambda: bool(up.peers))
        client.abort()
        await rig.settled()
        with pytest.raises((Truncated, ConnectionError)):
            await client.answer()
    (line,) = records.read()
    assert (line["response_code"], line["response_flags"]) == (499, "DC")
