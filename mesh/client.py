"""The `mesh` command's way to the control API: plain blocking HTTP, because a command does one thing."""

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from mesh.errors import DocumentsRefused, MeshError, UsageError

# An action waits for its effect (a few seconds at most); a supervisor that needs longer hangs.
TIMEOUT_S = 15.0
# New replicas are waited for, and one change waits for the other; who goes finishes what it has besides.
SCALE_TIMEOUT_S = 30.0
# The largest answers are logs, of some megabytes, and everything that a page needs of a mesh of hundreds.
MAX_ANSWER_BYTES = 64 * 1024 * 1024


class ControlClient:
    """Calls the control API at `url`; raises MeshError, or UsageError for what the caller got wrong."""

    def __init__(self, url: str, token: str | None = None) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port or 80
        except ValueError:
            raise UsageError(f"{url[:80]!r} is no URL of a control API (is MESH_CONTROL right?)") from None
        self._headers = {"X-Mesh-Client": "cli"}
        if token:
            if not token.isascii() or not token.isprintable():
                raise UsageError("the token has characters that no header may have (is MESH_TOKEN right?)")
            self._headers["Authorization"] = f"Bearer {token}"

    def status(self) -> dict[str, Any]:
        """The document of `mesh status --json`."""
        return self._call("GET", "/api/status")

    def act(self, action: str, name: str, part: str) -> dict[str, Any]:
        """Kill, pause, …; returns the instance."""
        path = f"/api/instances/{quote(name, safe='')}/{action}?part={quote(part)}"
        # one that drains is healed when it has finished what it has
        wait_s = TIMEOUT_S + (self._drain_s() if action == "heal" else 0.0)
        return self._call("POST", path, timeout_s=wait_s)

    def logs(self, name: str, part: str, lines: int) -> dict[str, list[str]]:
        """Part -> its last lines."""
        return self._call(
            "GET", f"/api/instances/{quote(name, safe='')}/logs?part={quote(part)}&lines={lines}"
        )

    def follow(self, name: str, part: str, lines: int, after: str) -> tuple[list[tuple[str, str]], str]:
        """(part, line) of what containers wrote since `after` ("" = the last lines), and the next `after`."""
        query = urlencode({"part": part, "lines": lines, "after": after})
        answer = self._call("GET", f"/api/instances/{quote(name, safe='')}/follow?{query}")
        return [(part, text) for part, text in answer["lines"]], answer["next"]

    def service(self, name: str) -> dict[str, Any]:
        """As the topology has it now."""
        return self._call("GET", f"/api/services/{quote(name, safe='')}")

    def scale(self, name: str, replicas: int) -> dict[str, Any]:
        """Give the service so many replicas; returns it as it then is, and whether anything changed."""
        path = f"/api/services/{quote(name, safe='')}"
        wait_s = SCALE_TIMEOUT_S + 2 * self._drain_s()  # the change before it, and this one
        return self._call("PUT", path, {"numReplicas": replicas}, wait_s)

    def set_load(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """`rate`, `pattern` or both; returns the load."""
        return self._call("PUT", "/api/load", change)

    def policies(self, kind: str | None = None, name: str | None = None) -> dict[str, Any]:
        """All, those of a kind, or one; with how many sidecars act on the set."""
        if kind is not None and name is not None:
            return self._call("GET", f"/api/policies/{quote(kind)}/{quote(name, safe='')}")
        return self._call("GET", "/api/policies" + ("" if kind is None else f"?kind={quote(kind)}"))

    def apply(self, documents: Sequence[object], *, dry_run: bool) -> dict[str, Any]:
        """All or none; waits for the sidecars. Raises DocumentsRefused."""
        return self._call("PUT", f"/api/policies?dry_run={_word(dry_run)}", {"documents": documents})

    def delete(self, keys: Sequence[str], *, dry_run: bool) -> dict[str, Any]:
        """By Kind/name, all or none; waits for the sidecars."""
        query = urlencode([*(("key", key) for key in keys), ("dry_run", _word(dry_run))])
        return self._call("DELETE", f"/api/policies?{query}")

    def faults(self) -> dict[str, Any]:
        """Those in force."""
        return self._call("GET", "/api/faults")

    def put_fault(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Start one; waits for the sidecars."""
        return self._call("POST", "/api/faults", wish)

    def clear_faults(self, which: str | None) -> dict[str, Any]:
        """One by name, those of a service or instance, or all."""
        return self._call("DELETE", "/api/faults" + ("" if which is None else f"/{quote(which, safe='')}"))

    def explain(self, trace_id: str) -> dict[str, Any]:
        """What the sidecars kept of a trace."""
        return self._call("GET", f"/api/explain/{quote(trace_id, safe='')}")

    def shutdown(self) -> None:
        """Ask the mesh to end; it goes on ending after the answer."""
        self._call("POST", "/api/shutdown")

    def stream(self) -> Iterator[tuple[str, str]]:
        """(event, JSON) as the live page is told them, until the mesh ends; raises MeshError."""
        # a second without news does not happen while it runs: each has its row of the charts
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/api/stream", headers=self._headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise MeshError(json.loads(_read(answer))["error"])
            event = ""
            while line := answer.readline(MAX_ANSWER_BYTES):
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    event = value
                elif name == "data":
                    yield event, value
        except (OSError, http.client.HTTPException, ValueError) as error:
            words = str(error) or type(error).__name__
            raise MeshError(f"the mesh at {self._host}:{self._port} says nothing more: {words}") from error
        finally:
            connection.close()

    def _drain_s(self) -> float:
        return float(self.status().get("drain_s") or 0.0)

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            text = None if body is None else json.dumps(body)
            kind = {"Content-Type": "application/json"} if text else {}
            connection.request(method, path, text, self._headers | kind)
            answer = connection.getresponse()
            document = json.loads(_read(answer))
        except (OSError, http.client.HTTPException, ValueError) as error:
            words = str(error) or type(error).__name__
            raise MeshError(f"the mesh does not answer at {self._host}:{self._port}: {words}") from error
        finally:
            connection.close()
        if answer.status == 400 and "problems" in document:
            raise DocumentsRefused(document["problems"])
        if answer.status in (400, 404):
            raise UsageError(document["error"])
        if answer.status >= 400:
            raise MeshError(document["error"])
        assert isinstance(document, dict)
        return document


def _read(answer: http.client.HTTPResponse) -> bytes:
    body = answer.read(MAX_ANSWER_BYTES + 1)
    if len(body) > MAX_ANSWER_BYTES:
        raise ValueError(f"it answers more than {MAX_ANSWER_BYTES >> 20} MiB")
    return body


def _word(value: bool) -> str:
    return "true" if value else "false"
