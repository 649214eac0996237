"""/v1/kv and /v1/session: values, check-and-set, locks; the same on both."""

import asyncio
import base64

import pytest

from tests.contract.http import Http


async def _session(http: Http, **fields: object) -> str:
    session: str = (await http.put("session/create", {"LockDelay": "0s", **fields})).json["ID"]
    return session


async def test_a_value_comes_back_with_flags_and_indexes(http: Http, name: str) -> None:
    value = bytes(range(256))
    assert (await http.put(f"kv/{name}?flags=42", value)).json is True
    (row,) = (await http.get(f"kv/{name}")).json
    assert base64.b64decode(row["Value"]) == value
    assert (row["Flags"], row["LockIndex"], row["Key"]) == (42, 0, name)
    assert row["CreateIndex"] == row["ModifyIndex"]
    assert "Session" not in row
    raw = await http.get(f"kv/{name}?raw")
    assert raw.body == value
    await http.put(f"kv/{name}", b"")
    (row,) = (await http.get(f"kv/{name}")).json
    assert (row["Value"], row["Flags"]) == (None, 0)
    assert row["CreateIndex"] < row["ModifyIndex"]


async def test_trees_and_names(http: Http, name: str) -> None:
    for key in ("a", "b/c", "b/d", "e"):
        await http.put(f"kv/{name}/{key}", b"v")
    rows = (await http.get(f"kv/{name}/?recurse")).json
    assert [row["Key"] for row in rows] == [f"{name}/{key}" for key in ("a", "b/c", "b/d", "e")]
    assert (await http.get(f"kv/{name}/?keys")).json == [f"{name}/{key}" for key in ("a", "b/c", "b/d", "e")]
    assert (await http.get(f"kv/{name}/?keys&separator=/")).json == [
        f"{name}/{key}" for key in ("a", "b/", "e")
    ]
    assert (await http("DELETE", f"kv/{name}/b?recurse")).json is True
    assert (await http.get(f"kv/{name}/?keys")).json == [f"{name}/a", f"{name}/e"]
    assert (await http.get(f"kv/{name}/b?keys")).status == 404


async def test_check_and_set(http: Http, name: str) -> None:
    assert (await http.put(f"kv/{name}?cas=0", b"1")).json is True
    assert (await http.put(f"kv/{name}?cas=0", b"2")).json is False
    index = (await http.get(f"kv/{name}")).json[0]["ModifyIndex"]
    assert (await http.put(f"kv/{name}?cas={index - 1}", b"2")).json is False
    assert (await http.put(f"kv/{name}?cas={index}", b"2")).json is True
    assert (await http("DELETE", f"kv/{name}?cas={index}")).json is False
    index = (await http.get(f"kv/{name}")).json[0]["ModifyIndex"]
    assert (await http("DELETE", f"kv/{name}?cas={index}")).json is True
    assert (await http.get(f"kv/{name}")).status == 404


async def test_one_lock_one_holder(http: Http, name: str) -> None:
    one, two = await _session(http), await _session(http)
    assert (await http.put(f"kv/{name}?acquire={one}", b"1")).json is True
    assert (await http.put(f"kv/{name}?acquire={two}", b"2")).json is False
    assert (await http.put(f"kv/{name}?acquire={one}", b"1 again")).json is True
    (row,) = (await http.get(f"kv/{name}")).json
    assert (row["Session"], row["LockIndex"]) == (one, 1)
    assert (await http.put(f"kv/{name}?release={two}", b"")).json is False
    assert (await http.put(f"kv/{name}?release={one}", b"free")).json is True
    assert (await http.put(f"kv/{name}?acquire={two}", b"2")).json is True
    (row,) = (await http.get(f"kv/{name}")).json
    assert (row["Session"], row["LockIndex"]) == (two, 2)


@pytest.mark.parametrize(("behavior", "status"), [("release", 200), ("delete", 404)])
async def test_the_end_of_a_session_ends_its_locks(http: Http, name: str, behavior: str, status: int) -> None:
    session = await _session(http, Behavior=behavior)
    await http.put(f"kv/{name}?acquire={session}", b"v")
    await http.put(f"session/destroy/{session}")
    answer = await http.get(f"kv/{name}")
    assert answer.status == status
    if status == 200:
        assert "Session" not in answer.json[0]


async def test_lock_delay_follows_the_end_of_a_session_but_not_a_release(http: Http, name: str) -> None:
    first = await _session(http, LockDelay="1s")
    second = await _session(http)
    await http.put(f"kv/{name}?acquire={first}", b"v")
    await http.put(f"kv/{name}?release={first}", b"v")
    assert (await http.put(f"kv/{name}?acquire={second}", b"v")).json is True
    await http.put(f"kv/{name}?release={second}", b"v")
    await http.put(f"kv/{name}?acquire={first}", b"v")
    await http.put(f"session/destroy/{first}")
    assert (await http.put(f"kv/{name}?acquire={second}", b"v")).json is False
    async with asyncio.timeout(5):
        while (await http.put(f"kv/{name}?acquire={second}", b"v")).json is not True:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_failing_check_ends_the_session(http: Http, name: str) -> None:
    check = {"ID": name, "Name": name, "TTL": "600s", "Status": "passing"}
    await http.put("agent/check/register", check)
    own = (await http.get("agent/self")).json["Config"]["NodeName"]
    await http.settled(f"health/node/{own}", lambda rows: any(row["CheckID"] == name for row in rows))
    session = await _session(http, Checks=["serfHealth", name])
    await http.put(f"kv/{name}?acquire={session}", b"v")
    await http.put(f"agent/check/fail/{name}")
    await http.settled(f"session/info/{session}", lambda rows: rows == [])
    assert "Session" not in (await http.get(f"kv/{name}")).json[0]
    await http.put(f"agent/check/deregister/{name}")


async def test_a_session_is_shown_as_it_was_made(http: Http, name: str) -> None:
    session = await _session(http, Name=name, TTL="90s", LockDelay="1500ms", Behavior="delete")
    (row,) = (await http.get(f"session/info/{session}")).json
    assert (row["Name"], row["TTL"], row["LockDelay"], row["Behavior"]) == (
        name,
        "90s",
        1_500_000_000,
        "delete",
    )
    assert row["NodeChecks"] == ["serfHealth"]
    assert row in (await http.get("session/list")).json
    assert row in (await http.get(f"session/node/{row['Node']}")).json
    assert (await http.put(f"session/renew/{session}")).json == [row]
    await http.put(f"session/destroy/{session}")
    assert (await http.get(f"session/info/{session}")).json == []
    assert (await http("PUT", f"session/renew/{session}")).status == 404


async def test_a_transaction_is_all_or_nothing(http: Http, name: str) -> None:
    def kv(verb: str, key: str, value: str = "", **fields: object) -> dict[str, object]:
        encoded = base64.b64encode(value.encode()).decode()
        return {"KV": {"Verb": verb, "Key": f"{name}/{key}", "Value": encoded, **fields}}

    answer = await http.put("txn", [kv("set", "a", "1"), kv("get", "a"), kv("set", "b", "2")])
    assert [row["KV"]["Value"] for row in answer.json["Results"]] == [None, "MQ==", None]
    failed = await http(
        "PUT", "txn", [kv("set", "c", "3"), kv("cas", "a", "x", Index=1), kv("get", "nothing")]
    )
    assert failed.status == 409
    assert [error["OpIndex"] for error in failed.json["Errors"]] == [1, 2]
    assert (await http.get(f"kv/{name}/?keys")).json == [f"{name}/a", f"{name}/b"]
    session = await _session(http)
    locked = await http.put(
        "txn", [kv("lock", "l", "v", Session=session), kv("check-session", "l", Session=session)]
    )
    assert locked.json["Results"][0]["KV"]["Session"] == session
    gone = await http.put("txn", [kv("delete-tree", ""), kv("check-not-exists", "a")])
    assert gone.json["Results"] == []
    many = await http("PUT", "txn", [kv("set", str(number)) for number in range(65)])
    assert many.status == 413


async def test_too_much_is_413(http: Http, name: str) -> None:
    assert (await http("PUT", f"kv/{name}", b"x" * (512 * 1024))).status == 200
    assert (await http("PUT", f"kv/{name}", b"x" * (512 * 1024 + 1))).status == 413
    await http("DELETE", f"kv/{name}")
