"""The command line: exact words of its errors, exit codes, help, and what it imports."""

import errno
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema_rs
import pytest
import yaml

from mesh.cli import app
from mesh.docker.locate import IN_CONTAINER, locate, published
from mesh.state import Lock, StateDirectory, describe
from mesh.tokens import Scope, Tokens, keep_token
from tests.mesh.said import said

COMMANDS = [
    "up",
    "down",
    "status",
    "kill",
    "pause",
    "resume",
    "drain",
    "heal",
    "cut",
    "scale",
    "load",
    "logs",
    "validate",
    "apply",
    "get",
    "delete",
    "fault",
    "explain",
    "schema",
    "record",
    "replay",
    "dashboard",
    "token",
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No mesh runs here."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """And there is no command that this list does not know."""
    assert sorted(
        command.callback.__name__ for command in app.registered_commands if command.callback
    ) == sorted(COMMANDS)
    for command in COMMANDS:
        code, out, err = said(capsys, command, "--help")
        assert (code, err) == (0, "")
        assert f"Example: mesh {command}" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["fly"], "'fly'"),
        (["up", "--rat", "1"], "--rat"),
        (["up", "--rate", "fast"], "'--rate'"),
        (["up", "--port", "65536"], "'--port'"),
        (["kill"], "'INSTANCE'"),
        (["kill", "a-1", "--part", "leg"], "'leg'"),
        (["scale", "orders"], "'N'"),
        (["scale", "orders", "many"], "'N'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], words: list[str], names: str
) -> None:
    """It names what is wrong and where to read on; no usage text over several lines, no traceback."""
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"mesh {words[0]}: ")
    assert err.endswith(f" (see: mesh {words[0]} --help)\n")
    assert err.count("\n") == 1
    assert names in err


def test_a_registry_that_is_no_url_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything starts."""
    assert said(capsys, "up", "--registry", "ftp://x") == (
        2,
        "",
        'mesh up: --registry: "ftp://x" is not a URL such as http://127.0.0.1:8500\n',
    )


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["kill", "a-1"],
        ["heal", "a-1"],
        ["scale", "a", "2"],
        ["load"],
        ["load", "--rate", "5"],
        ["get", "vs"],
        ["delete", "vs/a"],
        ["fault", "list"],
        ["fault", "orders", "--hang"],
        ["explain", "1" * 32],
        ["dashboard"],
        ["token"],
    ],
)
def test_without_a_mesh_there_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """It says how to start one."""
    line = f"mesh {words[0]}: no mesh is running here (start one with: mesh up)\n"
    assert said(capsys, *words) == (1, "", line)


def test_a_mesh_that_does_not_answer_is_said(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    """The supervisor lives, its control API is silent."""
    state = StateDirectory(elsewhere)
    state.create()
    lock = Lock(state.lock_path)
    lock.acquire()
    state.write_mesh({"supervisor": describe(os.getpid()), "control": "http://127.0.0.1:1"})
    keep_token(state.token_path, "secret")
    code, out, err = said(capsys, "status")
    lock.release()
    assert (code, out) == (1, "")
    assert err.startswith("mesh status: the mesh does not answer at 127.0.0.1:1: ")
    assert err.count("\n") == 1


def test_the_link_and_the_tokens_are_printed_for_who_asks(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    """And for nobody who may not read the file."""
    state = StateDirectory(elsewhere)
    state.create()
    lock = Lock(state.lock_path)  # of a mesh that runs
    lock.acquire()
    state.write_mesh({"supervisor": describe(os.getpid()), "control": "http://127.0.0.1:4200"})
    keep_token(state.token_path, "of-the-operators")
    tokens = Tokens("of-the-operators")
    assert said(capsys, "dashboard") == (0, "http://127.0.0.1:4200/#token=of-the-operators\n", "")
    assert said(capsys, "token") == (0, "of-the-operators\n", "")
    assert said(capsys, "token", "--header") == (0, "Authorization: Bearer of-the-operators\n", "")
    for door in (Scope.REGISTRY, Scope.ADMIN):
        assert said(capsys, "token", door.value) == (0, f"{tokens.of(door)}\n", "")
    state.token_path.chmod(0o644)
    code, out, err = said(capsys, "token")
    assert (code, out) == (1, "")
    assert err.endswith(f"{state.token_path}: others may use it: chmod 600 {state.token_path}\n")
    state.token_path.unlink()
    code, out, err = said(capsys, "status")
    assert (code, out) == (1, "")
    gone = os.strerror(errno.ENOENT)
    assert err == f"mesh status: the token of the mesh: {state.token_path}: cannot be read: {gone}\n"
    lock.release()


def test_from_its_container_the_link_names_the_published_port(elsewhere: Path) -> None:
    """`docker compose exec control mesh dashboard` is for a browser on the host."""
    file = elsewhere / "token"
    keep_token(file, "of-control")
    assert locate(elsewhere, {}, file) == (IN_CONTAINER, "of-control")
    assert published(IN_CONTAINER, {"MESH_PUBLISHED_PORT": "4300"}) == "http://127.0.0.1:4300"
    assert published(IN_CONTAINER, {}) == IN_CONTAINER
    assert published("http://127.0.0.1:5000", {"MESH_PUBLISHED_PORT": "4300"}) == "http://127.0.0.1:5000"


def test_the_browser_is_told_by_a_file(
    capsys: pytest.CaptureFixture[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its arguments everybody could read; the file nobody else, and it is gone afterwards."""
    monkeypatch.setenv("MESH_CONTROL", "127.0.0.1:4200")
    monkeypatch.setenv("MESH_TOKEN", "a&b")
    monkeypatch.setattr("mesh.cli_dashboard.time.sleep", lambda seconds: None)
    opened: list[Path] = []

    def browse(url: str) -> bool:
        assert "a&b" not in url
        assert "a%26b" not in url
        opened.append(Path(urlsplit(url).path))
        assert stat.S_IMODE(opened[0].stat().st_mode) == 0o600
        assert "url=http://127.0.0.1:4200/#token=a%26b" in opened[0].read_text()
        return True

    monkeypatch.setattr("webbrowser.open", browse)
    assert said(capsys, "dashboard", "--open") == (0, "http://127.0.0.1:4200/#token=a%26b\n", "")
    assert not opened[0].exists()
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    code, _, err = said(capsys, "dashboard", "--open")
    assert (code, err) == (1, "mesh dashboard: no browser could be started: open the link yourself\n")
    monkeypatch.delenv("MESH_TOKEN")
    code, out, err = said(capsys, "dashboard")
    assert (code, out) == (2, "")
    assert "MESH_TOKEN" in err


def test_down_without_a_mesh_is_done_already(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    """And makes no files."""
    assert said(capsys, "down") == (0, "no mesh is running here\n", "")
    assert list(elsewhere.iterdir()) == []


def test_validate_says_what_is_in_a_good_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Or in a topology that ships."""
    assert said(capsys, "validate", "shop") == (
        0,
        "shop: valid: 7 services, 16 instances, entrypoint gateway\n",
        "",
    )


def test_validate_says_every_fault_of_a_bad_file(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    """One line each, with line and field."""
    (elsewhere / "bad.yaml").write_text(
        "services:\n"
        "- name: a\n"
        "  isEntrypoint: true\n"
        "  script:\n"
        "  - call: bb\n"
        "- name: b\n"
        "  numReplicas: 2\n"
        "  port: 9000\n"
    )
    code, out, err = said(capsys, "validate", "bad.yaml")
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith("bad.yaml:5: services[0].script[0].call")
    assert second.startswith("bad.yaml:8: services[1].port: a fixed port with 2 replicas")


def test_logs_of_an_instance_are_told_apart_by_part(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    """The access log is not what a process said; an unknown name gets the one that was meant."""
    assert said(capsys, "logs", "orders-1") == (1, "", "mesh logs: no mesh has run here: there are no logs\n")
    state = StateDirectory(elsewhere)
    state.create()
    state.log_path("orders-1", "app").write_text("one\ntwo\n")
    state.log_path("orders-1", "sidecar").write_text("three\n")
    state.access_log_path("orders-1").write_text("{}\n")
    code, out, _ = said(capsys, "logs", "orders-1", "--lines", "1")
    assert (code, out) == (0, "app     | two\nsidecar | three\n")
    assert said(capsys, "logs", "orders-1", "--part", "app") == (0, "one\ntwo\n", "")
    assert said(capsys, "logs", "order-1") == (
        2,
        "",
        'mesh logs: no instance is named "order-1" (did you mean "orders-1"?)\n',
    )
    state.log_path("orders-2\x1b[2J", "app").write_text("")  # nobody's name, and no word to a terminal
    assert "\x1b" not in said(capsys, "logs", "nobody")[2]
    state.log_path("registry", "app").write_text("")
    assert said(capsys, "logs", "registry", "--part", "sidecar") == (
        2,
        "",
        "mesh logs: registry has no sidecar (it has only its app)\n",
    )


def test_every_command_stands_in_the_readme() -> None:
    """And the other way round: the README names no command that there is not."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    rows = re.findall(r"^\| (`mesh .+?) \| ", readme[readme.index("## The command") :], re.MULTILINE)
    words = [word for row in rows for word in re.findall(r"`mesh (\S+)", row)]
    named = {name.rstrip("`") for word in words for name in word.split("\\|")}
    assert named == {*COMMANDS, "export"}


POLICIES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders}
spec: {hosts: [orders], http: [{route: [{destination: {host: orders, subset: v1}}]}]}
"""
RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: orders}
spec: {host: orders, subsets: [{name: v1, labels: {version: v1}}]}
"""


def test_validate_takes_policies_too(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    """As one set, over several files or a folder; every problem with file, line, document and field."""
    (elsewhere / "a.yaml").write_text(POLICIES)
    code, out, err = said(capsys, "validate", "a.yaml")
    assert (code, out) == (0, "1 taken, 1 with warnings, 0 refused\n")
    assert err.startswith(
        "warning: a.yaml:4: VirtualService/orders: spec.http[0].route[0].destination.subset: no Destin"
    )
    (elsewhere / "b.json").write_text(json.dumps(yaml.safe_load(RULE)))
    good = (0, "2 taken, 0 with warnings, 0 refused\n", "")
    assert said(capsys, "validate", "a.yaml", "b.json") == good
    assert said(capsys, "validate", ".") == said(capsys, "validate", "-f", ".") == good
    (elsewhere / "more").mkdir()
    (elsewhere / "more" / "b.yaml").write_text(RULE)
    twice = "more/b.yaml:3: DestinationRule/orders: metadata.name: stands in b.json:1 already; keep one\n"
    refused = (2, "2 taken, 0 with warnings, 1 refused\n", twice)
    assert said(capsys, "validate", ".", "more") == said(capsys, "validate", "-R", ".") == refused
    (elsewhere / "c.yml").write_text(
        POLICIES.replace("hosts", "hots").replace("orders}", "c}") + "---\nkind: Gateway\n"
    )
    code, out, err = said(capsys, "validate", ".")
    assert (code, out) == (2, "2 taken, 0 with warnings, 2 refused\n")
    assert [line.split(": ")[:3] for line in err.splitlines()] == [
        ["c.yml:4", "VirtualService/c", "spec.hots"],
        ["c.yml:6", "Gateway", "kind"],
    ]


FOREIGN = """\
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web}
- apiVersion: networking.istio.io/v1
  kind: EnvoyFilter
  metadata: {name: lua}
"""


def test_kinds_that_are_no_policies_are_named_all_at_once_or_skipped(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    """Each with its place and why; what is misspelt is not skipped."""
    (elsewhere / "all.yaml").write_text(f"{RULE}---\n{FOREIGN}")
    code, out, err = said(capsys, "validate", "all.yaml")
    assert (code, out) == (2, "1 taken, 1 with warnings, 2 refused\n")
    assert [line.split(": ")[:2] for line in err.splitlines() if "skip-unknown" in line] == [
        ["all.yaml:10", "Deployment/web"],
        ["all.yaml:13", "EnvoyFilter/lua"],
    ]
    code, out, err = said(capsys, "validate", "all.yaml", "--skip-unknown")
    assert (code, out) == (0, "1 taken, 1 with warnings, 0 refused, 2 skipped\n")
    assert "all.yaml:10: Deployment/web: skipped\nall.yaml:13: EnvoyFilter/lua: skipped\n" in err
    (elsewhere / "slip.yaml").write_text(RULE.replace("nRule", "nRul"))
    assert said(capsys, "validate", "slip.yaml", "--skip-unknown")[0] == 2


def test_validate_judges_the_policies_of_a_topology(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    """Before `mesh up` would."""
    inside = "".join(f"  {line}\n" for line in POLICIES.splitlines())
    text = f"services:\n- {{name: orders, isEntrypoint: true}}\npolicies:\n-{inside[1:]}"
    (elsewhere / "mesh.yaml").write_text(text)
    code, out, err = said(capsys, "validate", "mesh.yaml")
    assert (code, out.split(": ")[:2]) == (0, ["mesh.yaml", "valid"])
    assert err.startswith(
        "warning: policies: VirtualService/orders: spec.http[0].route[0].destination.subset: "
    )
    (elsewhere / "mesh.yaml").write_text(text.replace("hosts: [orders]", "hosts: ['a.*.b']"))
    code, out, err = said(capsys, "validate", "mesh.yaml")
    assert (code, out) == (2, "")
    assert err.startswith("mesh.yaml:7: policies[0].spec.hosts[0]: ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["apply"], "mesh apply: name the policies: -f FILE, a folder, or - for standard input\n"),
        (["apply", "-f", "none.yaml"], "mesh apply: -f none.yaml: No such file or directory\n"),
        (
            ["get", "pods"],
            'mesh get: "pods" is no kind of policy: virtualservice (vs), destinationrule (dr), '
            "serviceentry (se), fault\n",
        ),
        (["delete"], "mesh delete: name what is to go: KIND NAME, KIND/NAME or -f FILE\n"),
        (
            ["delete", "vs"],
            'mesh delete: "vs": write KIND/NAME or KIND NAME, as in vs orders; or --all\n',
        ),
        (["get", "all", "orders"], 'mesh get: "all" takes no names: write KIND NAME, as in vs orders\n'),
        (
            ["get", "vs/orders", "dr"],
            'mesh get: "dr": write each as KIND/NAME, or one KIND before the names\n',
        ),
        (["fault", "orders", "x"], 'mesh fault: "x" is one word too many: only clear takes a name\n'),
        (
            ["fault", "orders"],
            "mesh fault: say what goes wrong: --delay, --abort, --reset, --hang, --truncate, --slow-body or "
            "--first\n",
        ),
        (
            ["fault", "orders", "--hang", "--reset"],
            "mesh fault: --reset and --hang exclude each other: a request can go wrong in one way\n",
        ),
    ],
)
def test_wrong_words_about_policies_are_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    """Before the mesh is asked."""
    assert said(capsys, *words) == (2, "", line)


def test_an_id_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It says where to find one."""
    code, out, err = said(capsys, "explain", "4bf92")
    assert (code, out) == (2, "")
    assert err.startswith('mesh explain: "4bf92" is no trace id: it has 32 hexadecimal digits')


def test_the_schema_is_one_for_all_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    """Editors check a file with it; a document that is right by it is found so."""
    code, out, _ = said(capsys, "schema")
    schema = json.loads(out)
    assert code == 0
    assert [each["$ref"] for each in schema["oneOf"]] == [
        "#/$defs/VirtualService",
        "#/$defs/DestinationRule",
        "#/$defs/ServiceEntry",
        "#/$defs/Fault",
    ]
    validator = jsonschema_rs.validator_for(schema)
    for text in (POLICIES, RULE):
        assert validator.is_valid(yaml.safe_load(text))
        assert not validator.is_valid(yaml.safe_load(text.replace("host", "hots")))


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    """It is what makes a command start in a tenth of a second."""
    code = (
        "import sys\n"
        "from mesh.__main__ import main\n"
        "main(['down'])\n"
        "print(sorted({'aiohttp', 'asyncio', 'rich', 'services', 'uvloop', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
