"""Random clients and random backends: nothing stays taken, and no error of our own comes up."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from sidecar.io.timeouts import Timeouts
from sidecar.policy.concurrency import BulkheadPolicy
from sidecar.policy.settings import UpstreamPolicy
from tests.fakes.upstream import OK, Gone, Peer, ScriptedUpstream
from tests.fuzz.blind import mutated
from tests.sidecar.wire.feed import requests, verdict

from .harness import Rig

CORPUS = [path.read_bytes() for path in sorted((Path(__file__).parents[2] / "fuzz" / "corpus").iterdir())]
REQUESTS = [data[1:].replace(b"Host: x\r", b"Host: svc\r") for data in CORPUS if data and data[0] & 1]
GOOD = [raw for raw in REQUESTS if verdict(requests(raw)) == "ok" and b"Host: svc" in raw]
RESPONSES = [data[1:] for data in CORPUS if data and not data[0] & 1]
CLIENTS = 250


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("side", ["outbound", "inbound"])
async def test_random_bytes_from_both_sides(side: str, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Messages with faults, cut anywhere, sent in pieces, by peers that close, reset or just stop."""
    rng = random.Random(seed)

    async def script(peer: Peer) -> None:
        try:
            while True:
                await peer.head()
                answer = OK if rng.random() < 0.5 else mutated(rng, RESPONSES)
                for piece in cut(rng, answer):
                    peer.send(piece)
                    await peer.drain()
                    await asyncio.sleep(0)
                fate = rng.random()
                if fate < 0.1:
                    peer.reset()
                    return
                if fate < 0.3:
                    return
        except ConnectionError as error:
            raise Gone from error

    async def client(rig: Rig) -> None:
        connection = await rig.connect(side)
        try:
            for _ in range(rng.randint(1, 3)):
                raw = rng.choice(GOOD) if rng.random() < 0.6 else mutated(rng, REQUESTS)
                for piece in cut(rng, raw):
                    await connection.send(piece)
                    await asyncio.sleep(rng.choice((0, 0, 0.001)))
                async with asyncio.timeout(rng.choice((0.001, 0.01, 0.05))):
                    await connection.reader.read(65536)
        except (TimeoutError, ConnectionError):
            pass
        connection.abort() if rng.random() < 0.5 else connection.close()

    policy = UpstreamPolicy(bulkhead=BulkheadPolicy(max_active=8, max_pending=4, max_wait_s=0.02))
    timeouts = Timeouts(upload_idle=0.1, stream_idle=0.1, tunnel_idle=0.1)
    async with (
        ScriptedUpstream(script) as one,
        ScriptedUpstream(script) as two,
        Rig(
            {"svc": [one.address, two.address]},
            app=one.address,
            policy=policy,
            timeouts=timeouts,
            upstream_timeout=0.3,
            listener={"header_timeout": 0.2, "idle_timeout": 0.2},
        ) as rig,
    ):
        for _ in range(CLIENTS // 25):
            await asyncio.gather(*(client(rig) for _ in range(25)))
        await rig.settled()
        proxy = rig.inbound if side == "inbound" else rig.outbound
        assert proxy is not None
        assert proxy.window.requests > CLIENTS / 4, "most never became a request, so little was shown"
        assert sum(proxy.refusals.values()) > CLIENTS / 10
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert one.heads or two.heads


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """The bytes in one to four pieces, sometimes not all of them."""
    if rng.random() < 0.15:
        data = data[: rng.randint(0, len(data))]
    marks = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(0, 3)))
    return [data[a:b] for a, b in zip([0, *marks], [*marks, len(data)], strict=True) if b > a]
