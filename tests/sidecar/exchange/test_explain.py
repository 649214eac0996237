"""Every kept exchange says why it went as it did; what is kept is bounded."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest

from sidecar.observe.access_log import AccessLog
from sidecar.observe.explain import PER_SECOND, RING, RING_BYTES, SAMPLE, Explain
from sidecar.observe.lengths import AUTHORITY, PATH, WORDS
from tests.fakes.upstream import OK, ScriptedUpstream, replies

from .harness import Rig

FAIL = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
CLOCKS = time.monotonic, time.time  # noqa: TID251 - the rig runs on real sockets
GET = b"GET /x?y HTTP/1.1\r\nHost: svc\r\n"
TRACED = GET + b"traceparent: 00-" + TRACE + b"-00f067aa0ba902b7-01\r\nx-request-id: r-1\r\n\r\n"


async def test_a_rescued_request_tells_its_story() -> None:
    """The first endpoint's failure, the second's answer, and how the endpoints stood."""
    async with (
        ScriptedUpstream(replies(FAIL)) as bad,
        ScriptedUpstream(replies(OK)) as good,
        Rig({"svc": [bad.address, good.address]}) as rig,
    ):
        while not bad.heads:
            assert (await rig.ask(TRACED)).status == 200
        story = rig.explain.find(TRACE.decode())[0]
        assert rig.explain.find("f" * 32) == []
    assert (story["kept"], story["status"], story["flag"], story["upstream"]) == ("retried", 200, "-", "svc")
    assert (story["method"], story["path"], story["host"], story["request_id"]) == (
        "GET",
        "/x?y",
        "svc",
        "r-1",
    )
    assert (story["route"], story["policy_version"]) == ("default/svc", "0123456789ab")
    first, second = story["attempts"]
    assert (first["endpoint"], first["status"], first["outcome"]) == ("svc-1", 500, "app_failure")
    assert (second["endpoint"], second["status"], second["outcome"]) == ("svc-2", 200, "success")
    assert second["reason"] == "URX: svc-1: answered 500"
    assert 0 <= first["start_ms"] <= second["start_ms"] <= story["duration_ms"]
    assert 0 < story["remaining_ms"] < story["limit_ms"] == 5000
    assert {row["endpoint"]: row["breaker"] for row in story["candidates"]} == {
        "svc-1": "closed",
        "svc-2": "closed",
    }
    assert story["budget"]["tokens"] < story["budget"]["max"]


async def test_a_refusal_without_any_attempt_is_explained_too() -> None:
    async with Rig({}) as rig:
        await rig.ask(TRACED)
        (story,) = rig.explain.find()
    assert (story["kept"], story["flag"], story["attempts"], story["budget"]) == ("failed", "NC", [], None)
    assert "no service is named 'svc'" in story["detail"]


async def test_a_sample_of_ordinary_requests_is_kept() -> None:
    """One in SAMPLE, so that also what went well can be looked at."""
    async with ScriptedUpstream(replies(OK)) as up, Rig({"svc": [up.address]}) as rig:
        client = await rig.connect()
        for _ in range(2 * SAMPLE):
            await client.send(GET + b"\r\n")
            await client.answer()
        kinds = [story["kept"] for story in rig.explain.find()]
    assert kinds.count("sample") in (1, 2)  # a slow one among them is kept as such, and not counted here


async def test_a_storm_of_failures_does_not_cost_a_story_each() -> None:
    """At most PER_SECOND of a kind in a second, and RING in all."""
    async with Rig({}) as rig:
        client = await rig.connect()
        for _ in range(50):
            await client.send(GET + b"\r\n")
            await client.answer()
        kept = rig.explain.find()
    seconds = {int(story["at"]) for story in kept}
    assert PER_SECOND <= len(kept) <= PER_SECOND * (len(seconds) + 1)
    assert len(kept) <= RING


HUGE = b"GET /%b HTTP/1.1\r\nHost: %b\r\nx-request-id: r-1\r\n\r\n" % (b"p" * 10_000, b"h" * 30_000)


@pytest.mark.parametrize("quoted", [AUTHORITY, 50_000])
async def test_what_a_client_sends_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quoted: int
) -> None:
    """Path, host and words, also where those quote a host at length: a memory of 64 KiB is not 64 KiB."""
    monkeypatch.setattr("sidecar.outbound.AUTHORITY", quoted)
    with contextlib.closing(AccessLog(str(tmp_path / "access.log"), *CLOCKS)) as log:
        async with Rig({}, access_log=log) as rig:
            answer = await rig.ask(HUGE)
            assert answer.status == 503
            assert len(answer.body) < quoted + 200
            (story,) = rig.explain.find()
    assert (len(story["path"]), len(story["host"])) == (PATH, AUTHORITY)
    assert len(story["detail"]) <= WORDS
    [line] = (tmp_path / "access.log").read_text().splitlines()
    written = json.loads(line)
    assert (written["path"], written["authority"]) == (story["path"], story["host"])
    assert len(line) < 4000


def test_the_ring_is_bounded_in_bytes() -> None:
    """Six hundred stories of a service with sixteen candidates of long names."""
    explain = Explain("a-1", lambda: "v", lambda: 0.0, lambda: 0.0)
    for number in range(RING):
        explain._kept.append((b"t", b"x" * 50_000), 50_000)
        assert explain._kept.size <= RING_BYTES, number
    assert len(explain._kept) == RING_BYTES // 50_000
