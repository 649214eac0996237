"""Memory of the running product against people who fill it: stated caps, measured by the kernel.

Each cap is generous: what it forbids was several times as much.
"""

import concurrent.futures
import contextlib
import gzip
import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mesh.tokens import authorization
from tests.e2e.real_mesh import Answer, http, real_mesh, until
from tests.security.hostile_spans import bodies, of_spans, span
from tests.security.memory import MIB, needs_proc, peak, resident

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), needs_proc]

ONE = "services:\n- name: web\n  isEntrypoint: true\n"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
AT_ONCE = 8


def all_at_once(call: Any, arguments: list[Any]) -> list[Any]:
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(call, arguments))


@contextmanager
def program(*words: str) -> Iterator[tuple[dict[str, str], int]]:
    """`python -m …`, once it says where it listens: (its addresses, its pid)."""
    process = subprocess.Popen(
        [sys.executable, "-m", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline()), process.pid
    finally:
        process.terminate()
        process.communicate(timeout=15)


# The supervisor grows by 50 MiB of ordinary spans, too; 200 hostile requests made it 839 MiB.
SUPERVISOR_GROWS = 128 * MIB


def test_hostile_spans_do_not_fill_the_supervisor(tmp_path: Path) -> None:
    """Two hundred requests of the largest size, of every bad kind, several at a time; and then all is read.

    Others do not suffer by it: a span that is sent after them is kept, found and shown.
    """
    (tmp_path / "one.yaml").write_text(ONE)
    with real_mesh(tmp_path, "one.yaml", "--no-load") as mesh:
        running = mesh.state.running_mesh()
        pid = running["supervisor"]["pid"]
        before = resident(pid)

        def post(body: bytes) -> int:
            return mesh.ask("/v1/traces", "POST", body, PROTOBUF).status

        for body in bodies():
            statuses = set(all_at_once(post, [body] * 18))
            assert statuses <= {200, 400, 503}
            assert peak(pid) - before < SUPERVISOR_GROWS, f"{len(body)} bytes that begin {body[:40]!r}"
        trace_id = secrets.token_bytes(16)
        until(lambda: post(of_spans(span(trace_id=trace_id), resource=b"")) == 200)
        found = mesh.ask(f"/api/traces/{trace_id.hex()}").json()
        assert len(found["data"][0]["spans"]) == 1

        def read(path: str) -> Answer:
            return mesh.ask(path)

        wide = ["/api/traces?service=orders&limit=1500", "/api/recent?limit=500", "/api/services"]
        assert {answer.status for answer in all_at_once(read, wide * AT_ONCE)} <= {200, 503}
        listed = read(wide[0]).json()["data"]
        all_at_once(read, [f"/api/traces/{trace['traceID']}" for trace in listed])
        assert peak(pid) - before < SUPERVISOR_GROWS


# A command takes 30 MiB by itself. A bomb of 1 GB took 670 MiB, and what it could hold is 400 MiB.
REPLAY_TAKES = 100 * MIB


def bomb(path: Path, megabytes: int) -> None:
    line = b'{"t":1.000,"event":"second","data":{"row":[' + b"0," * 500_000 + b"0]}}\n"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"recording": 1, "mesh": "shop", "at": 1}\n{"t":0.000,"event":"hello","data":{}}\n')
        for _ in range(megabytes):
            file.write(line)


def test_a_recording_bomb_is_refused_in_one_line(tmp_path: Path) -> None:
    """A gigabyte in some megabytes, by what the system counts of the child that looks at it."""
    bomb(tmp_path / "bomb.jsonl.gz", 1000)
    code = (
        "import resource, subprocess, sys\n"
        "words = [sys.executable, '-m', 'mesh', 'replay', 'bomb.jsonl.gz']\n"
        "done = subprocess.run(words, capture_output=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, done.returncode)\n"
        "print(done.stderr.decode(), end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    numbers, *lines = done.stdout.splitlines()
    took, exit_code = map(int, numbers.split())
    words = "bomb.jsonl.gz: longer than 400 MiB, too long for a page to play"
    assert (exit_code, lines) == (2, [f"mesh replay: {words}"])
    assert took < REPLAY_TAKES


def test_the_longest_recording_is_played_without_being_held(tmp_path: Path) -> None:
    """While several clients read it, one of them not at all."""
    bomb(tmp_path / "long.jsonl.gz", 300)
    process = subprocess.Popen(
        [sys.executable, "-m", "mesh", "replay", "long.jsonl.gz", "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        link = process.stdout.readline().partition("recorded: ")[2].split()[0]
        url, _, token = link.partition("/#token=")
        bearer = authorization(token)
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as idle:
            fields = "".join(f"{name}: {value}\r\n" for name, value in bearer.items())
            idle.sendall(f"GET /api/recording HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{fields}\r\n".encode())
            sizes = all_at_once(lambda _: len(http(f"{url}/api/recording", headers=bearer).body), [None] * 3)
        assert min(sizes) == max(sizes) > 300_000_000
        assert peak(process.pid) < REPLAY_TAKES
    finally:
        process.terminate()
        _, err = process.communicate(timeout=15)
    assert err == ""


# A sidecar takes 20 MiB after its start. In full, what is remembered of these requests is some 200 MiB.
SIDECAR_GROWS = 40 * MIB
REQUESTS = 1500


def ask(address: str, requests: Iterator[bytes]) -> None:
    """One after the other on one connection; whatever the answers are."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        answers = client.makefile("rb")
        for request in requests:
            client.sendall(request)
            length = 0
            while (line := answers.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            assert line, "it closed the connection"
            answers.read(length)


def test_hostile_requests_do_not_fill_a_sidecar() -> None:
    """Long hosts, paths, ids and names of callers, each another one, at the edge and at an inbound listener.

    There is no app, so each fails and is worth remembering; there is no collector, so its span waits.
    """
    common = ("--otlp", "http://127.0.0.1:1", "--trace-sample", "1", "--access-log", "/dev/null")
    inbound = ("--name", "b-1", "--inbound", "127.0.0.1:0", "--app", "127.0.0.1:1")
    outbound = ("--name", "edge-1", "--outbound", "127.0.0.1:0", "--default-service", "svc")
    with program("sidecar", *inbound, *common) as (callee, callee_pid):
        upstream = ("--upstream", f"svc={callee['inbound']}")
        with program("sidecar", *outbound, *upstream, *common) as (edge, edge_pid):
            before = {pid: resident(pid) for pid in (edge_pid, callee_pid)}
            ask(edge["outbound"], (_request(n, host=b"h" * 25_000) for n in range(REQUESTS)))
            ask(edge["outbound"], (_request(n, path=b"p" * 15_000) for n in range(REQUESTS)))
            ask(callee["inbound"], (_request(n, name=b"n" * 25_000) for n in range(REQUESTS)))
            grown = {pid: peak(pid) - before[pid] for pid in before}
    assert max(grown.values()) < SIDECAR_GROWS, grown


def _request(number: int, host: bytes = b"", path: bytes = b"", name: bytes = b"") -> bytes:
    lines = [
        b"GET /%d%b HTTP/1.1" % (number, path),
        b"Host: svc%d%b" % (number, host) if host else b"Host: svc",
    ]
    if name:
        lines.append(b"x-envoy-peer-metadata-id: i~%d%b~%d%b" % (number, name, number, name))
    return b"\r\n".join([*lines, b"x-request-id: %b" % (b"i" * 4000), b"", b""])


# The registry takes 40 MiB; what it holds is bounded at 128 MiB, and what it answers at 64 MiB more.
REGISTRY_GROWS = 320 * MIB
# Of 20 MB each: without a bound 400 MB more.
IDLE_READERS = 20


def test_hostile_writes_and_readers_do_not_fill_the_registry() -> None:
    """Keys, services and names of keys without end; then many who ask for all of it and read nothing."""
    with program("registry", "--http", "127.0.0.1:0", "--ephemeral") as (bound, pid):
        url, before = f"http://{bound['http']}/v1", resident(pid)

        def put(path: str, body: bytes) -> int:
            return http(f"{url}/{path}", "PUT", body=body).status

        value, name = b"v" * 500_000, "k" * 3900
        statuses = [put(f"kv/{number}", value) for number in range(400)]
        assert (statuses[0], statuses[-1]) == (200, 507)
        tags = [f"{number}{'t' * 250_000}" for number in range(2)]
        statuses = [
            put("agent/service/register", json.dumps({"Name": f"s{number}", "Tags": tags}).encode())
            for number in range(100)
        ]
        assert statuses[-1] == 507
        assert http(f"{url}/kv/?recurse", "DELETE").status == 200
        for number in range(3000):
            put(f"kv/{number}{name}", b"")
            assert http(f"{url}/kv/{number}{name}", "DELETE").status == 200
        for number in range(30):
            put(f"kv/big/{number}", value)
        with contextlib.ExitStack() as idle:
            for _ in range(IDLE_READERS):
                port = int(bound["http"].rpartition(":")[2])
                client = idle.enter_context(socket.create_connection(("127.0.0.1", port)))
                client.sendall(b"GET /v1/kv/big/?recurse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert until(lambda: http(f"{url}/kv/big/1?raw").body) == value
            grown = peak(pid) - before
    assert grown < REGISTRY_GROWS
