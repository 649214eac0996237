"""The start plan of a topology: every process, argument, port and environment, before anything starts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.errors import UsageError
from mesh.plan import InstancePlan, MeshPlan, Options, Part, make_plan
from mesh.ports import Ports
from mesh.state import StateDirectory
from mesh.tokens import Scope, Tokens
from services.script import TopologyError, load_topology, parse_topology

TOKENS = Tokens("of-the-operators")
TOPOLOGY = """\
services:
- name: front
  isEntrypoint: true
  numReplicas: 2
  versions: [v1, v2]
  zone: north
  script:
  - call: files
- name: files
  command: [python3, -m, http.server, "{port}", --title, "{name} {braces}"]
"""


@pytest.fixture
def ports() -> Iterator[Ports]:
    reserved = Ports()
    yield reserved
    reserved.close()


def planned(ports: Ports, text: str = TOPOLOGY, options: Options | None = None) -> MeshPlan:
    return make_plan(
        parse_topology(text, "graph.yaml"),
        options or Options(port=0, control_port=0),
        ports,
        StateDirectory(Path("/somewhere")),
        {"PATH": "/bin", "HTTP_PROXY": "http://corporate:3128"},
        TOKENS,
    )


def flags(instance: InstancePlan, part: Part) -> dict[str, str]:
    """The `--flag value` pairs of a part's arguments."""
    argv = list(instance.parts[part].argv)
    return {
        word: argv[index + 1]
        for index, word in enumerate(argv[:-1])
        if word.startswith("--") and not argv[index + 1].startswith("--")
    }


def test_a_replica_is_a_sidecar_and_an_app_that_know_each_other(ports: Ports) -> None:
    """The sidecar is started first, and each has the other's port."""
    plan = planned(ports)
    assert [instance.name for instance in plan.instances] == ["front-1", "front-2", "files-1"]
    front = plan.instances[1]
    assert list(front.parts) == [Part.SIDECAR, Part.APP]
    assert set(front.ports) == {"inbound", "outbound", "admin", "app"}
    assert front.admin == f"http://127.0.0.1:{front.ports['admin']}"
    assert front.parts[Part.SIDECAR].module == "sidecar.__main__"
    assert flags(front, Part.SIDECAR) == {
        "--name": "front-2",
        "--service": "front",
        "--version": "v2",
        "--zone": "north",
        "--inbound": f"127.0.0.1:{front.ports['inbound']}",
        "--app": f"127.0.0.1:{front.ports['app']}",
        "--app-health": "/health",
        "--app-health-interval": "1s",
        "--outbound": f"127.0.0.1:{front.ports['outbound']}",
        "--admin": f"127.0.0.1:{front.ports['admin']}",
        "--registry": plan.registry_url,
        "--otlp": plan.control_url,
        "--access-log": "/somewhere/.mesh/logs/front-2.access.log",
        "--drain-timeout": "30s",
    }
    assert front.parts[Part.APP].module == "services.__main__"
    assert flags(front, Part.APP) == {
        "--topology": "/somewhere/.mesh/topology.yaml",
        "--service": "front",
        "--instance": "front-2",
        "--listen": f"127.0.0.1:{front.ports['app']}",
        "--outbound": f"127.0.0.1:{front.ports['outbound']}",
        "--otlp": plan.control_url,
        "--drain-timeout": "30s",
    }


def test_a_command_gets_its_port_its_name_and_its_way_out(ports: Ports) -> None:
    """Only the two words are filled in; the proxy of the person's own environment is replaced."""
    files = planned(ports).instances[2]
    app = files.parts[Part.APP]
    port = str(files.ports["app"])
    assert app.command == ("python3", "-m", "http.server", port, "--title", "files-1 {braces}")
    proxy = f"http://127.0.0.1:{files.ports['outbound']}"
    assert dict(app.env) == {
        "PATH": "/bin",
        "PORT": port,
        "SERVICE_NAME": "files",
        "INSTANCE": "files-1",
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
        "NO_PROXY": "localhost,127.0.0.1,::1",
        "no_proxy": "localhost,127.0.0.1,::1",
    }
    assert "--app-health" not in files.parts[Part.SIDECAR].argv


def test_the_ingress_leads_to_the_entrypoint_and_the_load_goes_in_there(ports: Ports) -> None:
    """People and the load generator have one address."""
    plan = planned(ports)
    assert flags(plan.ingress, Part.SIDECAR)["--default-service"] == "front"
    assert plan.entrypoint_url == f"http://127.0.0.1:{plan.ingress.ports['outbound']}"
    assert plan.loadgen.parts[Part.APP].argv[0] == plan.entrypoint_url


def test_no_port_is_given_twice(ports: Ports) -> None:
    """Every listener of the shop has its own."""
    plan = make_plan(
        load_topology("shop"), Options(port=0, control_port=0), ports, StateDirectory(Path("/s")), {}, TOKENS
    )
    assert len(plan.instances) == 16
    given = [port for instance in plan.everything() for port in instance.ports.values()]
    given.append(plan.control_port)
    assert len(given) == len(set(given)) == 16 * 4 + 2 + 1 + 1 + 1


@pytest.mark.parametrize(
    ("text", "rate", "expected"),
    [
        (TOPOLOGY, None, ["--rate", "20"]),
        (TOPOLOGY + "load: {rate: 50}\n", None, ["--rate", "50"]),
        (TOPOLOGY + "load: {rate: 50}\n", 7.5, ["--rate", "7.5"]),
    ],
)
def test_the_rate_is_the_person_s_or_the_file_s_or_a_little(
    ports: Ports, text: str, rate: float | None, expected: list[str]
) -> None:
    """In this order."""
    plan = planned(ports, text, Options(port=0, control_port=0, rate=rate))
    assert list(plan.loadgen.parts[Part.APP].argv[1:3]) == expected


def test_another_registry_is_used_and_none_is_started(ports: Ports) -> None:
    """`--registry URL`."""
    plan = planned(ports, options=Options(registry="http://127.0.0.1:8500", port=0, control_port=0))
    assert plan.registry is None
    assert [instance.name for instance in plan.everything()][-2:] == ["ingress", "loadgen"]
    assert flags(plan.ingress, Part.SIDECAR)["--registry"] == "http://127.0.0.1:8500"


def test_a_busy_port_of_the_file_names_its_line_and_field(ports: Ports, busy: int) -> None:
    """A fixed port of a service."""
    text = TOPOLOGY + f"  port: {busy}\n"
    with pytest.raises(TopologyError) as raised:
        planned(ports, text)
    assert str(raised.value) == (
        f"graph.yaml:11: services[1].port: port {busy} is in use by another program "
        "(choose another, or remove the key for a free one)"
    )


def test_a_busy_ingress_port_of_the_file_names_its_line_and_field(ports: Ports, busy: int) -> None:
    """`ingress: {port: N}`; the flag --port goes before it."""
    text = TOPOLOGY + f"ingress:\n  port: {busy}\n"
    with pytest.raises(TopologyError, match=rf"^graph\.yaml:12: ingress\.port: port {busy} is in use"):
        planned(ports, text, Options(control_port=0))
    assert planned(ports, text, Options(port=0, control_port=0)).entrypoint_url


def test_a_busy_port_of_a_flag_names_the_flag(ports: Ports, busy: int) -> None:
    """What was asked for by number is had or refused."""
    with pytest.raises(UsageError) as raised:
        planned(ports, options=Options(port=busy, control_port=0))
    assert str(raised.value) == (
        f"--port: port {busy} is in use by another program (choose another, or 0 for any free one)"
    )
    with pytest.raises(UsageError, match=r"^--control-port: "):
        planned(ports, options=Options(port=0, control_port=busy))


def test_a_busy_default_port_is_replaced_and_said(
    ports: Ports, busy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asked for it, so a free one does as well."""
    monkeypatch.setattr("mesh.plan.DEFAULT_INGRESS_PORT", busy)
    plan = planned(ports, options=Options(control_port=0))
    port = plan.ingress.ports["outbound"]
    assert plan.notes == (
        f"port {busy} is in use: the entrypoint is at port {port} (choose one with --port)",
    )


def test_a_policy_without_a_name_names_its_line(ports: Ports) -> None:
    """Where it would live in the registry is made of its kind and name."""
    head = "- apiVersion: mesh/v1\n  kind: Fault\n  spec: {host: a, action: hang}\n"
    text = TOPOLOGY + f"policies:\n{head}  metadata: {{name: a}}\n{head}"
    with pytest.raises(TopologyError, match=r"^graph\.yaml:16: policies\[1\]\.metadata: .* is missing"):
        planned(ports, text)


def test_each_program_knows_its_tokens_and_no_others(ports: Ports) -> None:
    """In its environment, never in its arguments; a program of a command knows none."""
    plan = planned(ports)
    front, files = plan.instances[0], plan.instances[2]
    assert plan.registry is not None
    held = {
        "sidecar": front.parts[Part.SIDECAR].env,
        "scripted": front.parts[Part.APP].env,
        "ingress": plan.ingress.parts[Part.SIDECAR].env,
        "registry": plan.registry.parts[Part.APP].env,
        "loadgen": plan.loadgen.parts[Part.APP].env,
    }
    assert held == {
        "sidecar": TOKENS.sidecar_environment(own_registry=True),
        "scripted": TOKENS.spans_environment(),
        "ingress": TOKENS.sidecar_environment(own_registry=True),
        "registry": {"REGISTRY_TOKEN": TOKENS.of(Scope.REGISTRY)},
        "loadgen": {"LOADGEN_TOKEN": TOKENS.of(Scope.ADMIN)},
    }
    assert plan.registry_token == TOKENS.of(Scope.REGISTRY)
    secrets = [TOKENS.of(scope) for scope in Scope]
    program = files.parts[Part.APP]
    assert program.command is not None
    assert not [word for word in (*program.env.values(), *program.command) if any(s in word for s in secrets)]
    for instance in plan.everything():
        for spec in instance.parts.values():
            assert not [word for word in spec.argv if any(secret in word for secret in secrets)]
    assert not any(secret in repr(plan) for secret in secrets)


def test_somebody_elses_registry_is_told_no_token(ports: Ports) -> None:
    """Neither by sidecars nor by who puts policies there."""
    plan = planned(ports, options=Options(registry="http://127.0.0.1:8500", port=0, control_port=0))
    assert plan.registry_token is None
    for instance in plan.everything():
        for spec in instance.parts.values():
            assert TOKENS.of(Scope.REGISTRY) not in spec.env.values()


def test_an_entrypoint_that_nobody_marked_is_told(ports: Ports) -> None:
    """The ingress leads to the one that nobody calls, and `mesh up` says which that is."""
    plan = planned(ports, "services:\n- name: a\n- name: b\n  script: [{call: a}]\n")
    assert flags(plan.ingress, Part.SIDECAR)["--default-service"] == "b"
    assert any('it is "b", the one that nobody calls' in note for note in plan.notes)


def test_hosts_that_nobody_knows(ports: Ports) -> None:
    """By the topology's word or the command's, which stands above it; the ingress passes nobody's host on."""
    text = "outboundTrafficPolicy: {mode: ALLOW_ANY}\n" + TOPOLOGY
    for options, mode in (
        (Options(port=0, control_port=0), "ALLOW_ANY"),
        (Options(port=0, control_port=0, outbound_traffic_policy="REGISTRY_ONLY"), None),
    ):
        plan = planned(ports, text, options)
        assert flags(plan.instances[0], Part.SIDECAR).get("--outbound-traffic-policy") == mode
        assert "--outbound-traffic-policy" not in flags(plan.ingress, Part.SIDECAR)
