"""Docker's API: the few calls that a mesh of containers needs. Blocking; every failure is one line.

Actions may be said twice: to pause what is paused, or connect what is connected, changes nothing.
"""

from collections.abc import Sequence
from typing import Any

import docker
import docker.errors
import requests.exceptions

from mesh.docker.containers import INSTANCE, PROJECT, Container, listed
from mesh.docker.log_lines import LogLine, seconds, stamped
from mesh.errors import MeshError
from mesh.logs import MAX_TAIL_BYTES, lines_of
from mesh.ring import Ring

# The engine answers in milliseconds; one that hangs must not hold up the control API for long.
TIMEOUT_S = 10
# What is restarted to join another network has no work that could end: it was cut off from it.
RESTART_GRACE_S = 1
MAX_LOG_LINES = 10_000
# Docker hands lines over in frames: one or more lines, or a part of a long one.
MAX_LOG_FRAMES = 4 * MAX_LOG_LINES


class EngineError(MeshError):
    """Docker cannot be reached, or refused."""


class Engine:
    """The containers of one Compose project."""

    def __init__(self, project: str) -> None:
        self.project = project
        try:
            self._client = docker.DockerClient.from_env(timeout=TIMEOUT_S)
            self._client.ping()
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            words = "is it running, and may this user read /var/run/docker.sock?"
            raise EngineError(f"no Docker engine answers ({words})") from error

    def look(self) -> tuple[Container, ...]:
        """Every container of the mesh in this project, running or not."""
        found = []
        try:
            wanted = {"label": [f"{PROJECT}={self.project}", INSTANCE]}
            for entry in self._client.api.containers(all=True, filters=wanted):
                try:
                    container = listed(self._client.api.inspect_container(entry["Id"]))
                except docker.errors.NotFound:
                    continue  # removed between the two calls
                if container is not None:
                    found.append(container)
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise EngineError(f"the Docker engine does not answer: {_line(error)}") from error
        return tuple(sorted(found, key=lambda one: one.name))

    def kill(self, container: Container) -> None:
        """SIGKILL; Docker does not start it again."""
        if container.alive:
            self._do(container, "kill")

    def pause(self, container: Container) -> None:
        """Freeze its processes."""
        if container.state == "running":
            self._do(container, "pause")

    def unpause(self, container: Container) -> None:
        """Let them go on."""
        if container.state == "paused":
            self._do(container, "unpause")

    def start(self, container: Container) -> None:
        """Start it unless it runs."""
        self._do(container, "start")

    def restart(self, container: Container, *, gracefully: bool = False) -> None:
        """Stop it, and start it: it joins its sidecar's network of now.

        `gracefully`: with as much time as Compose gave it to stop.
        """
        try:
            found = self._client.containers.get(container.id)
            grace_s = found.attrs["Config"].get("StopTimeout") if gracefully else None
            found.restart(timeout=grace_s or RESTART_GRACE_S)
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise EngineError(f"docker restart {container.name}: {_line(error)}") from error

    def disconnect(self, container: Container) -> None:
        """Cut it off from every network of the project."""
        for name in container.networks:
            try:
                self._client.networks.get(name).disconnect(container.id, force=True)
            except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
                raise EngineError(f"docker network disconnect {container.name}: {_line(error)}") from error

    def connect(self, container: Container, aliases: Sequence[str]) -> None:
        """Back to the project's network, under its names there."""
        if container.networks:
            return
        try:
            networks = self._client.networks.list(filters={"label": f"{PROJECT}={self.project}"})
            for network in networks:
                network.connect(container.id, aliases=list(aliases))
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise EngineError(f"docker network connect {container.name}: {_line(error)}") from error

    def logs(self, container: Container, lines: int) -> list[str]:
        """The last lines of both of its outputs."""
        return lines_of(self._written(container, tail=min(lines, MAX_LOG_LINES)))

    def log_lines(self, container: Container, lines: int, after: str) -> list[LogLine]:
        """What both of its outputs said after the stamp `after`, or, without one, the last lines."""
        data = self._written(
            container,
            timestamps=True,
            tail=MAX_LOG_LINES if after else min(lines, MAX_LOG_LINES),
            since=seconds(after) if after else None,
        )
        return stamped(container.part.value, lines_of(data), after)

    def _written(self, container: Container, **wanted: Any) -> bytes:
        """The end of what it wrote: a line may be 16 KiB long, and lines are many."""
        kept: Ring[bytes] = Ring(MAX_LOG_FRAMES, MAX_TAIL_BYTES)
        try:
            # as a stream: else all of it is in memory before anything can be left out; but what is written
            # after the question is no part of the answer
            found = self._client.containers.get(container.id)
            for frame in found.logs(stream=True, follow=False, **wanted):
                kept.append(frame, len(frame))
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise EngineError(f"docker logs {container.name}: {_line(error)}") from error
        return b"".join(kept)

    def service_of(self, container: Container) -> str:
        """Its name in the compose file, by which others of the network know it."""
        labels = self._client.containers.get(container.id).labels
        return str(labels.get("com.docker.compose.service", container.instance))

    def _do(self, container: Container, verb: str) -> None:
        try:
            getattr(self._client.containers.get(container.id), verb)()
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise EngineError(f"docker {verb} {container.name}: {_line(error)}") from error


def _line(error: Exception) -> str:
    explanation = getattr(error, "explanation", None)
    return " ".join(str(explanation or error).split())[:300]
