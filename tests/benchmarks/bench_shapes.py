"""Other shapes of traffic than the usual small GET: bodies, connections, endpoints, connections that idle."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .bench_sidecar import throughput, wrk
from .contenders import Contender, envoy, nginx, ours, scratch, start_backend

Maker = Callable[[list[int], Path], Contender | None]
MAKERS: tuple[Maker, ...] = (ours, envoy, nginx)
ROUNDS = 3
SECONDS = 2
USUAL = 32
CONNECTIONS = (1, 8, 32, 128, 512)
KIB, MIB = 1024, 1024 * 1024
ENDPOINTS = (2, 10, 100, 1000)
IDLE = 1000
REQUEST = b"GET / HTTP/1.1\r\nHost: backend\r\n\r\n"


@contextmanager
def running(makers: tuple[Maker, ...], upstreams: int = 2, size: int = 128) -> Iterator[list[Contender]]:
    """The contenders before backends that answer `size` bytes."""
    with scratch() as name:
        backend, ports = start_backend(upstreams, size)
        found: list[Contender] = []
        try:
            found = [each for maker in makers if (each := maker(ports, Path(name))) is not None]
            yield found
        finally:
            for contender in [*found, backend]:
                contender.stop()


def row(title: str, contenders: list[Contender], connections: int, script: Path | None = None) -> str:
    result = throughput(contenders, connections, SECONDS, ROUNDS, script)
    own = result[contenders[0].name][0]
    cells = [f"{own:,.0f}"]
    cells += [f"{rate:,.0f} | {own / rate:.2f}" for name, (rate, _) in list(result.items())[1:]]
    return f"| {title} | {' | '.join(cells)} |"


def upload(folder: Path, size: int) -> Path:
    """A script for wrk that posts that many bytes."""
    path = folder / f"post-{size}.lua"
    path.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {size})\n', encoding="utf-8")
    return path


def shapes() -> list[str]:
    with scratch() as name, running(MAKERS) as contenders:
        others = [contender.name for contender in contenders[1:]]
        lines = [
            f"Requests/s, one core each; medians of {ROUNDS} interleaved rounds of {SECONDS} s.",
            "",
            "| shape | mesh sidecar | " + " | ".join(f"{other} | ours / it" for other in others) + " |",
            "| --- | ---: |" + " ---: | ---: |" * len(others),
        ]
        lines += [row(f"128 B, {count} connections", contenders, count) for count in CONNECTIONS]
        for size, word in ((64 * KIB, "64 KiB"), (MIB, "1 MiB")):
            lines.append(row(f"POST of {word}", contenders, USUAL, upload(Path(name), size)))
    for size, word in ((64 * KIB, "64 KiB"), (MIB, "1 MiB")):
        with running(MAKERS, size=size) as contenders:
            lines.append(row(f"answer of {word}", contenders, USUAL))
    return lines


def endpoints() -> list[str]:
    lines = ["| endpoints of one service | CPU us/request of the sidecar |", "| ---: | ---: |"]
    for count in ENDPOINTS:
        with running((ours,), upstreams=count) as contenders:
            ((_, cost),) = throughput(contenders, USUAL, SECONDS, ROUNDS).values()
            lines.append(f"| {count:,} | {cost:.1f} |")
    return lines


def idle_kb(contender: Contender) -> float:
    """KB of resident memory for each kept-alive client connection that has made one request."""
    wrk(contender.port, USUAL, 1)  # what it needs once is there
    before = contender.rss_mb()
    clients = []
    try:
        for _ in range(IDLE):
            client = socket.create_connection(("127.0.0.1", contender.port), 5)
            clients.append(client)
            client.sendall(REQUEST)
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        time.sleep(0.5)
        return (contender.rss_mb() - before) * 1e6 / 1024 / IDLE
    finally:
        for client in clients:
            client.close()


def idle() -> list[str]:
    lines = [f"| {IDLE:,} idle client connections | KB each |", "| --- | ---: |"]
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        with running(MAKERS) as contenders:
            for contender in contenders:
                found.setdefault(contender.name, []).append(idle_kb(contender))
    return lines + [f"| {name} | {statistics.median(values):.1f} |" for name, values in found.items()]


def run() -> str:
    return "\n".join([*shapes(), "", *endpoints(), "", *idle()])
