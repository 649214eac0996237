"""One Compose project under test: its own name and ports, so that several run side by side."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[2]
DOORS = ("ENTRYPOINT", "CONTROL", "GRAFANA", "PROMETHEUS", "CONSUL", "JAEGER")
TOKEN = "a-token-for-tests"
GRAFANA = "grafana/grafana"

# What reads a sidecar's kept events from inside its container, where its admin listener is.
EVENTS = """
import sys, urllib.request
stream = urllib.request.urlopen("http://127.0.0.1:15000/events", timeout=0.5)
try:
    while line := stream.readline():
        if line.startswith(b"data:"):
            sys.stdout.write(line[5:].decode())
except TimeoutError:
    pass
"""


def docker(*words: str, timeout: float = 60) -> str:
    """Run `docker …`; its output. Fails with what it said."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr[-2000:]}"
    return done.stdout


def has_image(name: str) -> bool:
    return bool(docker("images", "--quiet", name).strip())


class Project:
    """`up` and `down` around a test, and what the test asks in between."""

    def __init__(self, name: str, *, variables: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.took = 0.0  # seconds of its `up`
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in DOORS]
        self.ports = {door: each.getsockname()[1] for door, each in zip(DOORS, sockets, strict=True)}
        for each in sockets:
            each.close()
        self.environment = {
            **os.environ,
            **{f"{door}_PORT": str(port) for door, port in self.ports.items()},
            "MESH_TOKEN": TOKEN,
            **(variables or {}),
        }

    def compose(self, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run `docker compose …` on this project."""
        return subprocess.run(
            ["docker", "compose", "--project-name", self.name, *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def up(self, *words: str) -> float:
        """Start and wait for health; the seconds that it took. Without Grafana where it has no image."""
        missing = () if has_image(GRAFANA) else ("--pull", "never", "--scale", "grafana=0")
        began = time.monotonic()
        done = self.compose("up", "--detach", "--build", "--wait", *missing, *words)
        assert done.returncode == 0, done.stderr[-3000:]
        return time.monotonic() - began

    def down(self) -> None:
        self.compose("down", "--volumes", "--timeout", "2")

    def url(self, door: str) -> str:
        return f"http://127.0.0.1:{self.ports[door]}"

    def get(self, door: str, path: str, **query: str) -> Any:
        """The JSON of a GET; control gets its token."""
        return self.call("GET", door, f"{path}?{urlencode(query)}" if query else path)

    def call(self, method: str, door: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"} if door == "CONTROL" else {}
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url(door) + path, data=data, method=method, headers=headers)
        try:
            with urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except HTTPError as error:
            raise AssertionError(f"{method} {door} {path}: {error.code} {error.read()[:300]!r}") from error

    def query(self, expr: str) -> list[Any]:
        """What Prometheus answers now."""
        answer = self.get("PROMETHEUS", "/api/v1/query", query=expr)
        return list(answer["data"]["result"])

    def load(self) -> dict[str, Any]:
        """The load generator's counts."""
        return dict(self.get("CONTROL", "/api/status")["load"])

    def instance(self, name: str) -> dict[str, Any]:
        status = self.get("CONTROL", "/api/status")
        return next(each for each in (*status["instances"], *status["extras"]) if each["name"] == name)

    def act(self, action: str, name: str) -> dict[str, Any]:
        return dict(self.call("POST", "CONTROL", f"/api/instances/{name}/{action}"))

    def container(self, suffix: str) -> str:
        return f"{self.name}-{suffix}"

    def events(self, instance: str, since: float) -> list[dict[str, Any]]:
        """What a sidecar noted after that moment."""
        text = docker("exec", self.container(f"{instance}-sidecar"), "python", "-c", EVENTS)
        return [event for event in map(json.loads, text.splitlines()) if event["time"] > since]


def eventually(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Ask until it holds; what it then said."""
    end = time.monotonic() + seconds
    said: Any = None
    while time.monotonic() < end:
        try:
            said = condition()
            if said:
                return said
        except (AssertionError, OSError) as error:
            said = error
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds:g} s: {what} ({said!r})")
