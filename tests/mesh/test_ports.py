"""Reserved ports: theirs alone until the program they are for listens, and again after its death."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from mesh.errors import UsageError
from mesh.ports import PortInUse, Ports

LISTENERS = {
    "http.server": [sys.executable, "-m", "http.server", "PORT"],
    "asyncio": [
        sys.executable,
        "-c",
        "import asyncio\n"
        "async def main():\n"
        "    server = await asyncio.start_server(lambda r, w: w.close(), '127.0.0.1', PORT)\n"
        "    await server.serve_forever()\n"
        "asyncio.run(main())",
    ],
    "uvloop": [
        sys.executable,
        "-c",
        "import asyncio, uvloop\n"
        "async def main():\n"
        "    server = await asyncio.start_server(lambda r, w: w.close(), '127.0.0.1', PORT)\n"
        "    await server.serve_forever()\n"
        "asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())",
    ],
    "node": ["node", "-e", "require('http').createServer((q, r) => r.end()).listen(PORT)"],
}


@pytest.fixture
def ports() -> Iterator[Ports]:
    reserved = Ports()
    yield reserved
    reserved.close()


@contextlib.contextmanager
def listener(port: int | None = None) -> Iterator[int]:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port or 0))
        server.listen()
        yield server.getsockname()[1]


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(
        [word.replace("PORT", str(port)) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20  # noqa: TID251 - a real process
        while not accepts(port):
            assert process.poll() is None, "it could not listen"
            assert time.monotonic() < deadline  # noqa: TID251
            time.sleep(0.01)  # noqa: TID251
        yield
    finally:
        process.kill()
        process.wait()


def test_a_reserved_port_refuses_connections_and_a_listener_may_take_it(ports: Ports) -> None:
    """Nobody answers on it until the program that it is for listens."""
    port = ports.free()
    assert not accepts(port)
    ports.hand_over(port)
    with listener(port):
        assert accepts(port)
    assert not accepts(port)


@pytest.mark.parametrize("name", LISTENERS)
def test_programs_can_listen_on_it_again_and_again(ports: Ports, name: str) -> None:
    """The servers that people run under a sidecar set SO_REUSEADDR; a restart finds the port free."""
    if shutil.which(LISTENERS[name][0]) is None:
        pytest.skip(f"{LISTENERS[name][0]} is not installed")
    port = ports.free()
    ports.hand_over(port)
    for _ in range(2):
        with running(LISTENERS[name], port):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port is given up before the start")
def test_the_kernel_gives_a_reserved_port_to_nobody_else(ports: Ports) -> None:
    """Neither to one who asks for any free port nor to an outgoing connection."""
    reserved = {ports.free() for _ in range(300)}
    assert len(reserved) == 300
    others = Ports()
    assert not reserved & {others.free() for _ in range(300)}
    others.close()


def test_a_port_that_is_in_use_is_refused(ports: Ports) -> None:
    """By number: an error that names the port. As a preference: another one."""
    with listener() as port:
        with pytest.raises(PortInUse, match=rf"^port {port} is in use by another program$"):
            ports.fixed(port)
        other = ports.preferred(port)
        assert other != port
        assert other > 0


def test_a_free_port_is_taken_by_number(ports: Ports) -> None:
    """fixed and preferred give the port asked for; the same one twice is a mistake; 0 is any."""
    with listener() as port:
        pass
    assert ports.fixed(port) == port
    with pytest.raises(PortInUse):
        ports.fixed(port)
    assert ports.fixed(0) > 0


def test_a_port_is_usable_again_while_old_connections_linger(ports: Ports) -> None:
    """TIME_WAIT of the last mesh does not make its port look busy."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as every server of ours does
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first waits
            client.recv(1)
    assert ports.fixed(port) == port


def test_where_reservations_cannot_be_shared_they_are_given_up_at_the_start() -> None:
    """The way of macOS: a port is held until hand_over, and a busy one is found by a connect."""
    ports = Ports(hold=False)
    port = ports.free()
    with socket.socket() as rude, pytest.raises(OSError, match="in use"):
        rude.bind(("127.0.0.1", port))
    ports.hand_over(port)
    with listener(port):
        pass
    with listener() as busy, pytest.raises(PortInUse):
        ports.fixed(busy)
    ports.close()


def test_a_port_that_needs_root_says_so(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    """EACCES is not 'in use'."""

    def denied(_: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ports, "_reserve", denied)
    with pytest.raises(UsageError, match="port 80 needs root"):
        ports.fixed(80)
