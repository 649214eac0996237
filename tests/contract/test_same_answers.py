"""Two fresh registries, one script of requests, the same answers: the strictest part of the contract.

`same_answers.txt` is the script. What is alike by nature only (ids, indexes, hashes, ports) is made
alike first; what differs for a reason stands in DIFFERENT with it.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.contract import servers
from tests.contract.http import Answer, Http

SCRIPT = Path(__file__).with_name("same_answers.txt")
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
INDEX = re.compile(r"current modify index \d+")
EXPECTED = re.compile(r"(no match found, expected: ).*")
"""What a parser would have liked instead is its own affair; where it stopped is not."""

LOOSE = frozenset({"CreateIndex", "ModifyIndex", "ContentHash", "LTime"})

DIFFERENT = {
    "consul": "the service `consul` itself: its port and meta are each server's own",
    "Coord": "measured by the one, made up by the other",
}


def _script() -> Iterator[tuple[str, str, str]]:
    for line in SCRIPT.read_text().splitlines():
        if line and not line.startswith("#"):
            method, path, *rest = line.split(" ", 2)
            if method == "NAMED":
                yield method, path, rest[0]
            elif method == "FILTER":
                yield "GET", f"{path}?filter={quote(rest[0], safe='')}", ""
            else:
                yield method, path, rest[0] if rest else ""


def _alike(value: Any) -> Any:
    """The value without what may differ; lists by session id are put in another order."""
    if isinstance(value, dict):
        return {key: 0 if key in LOOSE else _alike(one) for key, one in value.items() if key not in DIFFERENT}
    if isinstance(value, list):
        return [_alike(one) for one in value]
    if isinstance(value, str):
        return EXPECTED.sub(r"\1…", INDEX.sub("current modify index N", UUID.sub("UUID", value)))
    return value


def _picture(answer: Answer) -> tuple[Any, ...]:
    try:
        body = _alike(json.loads(answer.body))
    except ValueError:
        body = _alike(answer.text)
    headers = {
        name: answer.headers.get(name)
        for name in ("x-consul-reason", "allow", "x-consul-knownleader", "x-consul-lastcontact")
    }
    kind = answer.headers.get("content-type", "").partition(";")[0] if answer.body else ""
    return answer.status, headers, "x-consul-index" in answer.headers, kind, body


class Player:
    """Plays the script on one registry. `SESSION X` makes a session, `NAMED X` asks for what has an
    ID: it is {X} from then on."""

    def __init__(self, http: Http) -> None:
        self.http = http
        self.names: dict[str, str] = {}

    async def play(self, method: str, path: str, body: str) -> tuple[Any, ...]:
        for name, session in self.names.items():
            path, body = path.replace(f"{{{name}}}", session), body.replace(f"{{{name}}}", session)
        if method == "SESSION":
            self.names[path] = (await self.http.put("session/create", body)).json["ID"]
            return ()
        name = ""
        if method == "NAMED":
            name, (method, path, body) = path, body.split(" ", 2)
        answer = await self.http(method, path, body)
        if name:
            self.names[name] = answer.json["ID"]
        if method == "PUT" and path.startswith("agent/") and answer.status == 200:
            await self._synced()
        return _picture(answer)

    async def _synced(self) -> None:
        """Consul's agent tells its catalog a moment after it answered; wait until both say the same."""

        async def agent() -> dict[str, str]:
            rows = (await self.http.get("agent/checks")).json
            services = (await self.http.get("agent/services")).json
            return {key: row["Status"] for key, row in rows.items()} | dict.fromkeys(services, "")

        wanted = await agent()
        own = servers.NODE
        await self.http.settled(
            f"health/node/{own}",
            lambda rows: (
                {row["CheckID"]: row["Status"] for row in rows if row["CheckID"] != "serfHealth"}
                == {key: status for key, status in wanted.items() if status}
            ),
        )
        await self.http.settled(
            f"catalog/node/{own}",
            lambda node: (
                set(node["Services"]) - {"consul"} == {key for key, status in wanted.items() if not status}
            ),
        )


@pytest.fixture
async def players() -> AsyncIterator[tuple[Player, Player]]:
    servers.require_consul()
    real, ours = servers.start_consul(), servers.start_embedded()
    try:
        async with aiohttp.ClientSession() as session:
            yield Player(Http(session, real)), Player(Http(session, ours))
    finally:
        real.stop()
        ours.stop()


async def test_every_answer_is_consuls(players: tuple[Player, Player]) -> None:
    differences = []
    for method, path, body in _script():
        real, ours = [await player.play(method, path, body) for player in players]
        if real != ours:
            differences.append(f"{method} {path} {body[:100]}\n  consul: {real}\n  ours:   {ours}")
    assert not differences, "\n".join(differences)
