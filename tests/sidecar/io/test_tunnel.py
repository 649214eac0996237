"""Two coupled sides, without sockets."""

from __future__ import annotations

import pytest

from sidecar.io.deadlines import Deadlines
from sidecar.io.tunnel import Tunnel
from tests.fakes.clock import FakeClock

from .test_deadlines import FakeLoop


class Side:
    """Notes what is done to it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def write_raw(self, data: bytes) -> None:
        self.log.append(data.decode())

    def end_raw(self) -> None:
        self.log.append("<end>")

    def close_raw(self) -> None:
        self.log.append("<close>")

    def abort_raw(self) -> None:
        self.log.append("<abort>")

    def read_raw(self, on: bool) -> None:
        self.log.append("<read>" if on else "<pause>")


class Couple:
    def __init__(self, idle_s: float = 10.0) -> None:
        self.loop = FakeLoop(FakeClock())
        self.deadlines = Deadlines(self.loop.call_at, self.loop.clock)
        self.client, self.upstream = Side(), Side()
        self.over: list[str] = []
        self.tunnel = Tunnel(
            self.client,
            self.upstream,
            self.deadlines,
            idle_s,
            self.loop.clock,
            lambda tunnel: self.over.append(tunnel.reason),
        )


def test_bytes_and_pauses_go_to_the_other_side() -> None:
    """A side that cannot take more stops the other one's reading."""
    couple = Couple()
    couple.tunnel.data(couple.client, b"a")
    couple.tunnel.data(couple.upstream, b"bcd")
    couple.tunnel.writable(couple.client, False)
    couple.tunnel.writable(couple.client, True)
    assert couple.upstream.log == ["a", "<pause>", "<read>"]
    assert couple.client.log == ["bcd"]
    assert (couple.tunnel.bytes_in, couple.tunnel.bytes_out) == (1, 3)


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_half_close_then_close(first: str) -> None:
    """One end is passed on, the second closes both."""
    couple = Couple()
    one, other = (couple.client, couple.upstream) if first == "client" else (couple.upstream, couple.client)
    couple.tunnel.ended(one)
    assert (one.log, other.log) == ([], ["<end>"])
    couple.tunnel.data(other, b"more")
    couple.tunnel.ended(other)
    assert (one.log, other.log) == (["more", "<close>"], ["<end>", "<close>"])
    couple.tunnel.lost(one, None)
    couple.tunnel.lost(other, None)
    assert couple.over == [""]


def test_a_loss_with_an_error_cuts_the_other_side() -> None:
    """And one without closes it, after what was written."""
    couple = Couple()
    couple.tunnel.lost(couple.upstream, ConnectionResetError())
    assert couple.client.log == ["<abort>"]
    assert couple.over == ["connection lost"]
    couple = Couple()
    couple.tunnel.lost(couple.upstream, None)
    assert couple.client.log == ["<close>"]
    assert couple.over == [""]


def test_idle_means_neither_direction() -> None:
    """A byte either way, or a writer that drains, starts the time anew."""
    couple = Couple(idle_s=10.0)
    for source in (couple.client, couple.upstream, couple.client):
        couple.loop.advance(9.0)
        couple.tunnel.data(source, b"x")
    couple.loop.advance(9.9)
    assert "<abort>" not in couple.client.log
    couple.loop.advance(0.2)
    assert couple.client.log[-1] == couple.upstream.log[-1] == "<abort>"
    assert couple.tunnel.reason == "idle"
    couple.tunnel.lost(couple.client, None)
    couple.loop.advance(100)
    assert couple.loop.scheduled == 0
