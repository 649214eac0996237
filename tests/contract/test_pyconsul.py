"""py-consul's own client, both parts, does the same against ours as against Consul.

Nobody here wrote it. The blocking part runs as it ships; the asyncio part too, with the deprecation
warnings that its session gives on current aiohttp let through.
"""

import asyncio
import inspect
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import consul
import consul.aio
import consul.exceptions
import consul.std
import pytest

from tests.contract.servers import Running

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Blocking:
    """The blocking client behind the same face as the asyncio one: every call gives its result."""

    def __init__(self, host: str, port: int) -> None:
        self.client: Any = consul.Consul(host=host, port=port)

    def __call__(self, result: Any) -> Any:
        return result

    def close(self) -> None:
        self.client.http.close()


class Asyncio:
    """The asyncio client, each call run to its end on a loop of its own thread."""

    def __init__(self, host: str, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.client: Any = self(self._make(host, port))

    async def _make(self, host: str, port: int) -> Any:
        return consul.aio.Consul(host=host, port=port)

    def __call__(self, result: Any) -> Any:
        if not inspect.isawaitable(result):
            return result
        return asyncio.run_coroutine_threadsafe(result, self._loop).result(20)  # type: ignore[arg-type]

    def close(self) -> None:
        self(self.client.http.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(params=[Blocking, Asyncio])
def do(request: pytest.FixtureRequest, registry: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("CONSUL_HTTP_ADDR", raising=False)
    host, port = registry.address.split(":")
    made = request.param(host, int(port))
    yield made
    made.close()


def _until(true: Any, within: float = 5.0) -> Any:
    deadline = time.monotonic() + within  # noqa: TID251 - another process, real time
    while not (found := true()):
        assert time.monotonic() < deadline  # noqa: TID251
        time.sleep(0.02)  # noqa: TID251
    return found


def test_agent(do: Any, name: str) -> None:
    agent = do.client.agent
    assert do(agent.self())["Config"]["NodeName"]
    assert do(agent.members())
    assert do(agent.members(wan=True))
    check = consul.Check.ttl("60s")
    done = do(
        agent.service.register(
            name,
            service_id=f"{name}-1",
            address="127.0.0.1",
            port=80,
            tags=["v1"],
            meta={"k": "v"},
            weights={"Passing": 3, "Warning": 1},
            check=check,
            extra_checks=[consul.Check.tcp("127.0.0.1", 1, "10s")],
            tagged_addresses={"lan": {"address": "127.0.0.1", "port": 80}},
            enable_tag_override=True,
            replace_existing_checks=True,
        )
    )
    assert done is True
    assert do(agent.services())[f"{name}-1"]["Weights"] == {"Passing": 3, "Warning": 1}
    assert list(do(agent.services(filter_expr=f'ID == "{name}-1"'))) == [f"{name}-1"]
    assert do(agent.service_definition(f"{name}-1"))["Service"] == name
    ttl = f"service:{name}-1:1"
    assert do(agent.check.ttl_pass(ttl, "fine")) is True
    assert do(agent.checks())[ttl]["Output"] == "fine"
    assert do(agent.check.ttl_warn(ttl)) is True
    assert do(agent.check.ttl_fail(ttl)) is True
    assert list(do(agent.checks(filter_expr=f'CheckID == "{ttl}"'))) == [ttl]
    own = do(
        agent.check.register(
            f"{name}-c",
            consul.Check.http(
                "http://127.0.0.1:1", "10s", timeout="1s", deregister="10m", header={"x": ["1"]}
            ),
            service_id=f"{name}-1",
            notes="n",
        )
    )
    assert own is True
    assert do(agent.check.deregister(f"{name}-c")) is True
    assert do(agent.service.maintenance(f"{name}-1", True, "why")) is True
    assert do(agent.service.maintenance(f"{name}-1", False)) is True
    assert do(agent.service.deregister(f"{name}-1")) is True
    assert do(agent.check.register(f"{name}-old", ttl="60s")) is True
    assert do(agent.check.deregister(f"{name}-old")) is True
    assert do(agent.reload()) is True
    assert do(agent.metrics())["Gauges"]


def test_catalog_and_health(do: Any, name: str) -> None:
    catalog, health = do.client.catalog, do.client.health
    service = {"Service": name, "ID": f"{name}-1", "Tags": ["a"], "Port": 8000}
    check = {"Node": name, "CheckID": f"{name}-c", "Name": "c", "Status": "passing", "ServiceID": f"{name}-1"}
    assert do(catalog.register(name, "10.0.0.9", service=service, check=check)) is True
    assert do(catalog.datacenters()) == ["dc1"]
    index, nodes = do(catalog.nodes())
    assert int(index) > 0
    assert name in [node["Node"] for node in nodes]
    assert do(catalog.services())[1][name] == ["a"]
    assert do(catalog.node(name))[1]["Services"][f"{name}-1"]["Port"] == 8000
    assert do(catalog.service(name))[1][0]["Address"] == "10.0.0.9"
    assert do(catalog.service(name, tag="b"))[1] == []
    index, rows = do(health.service(name, passing=True))
    assert [row["Service"]["ID"] for row in rows] == [f"{name}-1"]
    assert do(health.service(name, tag=["a"], filter_expr="Service.Port == 8000"))[1] == rows
    assert do(health.service(name, near="_agent", node_meta={"x": "y"}))[1] == []
    assert do(health.checks(name))[1][0]["CheckID"] == f"{name}-c"
    assert f"{name}-c" in [row["CheckID"] for row in do(health.state("passing"))[1]]
    assert f"{name}-c" in [row["CheckID"] for row in do(health.node(name))[1]]
    assert do(health.connect(name))[1] == []
    began = time.monotonic()  # noqa: TID251
    again, _ = do(health.service(name, index=index, wait="300ms"))
    assert again == index
    assert time.monotonic() - began >= 0.3  # noqa: TID251
    assert do(catalog.deregister(name, check_id=f"{name}-c")) is True
    assert do(catalog.deregister(name, service_id=f"{name}-1")) is True
    assert do(catalog.deregister(name)) is True
    assert do(health.service(name))[1] == []


def test_kv(do: Any, name: str) -> None:
    kv = do.client.kv
    assert do(kv.get(name))[1] is None
    assert do(kv.put(name, "text", flags=7)) is True
    index, row = do(kv.get(name))
    assert (row["Value"], row["Flags"]) == (b"text", 7)
    assert do(kv.put(name, b"\x00\xff", cas=row["ModifyIndex"])) is True
    assert do(kv.put(name, "x", cas=row["ModifyIndex"])) is False
    assert do(kv.put(f"{name}/a/b", "1")) is True
    assert do(kv.put(f"{name}/a/c", "")) is True
    assert [one["Key"] for one in do(kv.get(f"{name}/", recurse=True))[1]] == [f"{name}/a/b", f"{name}/a/c"]
    assert do(kv.get(f"{name}/", keys=True, separator="/"))[1] == [f"{name}/a/"]
    assert do(kv.get(name, index=index, wait="10s"))[1]["Value"] == b"\x00\xff"
    assert do(kv.delete(name, cas=1)) is False
    assert do(kv.delete(f"{name}/", recurse=True)) is True
    assert do(kv.delete(name)) is True
    assert do(kv.get(name))[1] is None


def test_sessions_and_locks(do: Any, name: str) -> None:
    session, kv = do.client.session, do.client.kv
    one = do(session.create(name, ttl=10, behavior="delete", lock_delay=1))
    assert do(session.info(one))[1]["Name"] == name
    assert one in [row["ID"] for row in do(session.list())[1]]
    node = do(do.client.agent.self())["Config"]["NodeName"]
    assert one in [row["ID"] for row in do(session.node(node))[1]]
    assert do(session.renew(one))["ID"] == one
    assert do(kv.put(name, "v", acquire=one)) is True
    assert do(kv.get(name))[1]["Session"] == one
    assert do(kv.put(name, "v", release=one)) is True
    assert do(kv.put(name, "v", acquire=one)) is True
    assert do(session.destroy(one)) is True
    assert do(kv.get(name))[1] is None
    assert do(session.info(one))[1] is None
    with pytest.raises(consul.NotFound):
        do(session.renew(one))


def test_events_transactions_status_and_coordinates(do: Any, name: str) -> None:
    fired = do(do.client.event.fire(name, "body", node=".*"))
    assert (fired["Name"], fired["NodeFilter"]) == (name, ".*")
    found = _until(lambda: do(do.client.event.list(name))[1])
    assert found[0]["Payload"] == b"body"
    answer = do(do.client.txn.put([{"KV": {"Verb": "set", "Key": name, "Value": "MQ=="}}]))
    assert answer["Results"][0]["KV"]["Key"] == name
    leader = do(do.client.status.leader())
    assert do(do.client.status.peers()) == [leader]
    assert do(do.client.coordinate.datacenters())[0]["Datacenter"] == "dc1"
    assert int(do(do.client.coordinate.nodes())[0]) >= 1
    assert do(do.client.operator.raft_config())["Servers"][0]["Leader"] is True


def test_its_errors_are_consuls(do: Any, name: str) -> None:
    with pytest.raises(consul.ACLDisabled):
        do(do.client.acl.token.list())
    with pytest.raises(consul.base.ConsulException):
        do(do.client.agent.check.ttl_pass(f"{name}-nothing"))
    with pytest.raises(consul.base.ConsulException):
        do(do.client.health.service(name, filter_expr="Bogus == 1"))
    with pytest.raises(consul.exceptions.BadRequest):
        do(do.client.agent.service.register(name, check={"http": "http://x"}))
    with pytest.raises(consul.base.ConsulException, match="No path to datacenter"):
        do(do.client.kv.get(name, dc="elsewhere"))


def test_prepared_queries(do: Any, name: str) -> None:
    query = do.client.query
    check = {"Node": name, "CheckID": f"{name}-c", "Name": "c", "Status": "passing", "ServiceID": f"{name}-1"}
    service = {"Service": name, "ID": f"{name}-1", "Tags": ["a"], "Port": 8000}
    assert do(do.client.catalog.register(name, "10.0.0.9", service=service, check=check)) is True
    made = do(query.create(name, name=name, onlypassing=True, tags=["a"], ttl="10s"))["ID"]
    assert made in [one["ID"] for one in do(query.list())]
    assert do(query.get(made))[0]["Service"]["Tags"] == ["a"]
    assert do(query.get(made))[0]["Template"]["Type"] == "name_prefix_match"
    answer = do(query.execute(f"{name}-whatever", near="_agent", limit=5))
    assert [row["Service"]["ID"] for row in answer["Nodes"]] == [f"{name}-1"]
    assert (answer["DNS"]["TTL"], answer["Datacenter"]) == ("10s", "dc1")
    changed = do(query.update(made, "${match(1)}", name=name, regexp=f"^{name}-(.*)-x$", tags=["b"]))
    assert changed is True
    assert do(query.explain(f"{name}-web-x"))["Query"]["Service"]["Service"] == "web"
    assert do(query.execute(f"{name}-{name}-x"))["Nodes"] == []
    assert do(query.delete(made)) is True
    assert do(query.execute(name)) is None


def test_config_entries_and_the_chain(do: Any, name: str) -> None:
    config = do.client.config
    assert do(config.set("service-defaults", name, {"Protocol": "http"})) is True
    entry = do(config.get("service-defaults", name))
    assert (entry["Protocol"], entry["Name"]) == ("http", name)
    assert do(config.set("service-defaults", name, {"Protocol": "grpc"}, cas=1)) is False
    assert do(config.set("service-defaults", name, {"Protocol": "grpc"}, cas=entry["ModifyIndex"])) is True
    assert name in [one["Name"] for one in do(config.list("service-defaults"))]
    chain = do(do.client.discovery_chain.get(name))["Chain"]
    assert (chain["Protocol"], chain["ServiceName"]) == ("grpc", name)
    other = do(do.client.discovery_chain.get(name, override_protocol="http", override_connect_timeout="9s"))
    (node,) = other["Chain"]["Nodes"].values()
    assert (other["Chain"]["Protocol"], node["Resolver"]["ConnectTimeout"]) == ("http", "9s")
    assert do(config.delete("service-defaults", name)) is True
    assert do(config.get("service-defaults", name)) is None


def test_intentions(do: Any, name: str, registry: Running) -> None:
    """By exact names since Consul 1.9; what follows from one is asked the same way in every version."""
    intentions, db = do.client.connect.intentions, f"{name}-db"
    assert do(intentions.check("web", db)) is True
    exact = registry.kind == "embedded" or registry.version >= (1, 9)
    if exact:
        assert do(intentions.upsert("*", db, action="deny", description="d", meta={"k": "v"})) is True
        assert do(intentions.upsert("web", db, action="allow")) is True
        assert do(intentions.read("*", db))["Description"] == "d"
    else:
        for source, action in (("*", "deny"), ("web", "allow")):
            body = {"SourceName": source, "DestinationName": db, "SourceType": "consul", "Action": action}
            _post(registry, "connect/intentions", body)
    assert do(intentions.check("web", db)) is True
    assert do(intentions.check("other", db)) is False
    matched = do(intentions.match("destination", db))[db]
    assert [(row["SourceName"], row["Precedence"]) for row in matched] == [("web", 9), ("*", 8)]
    assert db in [row["DestinationName"] for row in do(intentions.list())]
    uri = "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/other"
    # The client asks by PUT, which no Consul takes; so this is asked by hand.
    asked = {"Target": db, "ClientCertURI": uri, "ClientCertSerial": "04"}
    assert _post(registry, "agent/connect/authorize", asked)["Authorized"] is False
    with pytest.raises(consul.base.ConsulException, match="405"):
        do(do.client.agent.connect.authorize(db, uri, "04"))
    if exact:
        assert do(intentions.delete("*", db)) is True
        assert do(intentions.check("other", db)) is True
        assert do(intentions.delete("web", db)) is True
        assert do(intentions.read("web", db)) is None


def _post(registry: Running, path: str, body: Any) -> Any:
    request = urllib.request.Request(f"{registry.url}/v1/{path}", json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def test_operator_and_reported_coordinates(do: Any, name: str) -> None:
    operator, coordinate = do.client.operator, do.client.coordinate
    before = do(operator.autopilot_configuration())
    assert do(operator.update_autopilot_configuration(min_quorum=3, cas=before["ModifyIndex"])) is True
    assert do(operator.autopilot_configuration())["MinQuorum"] == 3
    assert do(operator.update_autopilot_configuration(min_quorum=5, cas=1)) is False
    assert "Healthy" in do(operator.autopilot_health())
    with pytest.raises(consul.base.ConsulException, match="Keyring is empty"):
        do(operator.keyring_list())
    with pytest.raises(consul.base.ConsulException, match="was not found in the Raft"):
        do(operator.raft_remove_peer(peer_id="nobody"))
    do(do.client.catalog.register(name, "10.0.0.9"))
    coord = {"Vec": [0.25] + [0] * 7, "Error": 1.5, "Adjustment": 0, "Height": 0.00001}
    assert do(coordinate.update(name, coord)) is True
    # Consul writes what was reported in batches, every five seconds.
    rows = _until(lambda: _found(lambda: do(coordinate.node(name))[1]), within=12)
    assert rows[0]["Coord"]["Vec"][0] == 0.25
    assert name in [row["Node"] for row in do(coordinate.nodes())[1]]
    assert do(do.client.catalog.deregister(name)) is True
    assert _found(lambda: do(coordinate.node(name))[1]) is None


def _found(ask: Any) -> Any:
    try:
        return ask()
    except consul.NotFound:
        return None


def test_what_the_embedded_registry_has_not_says_so(
    embedded: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connect's authority, snapshots, chains of several links: 501 with words, never a silent success."""
    monkeypatch.delenv("CONSUL_HTTP_ADDR", raising=False)
    host, port = embedded.address.split(":")
    client: Any = consul.std.Consul(host=host, port=int(port))
    for call in (
        lambda: client.connect.ca.roots(),
        lambda: client.connect.ca.configuration(),
        lambda: client.connect.ca.update_configuration("consul", {}),
        lambda: client.agent.connect.ca.roots(),
        lambda: client.agent.connect.ca.leaf("web"),
        lambda: client.snapshot.save(),
        lambda: client.snapshot.restore(b""),
        lambda: client.agent.leave(),
        lambda: client.agent.monitor(),
        lambda: client.operator.raft_transfer_leader(),
    ):
        with pytest.raises(consul.base.ConsulException, match=r"501 .*the embedded registry has no /v1/"):
            call()
    client.config.set("service-resolver", "routed", {"ConnectTimeout": "1s"})
    with pytest.raises(
        consul.base.ConsulException, match=r"501 .*compiles no chain from the service-resolver"
    ):
        client.discovery_chain.get("routed")
    assert client.operator.usage()["Usage"]["dc1"]["Nodes"] >= 1
    client.http.close()
