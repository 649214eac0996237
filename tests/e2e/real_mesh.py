"""A real mesh for end-to-end tests: started by the real command in its own directory, ended and checked."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mesh.identity import identity
from mesh.state import Leader, StateDirectory
from mesh.tokens import Scope, Tokens, authorization, kept_token

COMMAND_S = 45.0
POLL_S = 0.05

T = TypeVar("T")


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, errors too."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class RealMesh:
    """The mesh of one directory, by the words of its command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = StateDirectory(directory)

    def run(self, *words: str) -> Ran:
        """`mesh WORDS…` to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "mesh", *words],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str) -> str:
        """`run`, which must succeed; its output."""
        ran = self.run(*words)
        assert ran.code == 0, f"mesh {' '.join(words)}: {ran}"
        return ran.out

    def up(self, topology: str, *words: str) -> str:
        """Start it, in the background, on free ports."""
        return self.ok("up", topology, "--detach", "--port", "0", "--control-port", "0", *words)

    @contextmanager
    def attached(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """`mesh up WORDS…` in the foreground, given once it says that it is up."""
        process = subprocess.Popen(
            [sys.executable, "-m", "mesh", "up", "--port", "0", "--control-port", "0", *words],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert " is up: " in line, (line, process.communicate())
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    # what it says

    def status(self) -> dict[str, Any]:
        """`mesh status --json`, by the control API that the command asks."""
        document = self.ask("/api/status").json()
        assert isinstance(document, dict)
        return document

    @property
    def tokens(self) -> Tokens:
        """As `mesh token` prints them."""
        return Tokens(kept_token(self.state.token_path))

    @property
    def link(self) -> str:
        """As `mesh dashboard` prints it."""
        return self.tokens.link(str(self.state.running_mesh()["control"]))

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A request of the control API, with its token."""
        control = self.state.running_mesh()["control"]
        token = authorization(self.tokens.of(Scope.CONTROL))
        return http(f"{control}{path}", method, {**token, **(headers or {})}, body)

    def instance(self, name: str) -> dict[str, Any]:
        """One instance of the status, an extra one too."""
        status = self.status()
        found = [each for each in (*status["instances"], *status["extras"]) if each["name"] == name]
        assert found, f"no {name} in {status}"
        document = found[0]
        assert isinstance(document, dict)
        return document

    def snapshot(self, name: str) -> dict[str, Any]:
        """What the sidecar of an instance says of itself."""
        document = http(f"http://127.0.0.1:{self.instance(name)['ports']['admin']}/snapshot").json()
        assert isinstance(document, dict)
        return document

    def endpoint(self, caller: str, endpoint: str) -> dict[str, Any] | None:
        """How a caller's sidecar sees an endpoint; None when it does not know it."""
        for upstream in self.snapshot(caller)["upstreams"].values():
            for each in upstream["endpoints"]:
                if each["id"] == endpoint:
                    assert isinstance(each, dict)
                    return each
        return None

    # the load

    def load(self) -> dict[str, Any]:
        """The load generator's own status."""
        document = http(f"{self.status()['load']['url']}/status").json()
        assert isinstance(document, dict)
        return document

    def reset_load(self) -> None:
        """Start counting anew."""
        token = authorization(self.tokens.of(Scope.ADMIN))
        assert http(f"{self.status()['load']['url']}/reset", "POST", token).status == 200

    # what it leaves

    def leaders(self) -> list[Leader]:
        """Every process that it started, the supervisor and the fork server too."""
        document = self.state.read_mesh() or {}
        found = list(self.state.journal())
        return found + [
            Leader(document[name]["pid"], document[name]["start"], name)
            for name in ("supervisor", "forkserver")
            if name in document
        ]

    def ports(self) -> set[int]:
        """Every port that something of it listens on."""
        status = self.status()
        found = {int(url.rpartition(":")[2]) for url in (status["entrypoint"], status["control"])}
        for each in (*status["instances"], *status["extras"]):
            found |= {port for port in each["ports"].values() if port}
        return found

    @contextmanager
    def leaves_nothing(self) -> Iterator[None]:
        """Around the end of the mesh: no process, no listener, no lock, no state is left."""
        leaders, ports = self.leaders(), self.ports()
        assert len(leaders) > 3
        yield
        left = [leader for leader in leaders if identity(leader.pid) == leader.start]
        assert left == []
        assert [port for port in ports if listens(port)] == []
        assert not self.state.lock_path.exists()
        assert not self.state.mesh_path.exists()
        assert not self.state.journal_path.exists()


@contextmanager
def real_mesh(directory: Path, topology: str, *words: str) -> Iterator[RealMesh]:
    """A mesh that is up, and down without a trace afterwards."""
    mesh = RealMesh(directory)
    try:
        mesh.up(topology, *words)
        yield mesh
        with mesh.leaves_nothing():
            assert "is down" in mesh.ok("down")
    finally:
        mesh.run("down")


def http(
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_s: float = 10.0,
) -> Answer:
    """One request, with no proxy of the environment."""
    request = urllib.request.Request(url, body, dict(headers or {}), method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


def until(condition: Callable[[], T], seconds: float = 10.0) -> T:
    """Poll until the condition gives something true, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not so after {seconds} s: {value!r}"
        time.sleep(POLL_S)


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds, or the time is over; for an assertion with words of its own."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def wait(seconds: float) -> None:
    """Let real time pass, for what is measured over a time."""
    time.sleep(seconds)


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as client:
        client.settimeout(2)
        return client.connect_ex(("127.0.0.1", port)) == 0


def alive(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    return identity(pid) is not None


def send(pid: int, number: int) -> None:
    """A signal from outside the mesh."""
    os.kill(pid, number)
