"""compose.yaml: the committed file is what the export makes; pods, ports, limits; what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.cli import run
from mesh.errors import UsageError
from mesh.export.compose import compose_file
from services.script import load_topology, parse_topology

COMMITTED = Path(__file__).parents[2] / "compose.yaml"


@pytest.fixture(scope="module")
def shop() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
    return document


def megabytes(text: str) -> int:
    assert text.endswith("m")
    return int(text[:-1])


def test_the_committed_file_is_the_export_of_the_shop() -> None:
    """Else: mesh export compose --output compose.yaml."""
    assert COMMITTED.read_text(encoding="utf-8") == compose_file(
        load_topology("shop"), "shop", COMMITTED.parent
    )


def test_every_replica_is_a_pod(shop: dict[str, Any]) -> None:
    """The sidecar owns the network, the app joins it, and both say whose they are."""
    for one in load_topology("shop").instances():
        sidecar, app = shop["services"][f"{one.name}-sidecar"], shop["services"][f"{one.name}-app"]
        assert app["network_mode"] == f"service:{one.name}-sidecar"
        assert sidecar["environment"]["SIDECAR_ADVERTISE"] == sidecar["container_name"]
        assert sidecar["environment"]["SIDECAR_VERSION"] == one.version
        assert sidecar["environment"]["SIDECAR_INBOUND"] == "0.0.0.0:15006"
        assert {sidecar["labels"]["mesh.instance"], app["labels"]["mesh.instance"]} == {one.name}
        assert sidecar["restart"] == app["restart"] == "on-failure"


def test_of_a_pod_the_network_reaches_two_ports(shop: dict[str, Any]) -> None:
    """Where requests come in, and where it says how it does; of the ingress also its way out."""
    doors = {"SERVICES_LISTEN", "SIDECAR_ADMIN", "SIDECAR_OUTBOUND", "SIDECAR_INBOUND", "SIDECAR_STATUS"}
    for name, each in shop["services"].items():
        said = each.get("environment", {})
        reached = {door for door in doors & set(said) if not said[door].startswith("127.0.0.1:")}
        if name.endswith("-sidecar"):
            assert reached == {"SIDECAR_INBOUND", "SIDECAR_STATUS"}
        elif name == "ingress":
            assert reached == {"SIDECAR_OUTBOUND", "SIDECAR_STATUS"}
        else:
            assert reached == set()


def test_the_secret_is_with_who_needs_it(shop: dict[str, Any]) -> None:
    """In memory; made by the one that may write, and no app has it."""
    holders = {
        name: volume.removeprefix("secret:")
        for name, each in shop["services"].items()
        for volume in each.get("volumes", ())
        if volume.startswith("secret:")
    }
    assert holders.pop("consul") == "/run/mesh-secret"
    assert set(holders.values()) == {"/run/mesh-secret:ro"}
    sidecars = {name for name in shop["services"] if name.endswith("-sidecar")}
    assert set(holders) == {*sidecars, "ingress", "loadgen", "control"}
    assert shop["volumes"]["secret"]["driver_opts"]["type"] == "tmpfs"


def test_every_container_is_held_tightly(shop: dict[str, Any]) -> None:
    """Those of others too."""
    for name, each in shop["services"].items():
        assert each["read_only"] is True, name
        assert each["cap_drop"] == ["ALL"], name
        assert each["security_opt"] == ["no-new-privileges:true"], name


def test_nobody_on_the_network_ends_prometheus_or_becomes_admin_of_grafana(shop: dict[str, Any]) -> None:
    """No lifecycle API; no login, as its first password is known."""
    assert not [word for word in shop["services"]["prometheus"]["command"] if "web.enable" in word]
    assert shop["services"]["grafana"]["environment"]["GF_AUTH_BASIC_ENABLED"] == "false"


def test_only_six_doors_are_open_and_only_here(shop: dict[str, Any]) -> None:
    """Each published port is on 127.0.0.1, and a variable chooses it."""
    doors = {name: each["ports"] for name, each in shop["services"].items() if "ports" in each}
    assert set(doors) == {"ingress", "control", "consul", "prometheus", "grafana", "jaeger"}
    for ports in doors.values():
        assert all(re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z]+_PORT:-\d+\}:\d+", port) for port in ports)


def test_the_docker_socket_is_in_control_alone(shop: dict[str, Any]) -> None:
    """And CONTROL=0 leaves that one out."""
    holders = [name for name, each in shop["services"].items() if "docker.sock" in str(each.get("volumes"))]
    assert holders == ["control"]
    assert shop["services"]["control"]["scale"] == "${CONTROL:-1}"


def test_everything_has_limits_and_fits_in_3_gb(shop: dict[str, Any]) -> None:
    """Memory and processor, of every container."""
    services = shop["services"].values()
    assert all(each["cpus"] <= 1 for each in services)
    assert sum(megabytes(each["mem_limit"]) for each in services) <= 3 * 1024


def test_images_of_others_are_pinned(shop: dict[str, Any]) -> None:
    """By a tag that is no moving one; ours is built once."""
    images = {each["image"] for each in shop["services"].values()} - {"local-mesh"}
    assert all(re.search(r":v?\d+\.\d+", image) for image in images)
    assert [name for name, each in shop["services"].items() if "build" in each] == ["ingress"]


def test_a_file_of_ones_own_goes_into_the_containers(tmp_path: Path) -> None:
    """As a config, by its path beside the compose file; names, zones and rate are the file's."""
    file = tmp_path / "My Shop.yaml"
    file.write_text(
        "load: {rate: 7/s}\nservices:\n- name: web\n  isEntrypoint: true\n  numReplicas: 2\n"
        "  zones: [east, west]\n"
    )
    document = yaml.safe_load(compose_file(load_topology(str(file)), str(file), tmp_path))
    assert document["name"] == "my-shop"
    assert document["configs"] == {"topology": {"file": "./My Shop.yaml"}}
    assert document["services"]["web-2-app"]["configs"][0]["target"] == "/etc/mesh/topology.yaml"
    assert document["services"]["web-2-app"]["environment"]["SERVICES_TOPOLOGY"] == "/etc/mesh/topology.yaml"
    assert document["services"]["web-2-sidecar"]["environment"]["SIDECAR_ZONE"] == "west"
    assert document["services"]["loadgen"]["environment"]["LOADGEN_RATE"] == "${LOAD_RATE:-7}"


def test_a_program_of_ones_own_is_refused_by_name() -> None:
    """The image does not hold it; the line says where, what and what to do."""
    topology = parse_topology(
        "services:\n- name: web\n  isEntrypoint: true\n  command: [node, server.js]\n", "web.yaml"
    )
    with pytest.raises(
        UsageError, match=r'web\.yaml:4: services\[0\]\.command: the image does not hold "node"'
    ):
        compose_file(topology, "web.yaml", Path())


def test_an_unreadable_topology_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Exit code 2, and nothing is written."""
    broken, output = tmp_path / "broken.yaml", tmp_path / "compose.yaml"
    broken.write_text("services: [\n")
    assert run(["export", "compose", str(broken), "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "broken.yaml" in error
    assert not output.exists()


def test_hosts_that_nobody_knows(tmp_path: Path) -> None:
    """Are asked by the replicas' sidecars where the topology wants that, never by the ingress."""
    text = "outboundTrafficPolicy: {mode: ALLOW_ANY}\nservices:\n- name: web\n"
    document = yaml.safe_load(compose_file(parse_topology(text, "web.yaml"), "web.yaml", tmp_path))
    replica, ingress = (document["services"][name]["environment"] for name in ("web-1-sidecar", "ingress"))
    assert replica["SIDECAR_OUTBOUND_TRAFFIC_POLICY"] == "ALLOW_ANY"
    assert "SIDECAR_OUTBOUND_TRAFFIC_POLICY" not in ingress
