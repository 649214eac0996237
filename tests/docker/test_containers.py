"""What one look at the engine becomes; needs no engine."""

from typing import Any

from mesh.docker.containers import Container, by_part, listed, orphans
from mesh.plan import Kind, Part

NEVER = "0001-01-01T00:00:00Z"


def inspection(**changes: Any) -> dict[str, Any]:
    """As Docker answers for a running sidecar."""
    document: dict[str, Any] = {
        "Id": "side",
        "Name": "/shop-orders-1-sidecar",
        "Config": {"Labels": {"mesh.instance": "orders-1", "mesh.part": "sidecar", "mesh.kind": "service"}},
        "State": {"Status": "running", "ExitCode": 0, "Pid": 42, "StartedAt": "2026-11-21T10:00:00.5Z"},
        "HostConfig": {"NetworkMode": "shop_default"},
        "NetworkSettings": {"Networks": {"shop_default": {}}},
    }
    return document | changes


def pod(started: str, state: str = "running") -> list[Container]:
    """A sidecar of 10:00 and its app, started at `started`."""
    app = inspection(
        Id="app",
        Name="/shop-orders-1-app",
        Config={"Labels": {"mesh.instance": "orders-1", "mesh.part": "app", "mesh.kind": "service"}},
        State={"Status": state, "ExitCode": 137, "Pid": 43, "StartedAt": started},
        HostConfig={"NetworkMode": "container:side"},
        NetworkSettings={"Networks": {}},
    )
    return [one for one in map(listed, (inspection(), app)) if one is not None]


def test_a_container_of_ours() -> None:
    """Its labels, its state, its networks."""
    sidecar, app = pod("2026-11-21T10:00:01Z")
    assert (sidecar.name, sidecar.instance, sidecar.part) == (
        "shop-orders-1-sidecar",
        "orders-1",
        Part.SIDECAR,
    )
    assert (sidecar.kind, sidecar.alive, sidecar.networks) == (Kind.SERVICE, True, ("shop_default",))
    assert app.joins == "side"
    assert by_part([sidecar, app])["orders-1", Part.APP] is app


def test_what_is_not_ours_and_what_never_ran() -> None:
    """Prometheus has no label of ours; a container that was only created has no start."""
    assert listed(inspection(Config={"Labels": None})) is None
    created = listed(inspection(State={"Status": "created", "StartedAt": NEVER}))
    assert created is not None
    assert (created.started, created.alive) == ("", False)


def test_an_app_in_the_network_of_a_dead_sidecar_is_an_orphan() -> None:
    """Only while both run: who was killed stays down."""
    assert [one.name for one in orphans(pod("2026-11-21T09:59:59Z"))] == ["shop-orders-1-app"]
    assert orphans(pod("2026-11-21T10:00:01Z")) == []
    assert orphans(pod("2026-11-21T09:59:59Z", state="exited")) == []
