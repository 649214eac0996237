"""/v1/agent, the same on both."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.http import Http


def _service(name: str, **fields: Any) -> dict[str, Any]:
    return {"ID": f"{name}-1", "Name": name, "Check": {"TTL": "60s"}, **fields}


async def test_a_registration_is_shown_by_agent_catalog_and_health(http: Http, name: str) -> None:
    body = _service(
        name,
        Address="10.1.2.3",
        Port=8080,
        Tags=["v1", "prod"],
        Meta={"version": "1"},
        Weights={"Passing": 5, "Warning": 2},
        TaggedAddresses={"wan": {"Address": "1.2.3.4", "Port": 99}},
        EnableTagOverride=True,
    )
    await http.put("agent/service/register", body)
    own = (await http.get(f"agent/service/{name}-1")).json
    assert own["Weights"] == {"Passing": 5, "Warning": 2}
    assert own["Tags"] == ["v1", "prod"]
    assert own["TaggedAddresses"]["wan"] == {"Address": "1.2.3.4", "Port": 99}
    assert own["TaggedAddresses"]["lan_ipv4"] == {"Address": "10.1.2.3", "Port": 8080}
    assert own["EnableTagOverride"] is True
    assert (await http.get("agent/services")).json[f"{name}-1"]["Meta"] == {"version": "1"}
    (flat,) = (await http.settled(f"catalog/service/{name}", bool)).json
    assert (flat["ServiceID"], flat["ServicePort"], flat["ServiceAddress"]) == (f"{name}-1", 8080, "10.1.2.3")
    assert flat["ServiceWeights"] == {"Passing": 5, "Warning": 2}
    (entry,) = (
        await http.settled(f"health/service/{name}", lambda rows: rows and len(rows[0]["Checks"]) == 2)
    ).json
    assert entry["Service"]["Meta"] == {"version": "1"}
    assert {check["CheckID"] for check in entry["Checks"]} == {"serfHealth", f"service:{name}-1"}
    assert (await http.get("catalog/services")).json[name] == ["prod", "v1"] or set(
        (await http.get("catalog/services")).json[name]
    ) == {"v1", "prod"}


async def test_a_ttl_check_lives_by_its_reports(http: Http, name: str) -> None:
    await http.put("agent/service/register", _service(name))
    check = f"service:{name}-1"

    async def status() -> tuple[int, str]:
        answer = await http.get(f"agent/health/service/id/{name}-1?format=text")
        return answer.status, answer.text

    assert await status() == (503, "critical")
    await http.put(f"agent/check/pass/{check}?note=fine")
    assert await status() == (200, "passing")
    await http.put(f"agent/check/warn/{check}?note=slow")
    assert await status() == (429, "warning")
    await http.put(f"agent/check/fail/{check}")
    assert await status() == (503, "critical")
    await http.put(f"agent/check/update/{check}", {"Status": "passing", "Output": "words"})
    own = (await http.get("agent/checks")).json[check]
    assert (own["Status"], own["Output"], own["Type"]) == ("passing", "words", "ttl")


async def test_a_ttl_check_that_is_not_heard_of_expires(http: Http, name: str) -> None:
    await http.put("agent/service/register", _service(name, Check={"TTL": "300ms"}))
    await http.put(f"agent/check/pass/service:{name}-1?note=last")
    answer = await http.settled(
        f"health/checks/{name}",
        lambda rows: rows and rows[0]["Status"] == "critical" and "TTL expired" in rows[0]["Output"],
    )
    assert answer.json[0]["Output"] == "TTL expired (last output before timeout follows): last"


async def test_a_check_may_begin_with_a_status(http: Http, name: str) -> None:
    await http.put("agent/service/register", _service(name, Check={"TTL": "60s", "Status": "passing"}))
    assert (await http.get(f"agent/health/service/id/{name}-1")).status == 200


async def test_registering_again_keeps_status_and_old_checks(http: Http, name: str) -> None:
    def checks(*ids: str) -> dict[str, Any]:
        return {
            "ID": name,
            "Name": name,
            "Checks": [{"CheckID": f"{name}-{one}", "TTL": "60s"} for one in ids],
        }

    async def own() -> dict[str, str]:
        rows = (await http.get("agent/checks")).json
        return {key: row["Status"] for key, row in rows.items() if key.startswith(name)}

    await http.put("agent/service/register", checks("a"))
    await http.put(f"agent/check/pass/{name}-a")
    await http.put("agent/service/register", checks("a"))
    assert await own() == {f"{name}-a": "passing"}
    await http.put("agent/service/register", checks("b"))
    assert await own() == {f"{name}-a": "passing", f"{name}-b": "critical"}
    await http.put("agent/service/register?replace-existing-checks=true", checks("b"))
    assert await own() == {f"{name}-b": "critical"}


async def test_several_checks_are_numbered_and_named(http: Http, name: str) -> None:
    await http.put(
        "agent/service/register", {"Name": name, "Checks": [{"TTL": "60s"}, {"TTL": "61s", "Name": "own"}]}
    )
    rows = (await http.get("agent/checks")).json
    assert rows[f"service:{name}:1"]["Name"] == f"Service '{name}' check"
    assert rows[f"service:{name}:2"]["Name"] == "own"


async def test_the_aggregate_of_a_name_is_its_worst(http: Http, name: str) -> None:
    for number, status in ((1, "passing"), (2, "warning")):
        body = {"ID": f"{name}-{number}", "Name": name, "Check": {"TTL": "60s", "Status": status}}
        await http.put("agent/service/register", body)
    answer = await http.get(f"agent/health/service/name/{name}")
    assert answer.status == 429
    assert {row["AggregatedStatus"] for row in answer.json} == {"passing", "warning"}
    assert answer.headers["x-consul-reason"] == "warning"


async def test_passing_leaves_out_who_only_warns(http: Http, name: str) -> None:
    """Whichever of the two questions was asked first."""
    check = {"TTL": "600s", "Status": "warning"}
    await http.put("agent/service/register", {"Name": name, "Check": check})
    await http.settled(f"health/service/{name}", lambda rows: len(rows) == 1 and len(rows[0]["Checks"]) == 2)
    for _ in range(2):
        assert len((await http.get(f"health/service/{name}")).json) == 1
        assert (await http.get(f"health/service/{name}?passing")).json == []


async def test_maintenance_of_a_service(http: Http, name: str) -> None:
    await http.put("agent/service/register", _service(name, Check={"TTL": "60s", "Status": "passing"}))
    await http.put(f"agent/service/maintenance/{name}-1?enable=true&reason=because")
    assert (await http.get(f"agent/health/service/id/{name}-1?format=text")).text == "maintenance"
    answer = await http.settled(f"health/checks/{name}", lambda rows: len(rows) == 2)
    check = next(row for row in answer.json if row["CheckID"] == f"_service_maintenance:{name}-1")
    assert (check["Status"], check["Notes"], check["Type"]) == ("critical", "because", "maintenance")
    await http.settled(f"health/service/{name}?passing", lambda rows: rows == [])
    await http.put(f"agent/service/maintenance/{name}-1?enable=false")
    await http.settled(f"health/service/{name}?passing", lambda rows: len(rows) == 1)


async def test_a_deregistered_service_is_gone_everywhere(http: Http, name: str) -> None:
    await http.put("agent/service/register", _service(name))
    await http.settled(f"health/service/{name}", bool)
    await http.put(f"agent/service/deregister/{name}-1")
    await http.settled(f"health/service/{name}", lambda rows: rows == [])
    assert name not in (await http.get("catalog/services")).json
    assert f"service:{name}-1" not in (await http.get("agent/checks")).json
    assert (await http.get(f"agent/service/{name}-1")).status == 404


async def test_a_check_of_a_service_comes_and_goes_alone(http: Http, name: str) -> None:
    await http.put("agent/service/register", {"Name": name})
    body = {"ID": f"{name}-extra", "Name": "extra", "TTL": "60s", "ServiceID": name, "Notes": "n"}
    await http.put("agent/check/register", body)
    (row,) = (await http.settled(f"health/checks/{name}", bool)).json
    assert (row["CheckID"], row["Name"], row["Notes"], row["ServiceName"]) == (
        f"{name}-extra",
        "extra",
        "n",
        name,
    )
    await http.put(f"agent/check/deregister/{name}-extra")
    await http.settled(f"health/checks/{name}", lambda rows: rows == [])


async def test_an_http_check_and_a_tcp_check_find_the_registry_itself(http: Http, name: str) -> None:
    """The registry is a server that is surely there, and port 1 one that is surely not."""
    checks = [
        {
            "CheckID": f"{name}-h",
            "HTTP": f"{http.registry.url}/v1/status/leader",
            "Interval": "1s",
            "Method": "GET",
        },
        {"CheckID": f"{name}-t", "TCP": http.registry.address, "Interval": "1s"},
        {
            "CheckID": f"{name}-x",
            "HTTP": "http://127.0.0.1:1/",
            "Interval": "1s",
            "Timeout": "1s",
            "Status": "passing",
        },
    ]
    await http.put("agent/service/register", {"Name": name, "Checks": checks})

    def done(rows: list[dict[str, Any]]) -> bool:
        found = {row["CheckID"].removeprefix(f"{name}-"): row["Status"] for row in rows}
        return found == {"h": "passing", "t": "passing", "x": "critical"}

    rows = {row["CheckID"]: row for row in (await http.settled(f"health/checks/{name}", done)).json}
    assert rows[f"{name}-h"]["Output"].startswith(
        f"HTTP GET {http.registry.url}/v1/status/leader: 200 OK Output: "
    )
    assert rows[f"{name}-t"]["Output"] == f"TCP connect {http.registry.address}: Success"
    assert "refused" in rows[f"{name}-x"]["Output"].lower()


async def test_an_alias_follows_its_service(http: Http, name: str) -> None:
    await http.put("agent/service/register", _service(name, Check={"TTL": "60s", "Status": "passing"}))
    alias = {"ID": f"{name}-2", "Name": f"{name}-alias", "Check": {"AliasService": f"{name}-1"}}
    await http.put("agent/service/register", alias)

    async def shows(status: str) -> None:
        await http.settled(f"health/checks/{name}-alias", lambda rows: rows and rows[0]["Status"] == status)

    await shows("passing")
    await http.put(f"agent/check/fail/service:{name}-1?note=broken")
    await shows("critical")
    await http.put(f"agent/check/pass/service:{name}-1")
    await shows("passing")


async def test_the_definition_blocks_by_its_hash(http: Http, name: str) -> None:
    await http.put("agent/service/register", _service(name, Tags=["a"]))
    first = await http.get(f"agent/service/{name}-1")
    digest = first.headers["x-consul-contenthash"]
    assert first.json["ContentHash"] == digest
    same = await http.get(f"agent/service/{name}-1?hash={digest}&wait=300ms")
    assert same.seconds >= 0.3
    assert same.headers["x-consul-contenthash"] == digest
    await http.put("agent/service/register", _service(name, Tags=["b"]))
    other = await http.get(f"agent/service/{name}-1?hash={digest}&wait=10s")
    assert other.seconds < 2
    assert other.json["Tags"] == ["b"]
    assert other.headers["x-consul-contenthash"] != digest


async def test_self_and_members(http: Http) -> None:
    own = (await http.get("agent/self")).json
    assert {"Datacenter", "NodeName", "NodeID", "Server", "Version"} <= set(own["Config"])
    assert own["Member"]["Name"] == own["Config"]["NodeName"]
    members = (await http.get("agent/members")).json
    assert [member["Name"] for member in members] == [own["Config"]["NodeName"]]
    assert members[0]["Status"] == 1
    assert members[0]["Tags"]["role"] == "consul"


async def test_names_are_taken_in_any_case(http: Http, names: Callable[[str], str]) -> None:
    """py-consul sends lower case and snake case."""
    name = names("x")
    body = {
        "name": name,
        "id": name,
        "tagged_addresses": {"lan": {"address": "1.1.1.1", "port": 2}},
        "checks": [{"ttl": "60s", "deregistercriticalserviceafter": "10m"}],
    }
    await http.put("agent/service/register", body)
    own = (await http.get(f"agent/service/{name}")).json
    assert own["TaggedAddresses"] == {"lan": {"Address": "1.1.1.1", "Port": 2}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("agent/service/register", {"Name": "x", "Bogus": 1}),
        ("agent/service/register", {}),
        ("agent/service/register", "{"),
        ("agent/service/register", {"Name": "x", "Check": {"HTTP": "http://a"}}),
        ("agent/check/register", {"Name": "x"}),
        ("agent/check/register", {"TTL": "5s"}),
        ("agent/maintenance", None),
    ],
)
async def test_what_is_wrong_is_answered_with_400(http: Http, path: str, body: Any) -> None:
    assert (await http("PUT", path, body)).status == 400


async def test_reports_for_unknown_checks_fail(http: Http, name: str) -> None:
    """500 up to 1.10, 404 later; our client takes both."""
    for path in (f"agent/check/pass/{name}", f"agent/check/update/{name}"):
        body = {"Status": "passing"} if "update" in path else None
        assert (await http("PUT", path, body)).status in (404, 500)
