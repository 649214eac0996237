"""The app's health: asked over a real socket, told by the data path, overruled by an operator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.app_health import AppHealth


class App:
    """An app whose health answer the test chooses; None = it hangs."""

    def __init__(self) -> None:
        self.answer: bytes | None = b"HTTP/1.1 200 OK\r\n\r\n"
        self.port = 0
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        if self.answer is None:
            await reader.read()
        else:
            writer.write(self.answer)
        writer.close()


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app = App()
    server = await asyncio.start_server(app.serve, "127.0.0.1", 0)
    app.port = server.sockets[0].getsockname()[1]
    yield app
    server.close()


def health_of(port: int, path: str | None = "/health") -> tuple[AppHealth, list[tuple[str, str]]]:
    changes: list[tuple[str, str]] = []

    async def never(_: float) -> None:
        raise AssertionError("one question needs no sleep")

    return AppHealth("127.0.0.1", port, path, 1.0, lambda *change: changes.append(change), never), changes


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "passing"),
        (b"HTTP/1.0 204 No Content\r\n\r\n", "passing"),
        (b"HTTP/1.1 429 Too Many Requests\r\n\r\n", "warning"),
        (b"HTTP/1.1 500 Oops\r\n\r\n", "critical"),
        (b"HTTP/1.1 302 Found\r\n\r\n", "critical"),
        (b"SSH-2.0-OpenSSH\r\n", "critical"),
        (b"", "critical"),
    ],
)
async def test_consuls_convention(app: App, answer: bytes, status: str) -> None:
    """2xx passing, 429 warning, everything else critical."""
    app.answer = answer
    health, _ = health_of(app.port)
    await health.check()
    assert health.status == status
    assert app.asked[0].startswith(b"GET /health HTTP/1.1\r\n")


async def test_refused_connection_is_critical_at_once(app: App) -> None:
    """Nobody listens: one question is enough."""
    health, changes = health_of(app.port)
    await health.check()
    health.refused()
    assert [status for status, _ in changes] == ["passing", "critical"]
    assert health.reason == "connection refused"
    await health.check()
    assert health.status == "passing"


async def test_one_lost_answer_is_forgiven_two_are_not(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging app becomes critical with the second time-out in a row."""
    monkeypatch.setattr("sidecar.app_health.TIMEOUT_S", 0.02)
    health, changes = health_of(app.port)
    await health.check()
    app.answer = None
    await health.check()
    assert health.status == "passing"
    await health.check()
    assert health.status == "critical"
    assert "no answer within" in health.reason
    assert len(changes) == 2


async def test_without_a_path_a_connect_is_enough(app: App) -> None:
    """Programs without a health page are asked by TCP."""
    health, _ = health_of(app.port, None)
    await health.check()
    assert health.status == "passing"


async def test_an_operators_word_stands_above_the_apps(app: App) -> None:
    """`/healthcheck/fail` holds until `/healthcheck/ok`."""
    health, _ = health_of(app.port)
    await health.check()
    health.force(True)
    await health.check()
    assert (health.status, health.reason) == ("critical", "failed by an operator")
    health.force(False)
    await health.check()
    assert health.status == "passing"


async def test_it_asks_often_while_starting_and_seldom_when_fine(app: App) -> None:
    """The pauses: short until the first success, a second afterwards, a quarter after a failure."""
    pauses: list[float] = []
    answers = iter([b"HTTP/1.1 503 x\r\n\r\n", b"HTTP/1.1 200 x\r\n\r\n", b"HTTP/1.1 503 x\r\n\r\n"])

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        app.answer = next(answers, None)
        if app.answer is None:
            raise asyncio.CancelledError

    app.answer = b"HTTP/1.1 503 x\r\n\r\n"
    health = AppHealth("127.0.0.1", app.port, "/", 1.0, lambda *_: None, sleep)
    with pytest.raises(asyncio.CancelledError):
        await health.run()
    assert pauses == [0.05, 0.05, 1.0, 0.25]


def test_types() -> None:
    """The callback gets status and reason."""
    seen: list[Any] = []

    async def sleep(_: float) -> None: ...

    AppHealth("h", 1, None, 1.0, lambda *change: seen.append(change), sleep).refused()
    assert seen == []  # critical already, so nothing changed
