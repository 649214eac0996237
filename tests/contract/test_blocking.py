"""Blocking queries and indexes: what wakes, what does not, and what an index means."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.http import Answer, Http

LONG = "10s"
SHORT = 0.4


async def _register(http: Http, name: str, *, status: str = "passing", service_id: str = "") -> None:
    check = {"TTL": "600s", "Status": status}
    await http.put("agent/service/register", {"ID": service_id or name, "Name": name, "Check": check})
    await http.settled(
        f"health/service/{name}",
        lambda rows: any(
            row["Service"]["ID"] == (service_id or name) and len(row["Checks"]) == 2 for row in rows
        ),
    )


async def _woken_by(http: Http, path: str, change: Any) -> tuple[Answer, Answer]:
    """The answers before and after a change that must wake the query within a second."""
    before = await http.get(path)
    joint = "&" if "?" in path else "?"
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(http.get(f"{path}{joint}index={before.index}&wait={LONG}"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await change()
    after = waiting.result()
    assert after.seconds < 2, path
    assert after.index > before.index, path
    return before, after


async def _not_woken_by(http: Http, path: str, change: Any) -> None:
    """A change that is none of this query's business: it waits its time and shows the same."""
    before = await http.get(path)
    joint = "&" if "?" in path else "?"
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(http.get(f"{path}{joint}index={before.index}&wait={SHORT}s"))
        await asyncio.sleep(0.1)
        await change()
    after = waiting.result()
    assert after.seconds >= SHORT, path
    assert after.body == before.body, path


@pytest.mark.parametrize("path", ["health/service/{}", "health/service/{}?passing", "health/checks/{}"])
async def test_a_change_of_status_wakes(http: Http, name: str, path: str) -> None:
    await _register(http, name)

    async def change() -> None:
        await http.put(f"agent/check/warn/service:{name}")

    before, after = await _woken_by(http, path.format(name), change)
    assert before.body != after.body


async def test_a_new_instance_wakes_and_so_does_the_last_ones_end(http: Http, name: str) -> None:
    for path in (f"health/service/{name}", f"catalog/service/{name}", "catalog/services"):

        async def come() -> None:
            await _register(http, name)

        async def go() -> None:
            await http.put(f"agent/service/deregister/{name}")

        await _woken_by(http, path, come)
        _, after = await _woken_by(http, path, go)
        assert name not in after.text


async def test_what_is_the_same_wakes_nobody(http: Http, name: str) -> None:
    """An identical registration, a heartbeat without news, a key with the value it had."""
    await _register(http, name)
    await http.put(f"kv/{name}/k", b"v")

    async def again() -> None:
        body = {"ID": name, "Name": name, "Check": {"TTL": "600s", "Status": "passing"}}
        await http.put("agent/service/register", body)
        await http.put(f"agent/check/pass/service:{name}")

    async def same() -> None:
        await http.put(f"kv/{name}/k", b"v")

    await http.put(f"agent/check/pass/service:{name}")
    await asyncio.sleep(0.1)
    await _not_woken_by(http, f"health/service/{name}", again)
    await _not_woken_by(http, f"kv/{name}/k", same)
    await _not_woken_by(http, f"kv/{name}/?recurse", same)


async def test_a_change_elsewhere_wakes_nobody(http: Http, name: str, names: Callable[[str], str]) -> None:
    await _register(http, name)
    await http.put(f"kv/{name}/k", b"v")
    other = names("other")

    async def elsewhere() -> None:
        await _register(http, other)
        await http.put(f"agent/check/warn/service:{other}")
        await http.put(f"kv/{other}/k", b"v")
        await http("DELETE", f"kv/{other}/k")
        await http.put(f"agent/service/deregister/{other}")

    paths = [f"health/service/{name}", f"kv/{name}/k", f"kv/{name}/?recurse", f"kv/{name}/?keys"]
    if http.registry.kind == "embedded":
        # Consul's own wakes here: it may, since to return is no proof of a change. Ours is finer.
        paths.append(f"health/checks/{name}")
    for path in paths:
        await _not_woken_by(http, path, elsewhere)


async def test_keys_wake_by_key_and_by_prefix(http: Http, name: str) -> None:
    await http.put(f"kv/{name}/k", b"1")
    for number, path in enumerate(
        (f"kv/{name}/k", f"kv/{name}/k?raw", f"kv/{name}/?recurse", f"kv/{name}/?recurse")
    ):

        async def change(number: int = number) -> None:
            await http.put(f"kv/{name}/k", f"new {number}".encode())

        await _woken_by(http, path, change)

    async def delete() -> None:
        await http("DELETE", f"kv/{name}/k")

    _, gone = await _woken_by(http, f"kv/{name}/k", delete)
    assert gone.status == 404


async def test_a_key_that_is_not_there_can_be_waited_for(http: Http, name: str) -> None:
    async def create() -> None:
        await http.put(f"kv/{name}", b"v")

    before, after = await _woken_by(http, f"kv/{name}", create)
    assert (before.status, after.status) == (404, 200)


async def test_the_newest_key_of_a_prefix_going_does_not_turn_its_index_back(http: Http, name: str) -> None:
    await http.put(f"kv/{name}/a", b"1")
    await http.put(f"kv/{name}/b", b"1")

    async def delete() -> None:
        await http("DELETE", f"kv/{name}/b")

    _, after = await _woken_by(http, f"kv/{name}/?recurse", delete)
    assert [row["Key"] for row in after.json] == [f"{name}/a"]


async def test_sessions_wake(http: Http) -> None:
    made: list[str] = []

    async def create() -> None:
        made.append((await http.put("session/create")).json["ID"])

    async def destroy() -> None:
        await http.put(f"session/destroy/{made[0]}")

    await _woken_by(http, "session/list", create)
    await _woken_by(http, f"session/info/{made[0]}", destroy)


async def test_an_index_ahead_waits_and_then_shows_the_true_one(http: Http, name: str) -> None:
    """How a client learns that a registry began anew."""
    await _register(http, name)
    true = (await http.get(f"health/service/{name}")).index
    answer = await http.get(f"health/service/{name}?index={true + 100000}&wait={SHORT}s")
    assert SHORT <= answer.seconds < SHORT + 1
    assert answer.index == true


async def test_a_wait_is_lengthened_by_a_sixteenth_at_most(http: Http, name: str) -> None:
    await _register(http, name)
    index = (await http.get(f"health/service/{name}")).index
    async with asyncio.TaskGroup() as group:
        path = f"health/service/{name}?index={index}&wait=1600ms"
        waits = [group.create_task(http.get(path)) for _ in range(8)]
    seconds = [wait.result().seconds for wait in waits]
    assert min(seconds) >= 1.6
    assert max(seconds) < 1.7 + 0.5
    assert max(seconds) - min(seconds) > 0.005, "they part"


@pytest.mark.parametrize(
    "path",
    [
        "catalog/nodes",
        "catalog/services",
        "catalog/service/consul",
        "health/service/consul",
        "health/state/any",
        "session/list",
        "kv/nothing-of-that-name",
    ],
)
async def test_every_read_says_its_index_and_who_leads(http: Http, path: str) -> None:
    answer = await http.get(path)
    assert answer.index >= 1
    assert answer.headers["x-consul-knownleader"] == "true"
    assert answer.headers["x-consul-lastcontact"] == "0"
    for mode in ("stale", "consistent"):
        assert (await http.get(f"{path}?{mode}")).status == answer.status


@pytest.mark.parametrize("query", ["index=abc", "index=1&wait=5", "index=1&wait=abc", "stale&consistent"])
async def test_a_bad_query_is_400(http: Http, query: str) -> None:
    assert (await http.get(f"health/service/consul?{query}")).status == 400


async def test_a_fired_event_wakes_its_list(http: Http, name: str) -> None:
    """Its index is a hash: it changes, but does not grow."""
    await http.put(f"event/fire/{name}", b"first")
    before = await http.settled(f"event/list?name={name}", bool)
    async with asyncio.TaskGroup() as group:
        path = f"event/list?name={name}&index={before.index}&wait={LONG}"
        waiting = group.create_task(http.get(path))
        await asyncio.sleep(0.1)
        await http.put(f"event/fire/{name}", b"second")
    after = waiting.result()
    assert after.seconds < 2
    assert after.index != before.index
    assert len(after.json) == 2
