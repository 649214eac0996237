"""One connection against bytes: what is an answer, what is a failure, and when it may be used again."""

import asyncio
from typing import cast

import pytest

from loadgen.connection import CLOSED, MALFORMED, MAX_HEAD_BYTES, OVERSIZED, RESET, TRUNCATED, Connection


class FakeTransport:
    """Remembers what was written and whether it was aborted."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True


class Log:
    """The owner: a list of what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def answered(self, connection: Connection, status: int, reusable: bool) -> None:
        self.told.append((status, reusable))

    def broke(self, connection: Connection, reason: str) -> None:
        self.told.append((reason,))


def connected() -> tuple[Connection, Log, FakeTransport]:
    log, transport = Log(), FakeTransport()
    connection = Connection(log)
    connection.connection_made(cast(asyncio.BaseTransport, transport))
    return connection, log, transport


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 201 X\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (LENGTH, (200, True)),
        (CHUNKED, (201, True)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, True)),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 100\r\n\r\n", (304, True)),
        (b"HTTP/1.1 503 Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", (503, False)),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", (200, False)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + LENGTH, (200, True)),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nzzz", (101, False)),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_whole_answers(answer: bytes, told: tuple[int, bool], step: int) -> None:
    """However the bytes are cut, an answer is told once, when it is whole."""
    connection, log, transport = connected()
    connection.send(b"GET")
    for i in range(0, len(answer), step):
        connection.data_received(answer[i : i + step])
    assert log.told == [told]
    assert transport.written == b"GET"
    assert connection.closed is transport.aborted is (not told[1])


def test_a_connection_carries_many_requests() -> None:
    """Keep-alive: one parser, many answers."""
    connection, log, _ = connected()
    for _ in range(3):
        connection.send(b"GET")
        connection.data_received(CHUNKED)
    assert log.told == [(201, True)] * 3


def test_a_body_until_close_is_whole_at_the_close() -> None:
    """The oldest framing of all, and only when no length was announced."""
    connection, log, _ = connected()
    connection.send(b"GET")
    connection.data_received(b"HTTP/1.1 200 OK\r\n\r\nsome")
    connection.data_received(b" more")
    assert log.told == []
    connection.connection_lost(None)
    assert log.told == [(200, False)]


@pytest.mark.parametrize(
    ("answer", "lost", "reason"),
    [
        (b"", None, CLOSED),
        (b"HTTP/1.1 200 OK\r\ncontent-le", None, CLOSED),
        (LENGTH[:-1], None, TRUNCATED),
        (CHUNKED[:-1], None, TRUNCATED),
        (LENGTH[:-1], ConnectionResetError(), RESET),
        (b"HTTP/1.1 200 OK\r\n\r\nsome", ConnectionResetError(), RESET),
        (b"", ConnectionResetError(), RESET),
        (b"HTTP/1.1 100 Continue\r\n\r\n", None, CLOSED),
    ],
)
def test_answers_that_break_off(answer: bytes, lost: Exception | None, reason: str) -> None:
    """Each way to lose an answer has its word, told once."""
    connection, log, _ = connected()
    connection.send(b"GET")
    if answer:
        connection.data_received(answer)
    connection.connection_lost(lost)
    assert log.told == [(reason,)]


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"\x00" * 50,
    ],
)
def test_what_is_not_http_is_malformed(answer: bytes) -> None:
    """The connection is given up and the request has failed."""
    connection, log, transport = connected()
    connection.send(b"GET")
    connection.data_received(answer)
    connection.connection_lost(None)
    assert log.told == [(MALFORMED,)]
    assert transport.aborted


def test_an_endless_head_is_cut_off() -> None:
    """No server makes the generator collect headers for ever."""
    connection, log, transport = connected()
    connection.send(b"GET")
    connection.data_received(b"HTTP/1.1 200 OK\r\n")
    for _ in range(MAX_HEAD_BYTES // 1000 + 1):
        connection.data_received(b"x-fill: " + b"a" * 990 + b"\r\n")
    assert log.told == [(OVERSIZED,)]
    assert transport.aborted


def test_a_large_body_is_not_a_large_head() -> None:
    """Bodies may be of any size; they are not kept."""
    connection, log, _ = connected()
    connection.send(b"GET")
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    for _ in range(10):
        connection.data_received(b"x" * 100_000)
    assert log.told == [(200, True)]


@pytest.mark.parametrize("extra", [LENGTH, LENGTH[:10], b"garbage"])
def test_an_answer_that_nobody_asked_for_poisons_the_connection(extra: bytes) -> None:
    """Otherwise it would be taken for the answer to the next request."""
    connection, log, _ = connected()
    connection.send(b"GET")
    connection.data_received(LENGTH + extra)
    assert log.told[0][0] == 200
    assert len(log.told) == 1
    assert connection.closed


def test_bytes_on_an_idle_connection_close_it() -> None:
    """It could only be taken for the answer to the next request."""
    connection, log, transport = connected()
    connection.data_received(LENGTH)
    assert connection.closed
    connection.connection_lost(None)
    assert log.told == []
    assert transport.aborted


def test_an_idle_connection_that_closes_fails_no_request() -> None:
    """It only shows that it is closed."""
    connection, log, _ = connected()
    connection.connection_lost(None)
    assert log.told == []
    assert connection.closed


def test_abort_tells_nobody() -> None:
    """Who aborts knows already."""
    connection, log, _ = connected()
    connection.send(b"GET")
    connection.abort()
    connection.connection_lost(None)
    assert log.told == []
