"""One Compose project under test: its own name and ports, so that several run side by side."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import yaml

from mesh.export import images

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


def no_engine() -> str:
    """Why there is none; "" when there is one."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "no Docker engine answers"
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        return "Docker has no Compose v2"
    return ""


def need_engine() -> None:
    """Skips where there is no engine; in CI, where there has to be one, that is a failure."""
    words = no_engine()
    if words and os.environ.get("CI") == "true":
        pytest.fail(words)
    if words:
        pytest.skip(words)


def has_image(name: str) -> bool:
    return bool(docker("images", "--quiet", name).strip())


def _image_id(name: str) -> str:
    command = ["docker", "image", "inspect", "--format", "{{.Id}}", name]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def by_tag(pinned: Callable[[str], str], here: Callable[[str], bool]) -> dict[str, Any]:
    """What Compose is told of images that are here by tag and not by digest, as stand-ins are."""
    theirs = {"consul": images.CONSUL, "prometheus": images.PROMETHEUS, "grafana": images.GRAFANA}
    theirs |= {"jaeger": images.JAEGER, "ingress": images.PYTHON}
    services: dict[str, Any] = {}
    for service, image in theirs.items():
        if pinned(image) != image and here(image) and not here(pinned(image)):
            base = image == images.PYTHON
            services[service] = {"build": {"args": {"PYTHON": image}}} if base else {"image": image}
    return {"services": services} if services else {}


class Project:
    """`up` and `down` around a test, and what the test asks in between."""

    def __init__(
        self, name: str, *, variables: Mapping[str, str] | None = None, file: Path = ROOT / "compose.yaml"
    ) -> None:
        self.name = name
        self.files = [file]
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
        if override := by_tag(images.pinned, lambda image: bool(_image_id(image))):
            tags = Path(tempfile.gettempdir(), f"{name}-by-tag.yaml")
            tags.write_text(yaml.safe_dump(override), encoding="utf-8")
            self.files.append(tags)

    def compose(self, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run `docker compose …` on this project."""
        files = [word for file in self.files for word in ("--file", str(file))]
        return subprocess.run(
            [
                "docker",
                "compose",
                "--project-name",
                self.name,
                "--project-directory",
                str(ROOT),
                *files,
                *words,
            ],
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
