"""A refused write changes nothing: no row, no index, no probe, whichever part of it was wrong."""

import json
from typing import Any

import aiohttp
import pytest

from registry.server import Server
from registry.store.state import TABLES
from tests.fakes.registry import running_registry

CHECK = {"Name": "c", "TTL": "10s"}
NODE = {"Node": "n2", "Address": "10.0.0.2"}
KV = {"KV": {"Verb": "set", "Key": "t", "Value": "dmFs"}}
ABSENT = {"KV": {"Verb": "get", "Key": "nobody"}}
NO_OWNER = {"Name": "c", "ServiceID": "nobody"}
SESSION = "11111111-2222-3333-4444-555555555555"

# Each begins with something that would be right by itself.
REFUSED: list[tuple[str, Any]] = [
    ("agent/service/register", {"Name": "a", "Checks": [CHECK, {"Name": "x", "TTL": "0s"}]}),
    ("agent/service/register", {"Name": "a", "Checks": [CHECK, {"Name": "x", "HTTP": "http://h/"}]}),
    ("agent/service/register", {"Name": "a", "Check": CHECK, "Weights": {"Passing": 0, "Warning": 1}}),
    ("agent/service/register", {"Name": "a", "Check": CHECK, "Meta": {f"k{n}": "v" for n in range(65)}}),
    ("agent/service/register", {"Name": "a", "Check": CHECK, "Meta": {"ok": "v", "not ok": "v"}}),
    ("agent/service/register", {"Name": "a", "Check": CHECK, "Port": "eighty"}),
    ("agent/service/register", {"Name": "a", "Check": CHECK, "Nonsense": 1}),
    ("agent/service/register", {"Name": "web", "ID": "web-1", "Check": {"TTL": "-5s"}}),
    ("agent/check/register", {"Name": "c", "TTL": "10s", "ServiceID": "nobody"}),
    ("agent/check/register", {"ID": "c", "Name": "c", "HTTP": "http://h/", "Interval": "1s", "TTL": "5s"}),
    ("agent/check/update/service:web-1", {"Status": "splendid", "Output": "x"}),
    ("agent/check/update/nobody", {"Status": "passing", "Output": "x"}),
    ("agent/service/maintenance/web-1?enable=perhaps", {}),
    ("agent/service/maintenance/nobody?enable=true", {}),
    ("catalog/register", {**NODE, "Service": {"Service": "a"}, "Checks": [{"Name": "c"}, NO_OWNER]}),
    ("catalog/register", {**NODE, "Service": {"Service": "a"}, "Check": NO_OWNER}),
    ("catalog/register", {**NODE, "Service": {"ID": "a", "Port": -1.5}}),
    ("catalog/register", {**NODE, "Service": {"ID": "a"}}),
    ("catalog/register", {"Node": "n2", "Service": {"Service": "a"}}),
    ("catalog/register", {**NODE, "Datacenter": "dc9"}),
    ("catalog/deregister", {"ServiceID": "web-1"}),
    ("txn", [KV, {"KV": {"Verb": "cas", "Key": "k", "Value": "dmFs", "Index": 999}}]),
    ("txn", [KV, {"KV": {"Verb": "lock", "Key": "k", "Value": "dmFs", "Session": SESSION}}]),
    ("txn", [KV, {"KV": {"Verb": "set", "Key": "u", "Value": "not base64!"}}]),
    ("txn", [KV, {"KV": {"Verb": "fetch", "Key": "u"}}]),
    ("txn", [{"KV": {"Verb": "delete-tree", "Key": ""}}, KV, ABSENT]),
    ("txn", [KV, {"Node": {"Verb": "delete", "Node": {"Node": "testnode"}}}, ABSENT]),
    ("txn", [KV] * 65),
    ("kv/k?cas=1&acquire=" + SESSION, "v"),
    ("kv/k?flags=-1", "v"),
    ("kv/k?acquire=short", "v"),
    ("session/create", {"Name": "s", "Checks": ["serfHealth", "nobody"]}),
    ("session/create", {"Name": "s", "Behavior": "explode"}),
    ("session/create", {"Name": "s", "TTL": "1s"}),
    ("session/create", {"Name": "s", "Node": "nobody"}),
    ("session/destroy/short", {}),
    ("config", {"Kind": "service-defaults", "Name": "a", "Nonsense": 7}),
    ("config", {"Kind": "no-such-kind", "Name": "a"}),
    ("connect/intentions/exact?source=a", {"Action": "allow"}),
    ("connect/intentions/exact?source=a&destination=b", {"Action": "maybe"}),
    ("operator/autopilot/configuration", {"CleanupDeadServers": "perhaps"}),
    ("coordinate/update", {"Node": "testnode", "Coord": {"Vec": [1, 2]}}),
    ("event/fire/", "x"),
    ("event/fire/e?tag=t", "x"),
]  # fmt: skip


def picture(server: Server) -> Any:
    """All that a write may change."""
    found = server.store.state
    return (
        found.index,
        found.size,
        dict(found.indexes),
        {name: dict(found.table(name)) for name in TABLES},
        list(found.sorted_keys),
        {name: dict(one) for name, one in found.held_by.items()},
        sorted(server.agent._ttls._ttl),
        len(server.leases._sessions),
        len(server.events.named("")),
    )


@pytest.mark.parametrize(
    ("path", "body"), REFUSED, ids=[f"{n}-{path[:30]}" for n, (path, _) in enumerate(REFUSED)]
)
async def test_a_refused_write_changes_nothing(path: str, body: Any) -> None:
    """And it was refused: a status of 400 or more, or `false`."""
    async with running_registry() as server, aiohttp.ClientSession(f"http://{server.address}") as session:
        web = {"Name": "web", "ID": "web-1", "Check": {"TTL": "60s", "Status": "passing"}}
        for ready, given in (("agent/service/register", json.dumps(web)), ("kv/k", "v")):
            async with session.put(f"/v1/{ready}", data=given) as answer:
                assert answer.status == 200
        before = picture(server)
        async with session.put(
            f"/v1/{path}", data=body if isinstance(body, str) else json.dumps(body)
        ) as answer:
            text = await answer.text()
            assert answer.status >= 400 or text.strip() == "false", (answer.status, text)
        assert picture(server) == before
