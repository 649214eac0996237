from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.io.outbox import AT_ONCE, JOIN_BELOW, MOST_WAITING, Outbox
from tests.fakes.transport import FakeTransport


class Turn:
    """A turn of the loop that ends when the test says so."""

    def first(self) -> None:
        """The write that does not wait is made."""
        self.outbox.write(FakeTransport(), [b"first"])

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.outbox = Outbox(self.calls.append)
        self.log: list[tuple[str, bytes]] = []

    def transport(self, name: str) -> FakeTransport:
        turn = self

        class Noted(FakeTransport):
            def write(self, data: Any) -> None:
                super().write(data)
                turn.log.append((name, bytes(data)))

        return Noted()

    def end(self) -> None:
        calls, self.calls[:] = list(self.calls), []
        for call in calls:
            call()


@pytest.fixture
def turn() -> Turn:
    return Turn()


def test_the_first_write_of_a_turn_goes_out_at_once_the_others_at_its_end_in_order(turn: Turn) -> None:
    one, two = turn.transport("one"), turn.transport("two")
    for _ in range(2):
        turn.outbox.write(one, [b"a", b"b"])
        assert turn.log == [("one", b"ab")]
        turn.outbox.write(two, [b"c"])
        turn.outbox.write(one, [b"d", b"e"])
        assert turn.log == [("one", b"ab")]
        assert len(turn.calls) == 1  # one call for the turn, not one for each write
        turn.end()
        assert turn.log == [("one", b"ab"), ("two", b"c"), ("one", b"de")]
        turn.log.clear()


@pytest.mark.parametrize("pieces", [[b"x" * JOIN_BELOW], [b"x", b"y" * JOIN_BELOW]])
def test_much_does_not_wait_and_overtakes_nothing(turn: Turn, pieces: list[bytes]) -> None:
    turn.first()
    one, two = turn.transport("one"), turn.transport("two")
    turn.outbox.write(two, [b"before"])
    turn.outbox.write(one, [b"before"])
    turn.outbox.write(one, pieces)
    assert one.sent == b"before" + b"".join(pieces)
    assert two.sent == b"before"


def test_no_more_than_so_many_wait(turn: Turn) -> None:
    turn.first()
    one = turn.transport("one")
    for _ in range(MOST_WAITING - 1):
        turn.outbox.write(one, [b"x"])
    assert one.sent == b""
    turn.outbox.write(one, [b"x"])
    assert one.sent == b"x" * MOST_WAITING
    turn.outbox.write(one, [b"y"])
    assert one.sent == b"x" * MOST_WAITING
    turn.end()
    assert one.sent.endswith(b"xy")


@pytest.mark.parametrize("how", ["end", "close", "reset"])
def test_the_end_comes_behind_what_was_written(turn: Turn, how: str) -> None:
    turn.first()
    one = turn.transport("one")
    turn.outbox.write(one, [b"whole"])
    getattr(turn.outbox, how)(one)
    assert one.sent == b"whole"
    assert (one.eof, one.closed, one.aborted) == (how == "end", how != "end", how == "reset")
    turn.outbox.write(one, [b"more"]) if how != "end" else None
    turn.end()
    assert one.sent == b"whole"


def test_a_connection_that_is_gone_meanwhile_is_passed_over(turn: Turn) -> None:
    turn.first()
    one, two = turn.transport("one"), turn.transport("two")
    turn.outbox.write(one, [b"a"])
    turn.outbox.write(two, [b"b"])
    one.closed = True
    turn.end()
    assert turn.log == [("two", b"b")]
    for gone in (None, one):
        turn.outbox.write(gone, [b"a"])
        turn.outbox.end(gone)
    turn.outbox.close(None)
    turn.outbox.reset(None)
    assert turn.calls == []
    assert turn.log == [("two", b"b")]


def test_one_transport_that_raises_costs_the_others_nothing(
    turn: Turn, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeTransport):
        def write(self, data: Any) -> None:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")

    turn.first()
    broken, two = Broken(), turn.transport("two")
    turn.outbox.write(broken, [b"a"])
    turn.outbox.write(two, [b"b"])
    turn.end()
    assert two.sent == b"b"
    assert broken.aborted
    assert "an error of our own, while bytes were sent" in caplog.text


def test_without_a_loop_each_write_goes_out_at_once() -> None:
    one = FakeTransport()
    AT_ONCE.write(one, [b"a"])
    assert one.sent == b"a"


async def test_real_sockets_get_all_of_it_and_the_end() -> None:
    """Two writes, a big one and the end, by a real transport."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    outbox = Outbox(loop.call_soon)
    outbox.write(transport, [b"a", b"b"])
    outbox.write(transport, [b"c" * JOIN_BELOW, b"d"])
    outbox.write(transport, [b"e"])
    outbox.close(transport)
    assert await asyncio.wait_for(reader.read(), 10) == b"ab" + b"c" * JOIN_BELOW + b"de"
    writer.close()
