"""What is shown of the mesh: the status document, the lines, the table."""

from pathlib import Path
from typing import Any

from rich.console import Console

from mesh.instance import Instance
from mesh.plan import InstancePlan, Kind, Part
from mesh.processes import ProcessSpec
from mesh.show import load_line, milliseconds, one_line, progress_line, summary
from mesh.table import status_table
from mesh.view import breakers_by_endpoint, instance_view
from tests.fakes.clock import FakeClock


def running(name: str, snapshot: dict[str, Any] | None) -> Instance:
    spec = ProcessSpec(name, Path("/dev/null"), module="x")
    service = name.rpartition("-")[0]
    ports = {"inbound": 1, "outbound": 2, "admin": 3, "app": 4}
    plan = InstancePlan(name, Kind.SERVICE, service, "v1", "", {Part.SIDECAR: spec, Part.APP: spec}, ports)
    instance = Instance(plan, FakeClock())
    for pid, part in enumerate(plan.parts, 100):
        instance.spawned(part, pid)
        instance.ready(part)
    if snapshot is not None:
        instance.observed(snapshot)
    return instance


def snapshot(**endpoints: str) -> dict[str, Any]:
    """Of a caller of `orders`, with the state of its breaker for each replica."""
    return {
        "state": "serving",
        "app": {"status": "passing"},
        "inbound": {"window": {"rps": 12.5, "p50_ms": 3.25, "p99_ms": 41.0, "error_rate": 0.25}},
        "upstreams": {
            "orders": {
                "endpoints": [
                    {"id": name.replace("_", "-"), "breaker": state} for name, state in endpoints.items()
                ]
            }
        },
    }


def test_an_instance_is_shown_with_the_breakers_of_its_callers() -> None:
    """As the callers' sidecars see it, not as it sees itself."""
    one = running("front-1", snapshot(orders_1="open", orders_2="closed"))
    two = running("front-2", snapshot(orders_1="half-open", orders_2="closed"))
    breakers = breakers_by_endpoint([one, two, running("orders-1", None)])
    assert breakers == {
        "orders-1": {"open": ["front-1"], "half-open": ["front-2"]},
        "orders-2": {"closed": ["front-1", "front-2"]},
    }
    assert instance_view(one, breakers.get("front-1", {})) == {
        "name": "front-1",
        "service": "front",
        "version": "v1",
        "zone": "",
        "labels": {},
        "state": "healthy",
        "healthy": True,
        "reason": "",
        "started": True,
        "pids": {"app": 101, "sidecar": 100},
        "ports": {"inbound": 1, "outbound": 2, "admin": 3, "app": 4},
        "restarts": 0,
        "breakers": {"closed": [], "open": [], "half-open": []},
        "traffic": {"rps": 12.5, "p50_ms": 3.25, "p95_ms": None, "p99_ms": 41.0, "error_rate": 0.25},
    }
    shown = instance_view(running("orders-1", None), breakers["orders-1"])
    assert shown["breakers"] == {"closed": [], "open": ["front-1"], "half-open": ["front-2"]}
    quiet = {"rps": 0.0, "p50_ms": None, "p95_ms": None, "p99_ms": None, "error_rate": 0.0}
    assert shown["traffic"] == quiet


def test_a_snapshot_of_another_shape_is_no_error() -> None:
    """A sidecar of another version costs numbers, not the table."""
    odd = running("front-1", {"state": "serving", "app": None, "upstreams": [], "inbound": 3})
    assert breakers_by_endpoint([odd]) == {}
    assert instance_view(odd, {})["healthy"] is True


def status(**changes: Any) -> dict[str, Any]:
    orders = running("orders-1", None)
    healthy = running("front-1", snapshot(orders_1="open"))
    breakers = breakers_by_endpoint([healthy])
    return {
        "topology": "shop",
        "ready_s": 3.21,
        "notes": [],
        "warnings": [],
        "entrypoint": "http://127.0.0.1:8080",
        "control": "http://127.0.0.1:4200",
        "registry": "http://127.0.0.1:8500",
        "instances": [
            instance_view(healthy, {}),
            instance_view(orders, breakers["orders-1"]),
        ],
        "extras": [],
        "load": {"running": False},
    } | changes


def test_the_summary_says_how_long_it_took_and_where_it_is() -> None:
    """Printed once."""
    well = [one for one in status()["instances"] if one["healthy"]]
    lines = summary(status(instances=well), detached=False)
    assert lines[0] == "shop is up: 1 instances healthy in 3.2 s"
    assert lines[1:4] == [
        "  entrypoint  http://127.0.0.1:8080",
        "  control     http://127.0.0.1:4200",
        "  registry    http://127.0.0.1:8500",
    ]
    assert lines[4] == "  page        mesh dashboard prints its link"
    assert lines[5].endswith("Ctrl-C ends it")
    link = "http://127.0.0.1:4200/#token=secret"
    assert summary(status(instances=well), detached=False, link=link)[4] == f"  page        {link}"
    noted = summary(status(instances=well, notes=["port 8080 is in use: …"]), detached=True)
    assert noted[1] == "port 8080 is in use: …"
    assert noted[-1].endswith("end it with: mesh down")


def test_the_summary_names_who_is_missing() -> None:
    """A start that did not get all of them up is not a failure that hides itself."""
    lines = summary(status(ready_s=None), detached=False)
    assert lines[:2] == [
        "shop is up, but only 1 of 2 instances are healthy:",
        "  orders-1: starting, the sidecar has not answered yet",
    ]


def test_the_summary_names_a_load_that_failed_but_none_that_was_not_wanted() -> None:
    """Of what stands around the services."""
    loadgen = instance_view(running("loadgen-1", None), {})
    lost = loadgen | {"name": "loadgen", "state": "down", "reason": "app exited with 2 (no such pattern)"}
    assert "  loadgen: down, app exited with 2 (no such pattern)" in summary(
        status(extras=[lost]), detached=False
    )
    assert not any(
        "loadgen" in line for line in summary(status(extras=[lost | {"started": False}]), detached=False)
    )


def test_one_line_says_it_all() -> None:
    """For a log file."""
    assert one_line(status()) == "shop: 1/2 healthy; orders-1 starting"
    load = {
        "running": True,
        "rate": 50.0,
        "sent": 1000,
        "ok": 998,
        "failed": 2,
        "window": {"rps": 49.96, "p50_ms": 4.04, "p99_ms": 31.4},
    }
    assert one_line(status(load=load)) == (
        "shop: 1/2 healthy, 50.0 req/s, p50 4.0 ms, p99 31 ms, 2 failed; orders-1 starting"
    )
    assert load_line(load) == "50 req/s wanted, 50.0 done, p50 4.0 ms, p99 31 ms, 1000 sent, 998 ok, 2 failed"
    assert load_line({}) == "no load (mesh load --rate N starts it)"
    assert milliseconds(None) == "-"


def drawn(width: int) -> str:
    console = Console(width=width, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(status_table(status(), width))
    console.file.close()
    return console.export_text()


def test_the_table_shows_health_breakers_and_traffic() -> None:
    """With pids where there is room for them."""
    wide = drawn(160)
    front = next(line for line in wide.splitlines() if line.startswith("front-1"))
    assert front.split() == [
        "front-1",
        "101",
        "100",
        "●",
        "healthy",
        "12.5",
        "3.2",
        "ms",
        "41",
        "ms",
        "25.0%",
    ]
    assert "open: front-1" in wide
    narrow = drawn(80)
    assert "101" not in narrow
    assert all(len(line) <= 80 for line in narrow.splitlines())
    assert "● healthy" in narrow


def test_progress_names_who_is_waited_for() -> None:
    """While it starts."""
    progress = {"topology": "shop", "healthy": 2, "total": 6, "waiting": ["a-1", "a-2", "b-1", "c-1"]}
    assert progress_line(progress) == "shop: 2 of 6 healthy (waiting for a-1, a-2, b-1, …)"
    assert progress_line(progress | {"waiting": []}) == "shop: 2 of 6 healthy"
