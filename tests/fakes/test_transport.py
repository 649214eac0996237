"""The fake transport does what uvloop's does where protocols depend on it."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.transport import FakeTransport


class Log(asyncio.Protocol):
    def __init__(self) -> None:
        self.log: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.log.append("made")

    def data_received(self, data: bytes) -> None:
        self.log.append(data.decode())

    def eof_received(self) -> bool:
        self.log.append("eof")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.log.append("lost")

    def pause_writing(self) -> None:
        self.log.append("pause")

    def resume_writing(self) -> None:
        self.log.append("resume")


def test_events_reach_the_protocol() -> None:
    """In the order in which the test makes them."""
    transport, protocol = FakeTransport("10.1.1.1"), Log()
    transport.connect(protocol)
    assert transport.get_extra_info("peername")[0] == "10.1.1.1"
    transport.receive(b"a")
    transport.end()
    assert transport.closed
    transport.lose()
    assert protocol.log == ["made", "a", "eof", "lost"]


def test_writing_blocks_beyond_its_capacity() -> None:
    """And goes on when the peer has read."""
    transport, protocol = FakeTransport(capacity=3), Log()
    transport.connect(protocol)
    transport.writelines([b"ab", b"cd"])
    transport.write(b"e")
    assert protocol.log == ["made", "pause"]
    assert transport.take() == b"abcde"
    assert protocol.log == ["made", "pause", "resume"]


def test_misuse_is_an_error() -> None:
    """As on uvloop, where stock asyncio keeps silent."""
    transport = FakeTransport()
    transport.connect(Log())
    transport.pause_reading()
    with pytest.raises(AssertionError):
        transport.receive(b"a")
    transport.close()
    with pytest.raises(RuntimeError):
        transport.write(b"a")
    with pytest.raises(RuntimeError):
        transport.write_eof()
