"""The mesh on which Istio's tasks are tried: documents by the control API, requests as an app sends them.

front, side: callers, whose labels are team=a and team=b
web: one replica each of v1, v2, v3        store: two replicas        copy: one, for what is mirrored
"""

import http.client
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.real_mesh import RealMesh, real_mesh
from tests.e2e.real_mesh import http as ask_http

APP = Path(__file__).with_name("parrot_app.py")
COMMAND = f'command: ["{sys.executable}", "{APP}", "{{port}}", "{{name}}"], health: {{path: /health}}'
TOPOLOGY = f"""\
services:
- {{name: front, isEntrypoint: true, labels: {{team: a}}, {COMMAND}}}
- {{name: side, labels: {{team: b}}, {COMMAND}}}
- {{name: web, numReplicas: 3, versions: [v1, v2, v3], {COMMAND}}}
- {{name: store, numReplicas: 2, {COMMAND}}}
- {{name: copy, {COMMAND}}}
"""
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Reply:
    """What the app of a caller gets. `heads`: names in lower case; of two alike, both, with a comma."""

    status: int
    heads: Mapping[str, str]
    body: bytes

    @property
    def echo(self) -> dict[str, str]:
        """What the program that answered says; {} where none did."""
        found = json.loads(self.body) if self.heads.get("x-app") == "parrot" else {}
        assert isinstance(found, dict)
        return found

    @property
    def version(self) -> str:
        """web-1 is v1, and so on; for others the number of the replica."""
        return f"v{self.echo['instance'].rpartition('-')[2]}" if self.echo else ""

    @property
    def flag(self) -> str:
        """Envoy's response flag, of an answer that no program gave."""
        return self.heads.get("x-mesh-reason", "").partition(":")[0]

    @property
    def got(self) -> str | int:
        """The version that answered 200, else the status."""
        return self.version if self.status == 200 and self.echo else self.status


class TaskMesh:
    """The mesh and its words."""

    def __init__(self, mesh: RealMesh) -> None:
        self.mesh = mesh
        self._ports = {each["name"]: each["ports"] for each in mesh.status()["instances"]}

    def put(self, text: str) -> list[str]:
        """Apply these documents beside those there are; in force everywhere when it returns. Warnings."""
        answer = self._put(text)
        assert answer.status == 200, answer
        assert answer.json()["sidecars"]["behind"] == []
        return [each["warning"] if "warning" in each else str(each) for each in answer.json()["warnings"]]

    def refused(self, text: str) -> bytes:
        """Apply what must be refused; the words."""
        answer = self._put(text)
        assert answer.status >= 400, answer
        return answer.body

    def _put(self, text: str) -> Any:
        documents = [
            {"apiVersion": "networking.istio.io/v1", **each} for each in yaml.safe_load_all(text) if each
        ]
        body = json.dumps({"documents": documents}).encode()
        return self.mesh.ask("/api/policies", "PUT", body, {"Content-Type": "application/json"})

    def delete(self, *keys: str) -> None:
        """By `Kind/namespace/name`; without any, all documents there are."""
        if not keys:
            found = self.mesh.ask("/api/policies").json()["documents"]
            keys = tuple(f"{each['kind']}/{each['namespace']}/{each['name']}" for each in found)
        if keys:
            query = "&".join(f"key={key}" for key in keys)
            assert self.mesh.ask(f"/api/policies?{query}", "DELETE").status == 200

    def ask(
        self, what: str = "GET web/", heads: Mapping[str, str] | None = None, caller: str = "front-1"
    ) -> Reply:
        """`METHOD HOST/PATH`, by the outbound listener of the caller's own sidecar."""
        with self.connection(caller) as connection:
            return exchange(connection, what, heads or {})

    def ask_many(
        self, count: int, what: str = "GET web/", heads: Mapping[str, str] | None = None, at_once: int = 4
    ) -> Counter[str | int]:
        """Who or what answered so many requests (`Reply.got`)."""

        def client(number: int) -> list[str | int]:
            with self.connection() as connection:
                mine = range(number, count, at_once)
                return [exchange(connection, what, heads or {}).got for _ in mine]

        with ThreadPoolExecutor(at_once) as threads:
            return Counter(got for found in threads.map(client, range(at_once)) for got in found)

    def at_once(self, count: int, what: str, heads: Mapping[str, str]) -> list[Reply]:
        """So many requests at the same time."""
        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(lambda _: self.ask(what, heads), range(count)))

    @contextmanager
    def connection(self, caller: str = "front-1") -> Iterator[http.client.HTTPConnection]:
        found = http.client.HTTPConnection("127.0.0.1", self._ports[caller]["outbound"], timeout=PATIENCE_S)
        try:
            yield found
        finally:
            found.close()

    def heard(self, mark: str, *services: str) -> list[dict[str, str]]:
        """The requests with this x-mark that reached the programs of these services, past all sidecars."""
        found: list[dict[str, str]] = []
        for name, ports in self._ports.items():
            if name.rpartition("-")[0] in services:
                found += ask_http(f"http://127.0.0.1:{ports['app']}/heard").json()
        return [each for each in found if each.get("x-mark") == mark]


def exchange(connection: http.client.HTTPConnection, what: str, heads: Mapping[str, str]) -> Reply:
    """One request, one answer; redirects are not followed."""
    method, _, target = what.partition(" ")
    host, slash, path = target.partition("/")
    body = b"x" if method in ("POST", "PUT") else None
    connection.request(method, slash + path, body, {"Host": host, **heads})
    answer = connection.getresponse()
    found: dict[str, str] = {}
    for name, value in answer.getheaders():
        found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
    return Reply(answer.status, found, answer.read())


@contextmanager
def task_mesh(directory: Path) -> Iterator[TaskMesh]:
    (directory / "tasks.yaml").write_text(TOPOLOGY)
    with real_mesh(directory, "tasks.yaml", "--no-load") as mesh:
        yield TaskMesh(mesh)


def virtual_service(http: str, host: str = "web", name: str = "") -> str:
    """The document of these `http` rules, written as a YAML list."""
    spec = {"hosts": [host], "http": yaml.safe_load(http)}
    return json.dumps({"kind": "VirtualService", "metadata": {"name": name or host}, "spec": spec})


def destination_rule(policy: str = "{}", host: str = "web", subsets: str = "[]") -> str:
    spec = {"host": host, "trafficPolicy": yaml.safe_load(policy), "subsets": yaml.safe_load(subsets)}
    return json.dumps({"kind": "DestinationRule", "metadata": {"name": host}, "spec": spec})


VERSIONS = """[
  {name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: v3, labels: {version: v3}}
]"""
SUBSETS = destination_rule(subsets=VERSIONS)
