"""py-consul's own client, both parts, does the same against ours as against Consul.

Nobody here wrote it. The blocking part runs as it ships; the asyncio part too, with the deprecation
warnings that its session gives on current aiohttp let through.
"""

import asyncio
import inspect
import threading
import time
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


def test_what_the_embedded_registry_has_not_says_so(
    embedded: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepared queries, config entries, Connect's authority: 501 with words, never a silent success."""
    monkeypatch.delenv("CONSUL_HTTP_ADDR", raising=False)
    host, port = embedded.address.split(":")
    client: Any = consul.std.Consul(host=host, port=int(port))
    for call in (
        lambda: client.query.list(),
        lambda: client.config.list("service-defaults"),
        lambda: client.connect.ca.roots(),
        lambda: client.snapshot.save(),
        lambda: client.discovery_chain.get("web"),
    ):
        with pytest.raises(consul.base.ConsulException, match=r"501 .*the embedded registry has no /v1/"):
            call()
    client.http.close()
