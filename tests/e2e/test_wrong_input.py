"""Wrong input: one clear line with file, line and field, exit code 2, and nothing started."""

from pathlib import Path

import pytest

from tests.e2e.real_mesh import RealMesh

pytestmark = pytest.mark.e2e

FRONT = "services:\n- name: front\n  isEntrypoint: true\n"


WRONG = {
    "an unknown service in a call": (
        FRONT + "  script:\n  - call: usres\n- name: users\n",
        'wrong.yaml:5: services[0].script[0].call: no service is named "usres" (did you mean "users"?)',
    ),
    "an unknown key": (
        FRONT + "  replicas: 2\n",
        "wrong.yaml:4: services[0].replicas: ",
    ),
    "a cycle": (
        FRONT + "  script:\n  - call: back\n- name: back\n  script:\n  - call: front\n",
        "wrong.yaml:",
    ),
    "a bad duration": (
        FRONT + "  script:\n  - sleep: 10 minutes\n",
        "wrong.yaml:5: services[0].script[0].sleep: ",
    ),
    "no YAML": ("services: [\n", "wrong.yaml:"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("detach", [[], ["--detach"]], ids=["attached", "detached"])
def test_a_wrong_topology_starts_nothing(tmp_path: Path, name: str, detach: list[str]) -> None:
    """The line names the place; no process and no directory is left."""
    text, begins = WRONG[name]
    mesh = RealMesh(tmp_path)
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    ran = mesh.run("up", "./wrong.yaml", *detach)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert ran.err.removeprefix("mesh up: ").removeprefix("./").startswith(begins), ran.err
    assert [each.name for each in tmp_path.iterdir()] == ["wrong.yaml"]


def test_a_port_of_the_file_that_is_in_use_starts_nothing(tmp_path: Path, busy: int) -> None:
    """With its line and field."""
    (tmp_path / "graph.yaml").write_text(f"services:\n- name: a\n  isEntrypoint: true\n  port: {busy}\n")
    ran = RealMesh(tmp_path).run("up", "./graph.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"mesh up: ./graph.yaml:4: services[0].port: port {busy} is in use by another program "
        "(choose another, or remove the key for a free one)\n"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["graph.yaml"]


def test_a_port_of_a_flag_that_is_in_use_starts_nothing(tmp_path: Path, busy: int) -> None:
    """With the flag's name."""
    for flag, other in (("--port", "--control-port"), ("--control-port", "--port")):
        ran = RealMesh(tmp_path).run("up", "star", flag, str(busy), other, "0")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == (
            f"mesh up: {flag}: port {busy} is in use by another program "
            "(choose another, or 0 for any free one)\n"
        )
        assert list(tmp_path.iterdir()) == []
