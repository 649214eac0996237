"""The commands about policies over a fake control API: what they ask, what they print, how they end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.errors import DocumentsRefused
from tests.mesh.control.policy_world import destination_rule, virtual_service
from tests.mesh.said import said

VERSION = "0123456789ab"
ALL = {"version": VERSION, "total": 3, "current": 3, "behind": [], "paused": []}
SOME = ALL | {"current": 2, "behind": [{"instance": "a-1", "version": "", "problem": "does not answer"}]}
WARNING = "DestinationRule/orders: spec.subsets[0]: no route names the subset 'v1': it does nothing"
FAULT = {
    "name": "orders", "host": "orders", "instance": None, "what": "hang", "which": "POST from gateway",
    "at": 1.0, "ends_in_s": 29.7, "document": {"spec": {"ttl": "30s"}},
}  # fmt: skip


class FakeControl:
    """Remembers what it was asked; answers as `sidecars` says."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.sidecars: dict[str, Any] = ALL
        self.refuse: list[str] = []

    def policies(self, kind: str | None = None, name: str | None = None) -> dict[str, Any]:
        self.asked.append((kind, name))
        rows = [virtual_service(), destination_rule()][: 1 if name else 2]
        documents = [
            {
                "kind": raw["kind"],
                "name": "orders",
                "hosts": ["orders"],
                "at": None,
                "problem": "",
                "document": raw,
            }
            for raw in rows
        ]
        return {"version": VERSION, "documents": documents, "problems": [], "sidecars": self.sidecars}

    def apply(self, documents: Sequence[Any], *, dry_run: bool) -> dict[str, Any]:
        self.asked.append(([document["kind"] for document in documents], dry_run))
        if self.refuse:
            raise DocumentsRefused(self.refuse)
        changes = [
            {
                "kind": document["kind"],
                "name": "orders",
                "change": "configured",
                "before": before,
                "after": document,
            }
            for document, before in zip(documents, [virtual_service(weight=80)], strict=False)
        ]
        sidecars = None if dry_run else self.sidecars
        return {"version": VERSION, "changes": changes, "warnings": [WARNING], "sidecars": sidecars}

    def delete(self, keys: Sequence[str], *, dry_run: bool) -> dict[str, Any]:
        self.asked.append((list(keys), dry_run))
        changes = [
            {"kind": kind, "name": name, "change": "deleted", "before": None, "after": None}
            for kind, name in (key.split("/") for key in keys)
        ]
        return {"version": VERSION, "changes": changes, "warnings": [], "sidecars": self.sidecars}

    def faults(self) -> dict[str, Any]:
        return {"faults": [FAULT]}

    def put_fault(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(wish)
        return {"fault": FAULT, "change": "created", "sidecars": self.sidecars}

    def clear_faults(self, which: str | None) -> dict[str, Any]:
        self.asked.append(which)
        return {"cleared": ["orders"] if which != "none" else [], "sidecars": None}


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeControl:
    fake = FakeControl()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mesh.console.control_client", lambda: fake)
    Path("pair.yaml").write_text(yaml.safe_dump_all([virtual_service(), destination_rule()]))
    Path("one.yaml").write_text(yaml.safe_dump(virtual_service()))
    return fake


def test_apply_says_each_change_and_who_acts_on_it(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    """Warnings are no part of the output; one about what is there already has no file."""
    assert said(capsys, "apply", "-f", "one.yaml") == (
        0,
        f"virtualservice/orders configured\n3 of 3 sidecars at version {VERSION}\n",
        f"warning: {WARNING}\n",
    )
    assert control.asked == [(["VirtualService"], False)]


def test_apply_that_not_all_take_fails_and_names_them(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1: what was asked for is kept, but not in force everywhere."""
    control.sidecars = SOME
    code, out, err = said(capsys, "apply", "-f", "one.yaml")
    assert (code, out) == (1, "virtualservice/orders configured\n")
    assert err == (
        f"warning: {WARNING}\nmesh apply: it is kept, but only 2 of 3 sidecars at version {VERSION}:\n"
        "  a-1: at no version: does not answer\n"
    )


def test_a_dry_run_shows_the_difference(control: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing of sidecars."""
    code, out, _ = said(capsys, "apply", "-f", "one.yaml", "--dry-run")
    lines = out.splitlines()
    assert (code, lines[0]) == (0, "virtualservice/orders configured (dry run)")
    assert {"-      weight: 80", "+      weight: 90"} <= set(lines)
    assert control.asked == [(["VirtualService"], True)]


def test_what_the_mesh_refuses_names_the_file(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each document that came from one; a problem with what is there already has none."""
    control.refuse = ["DestinationRule/orders: spec.host: is bad", "Fault/there: spec: is bad"]
    assert said(capsys, "apply", "-f", "pair.yaml") == (
        2,
        "",
        "mesh apply: pair.yaml:24: DestinationRule/orders: spec.host: is bad\n"
        "mesh apply: Fault/there: spec: is bad\n",
    )


def test_what_is_got_can_be_applied(control: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    """`-o yaml` is a List, as kubectl's is, or the one that was named; a table otherwise."""
    code, out, _ = said(capsys, "get", "-o", "yaml")
    shown = yaml.safe_load(out)
    assert (code, shown["kind"], shown["items"]) == (0, "List", [virtual_service(), destination_rule()])
    assert said(capsys, "get", "vs/orders", "-o", "json")[1].startswith('{\n  "apiVersion": ')
    assert said(capsys, "get", "dr") == (
        0,
        "KIND              NAME     HOSTS    AGE\n"
        "DestinationRule   orders   orders   -\n"
        f"3 of 3 sidecars at version {VERSION}\n",
        "",
    )
    assert control.asked == [(None, None), ("VirtualService", "orders"), ("DestinationRule", None)]


def test_delete_takes_names_and_files(control: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    """All in one change."""
    code, out, _ = said(capsys, "delete", "fault/a", "-f", "pair.yaml")
    assert (code, out.splitlines()[0]) == (0, "fault/a deleted")
    assert control.asked == [(["Fault/a", "VirtualService/orders", "DestinationRule/orders"], False)]


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        (["--delay", "1s"], {"delay": {"duration": "1s", "shape": "fixed", "percentage": 100.0}}),
        (
            ["--delay", "1s", "--shape", "uniform", "--abort", "500", "--percent", "5"],
            {
                "delay": {"duration": "1s", "shape": "uniform", "percentage": 5.0},
                "action": "abort",
                "status": 500,
                "percentage": 5.0,
            },
        ),
        (["--first", "2"], {"action": "fail-first", "count": 2, "status": 503, "percentage": 100.0}),
        (["--truncate", "0"], {"action": "truncate", "afterBytes": 0, "percentage": 100.0}),
        (["--slow-body", "10"], {"action": "slow-body", "bytesPerSecond": 10.0, "percentage": 100.0}),
        (
            ["--hang", "--from", "a", "--version", "v2", "--max-active", "3", "--name", "n"],
            {
                "action": "hang",
                "percentage": 100.0,
                "match": [{"sourceLabels": {"app": "a"}}],
                "labels": {"version": "v2"},
                "maxActive": 3,
                "name": "n",
            },
        ),
    ],
)
def test_a_fault_is_asked_for_by_its_flags(
    control: FakeControl, capsys: pytest.CaptureFixture[str], words: list[str], wish: dict[str, Any]
) -> None:
    """With a time in which it ends, always."""
    code, out, _ = said(capsys, "fault", "orders", *words)
    assert code == 0
    assert out == "fault/orders created: orders: hang (POST from gateway), ends by itself after 30s\n"
    assert control.asked == [{"target": "orders", "ttl": "5m", **wish}]


def test_faults_are_listed_and_cleared(control: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    """`clear` alone is `clear all`."""
    assert (
        said(capsys, "fault", "list")[1].splitlines()[1] == "orders   orders   hang   POST from gateway   30s"
    )
    assert said(capsys, "fault", "clear")[:2] == (0, "fault/orders ended\n")
    assert said(capsys, "fault", "clear", "all")[:2] == (0, "fault/orders ended\n")
    assert said(capsys, "fault", "clear", "none")[:2] == (0, "no faults\n")
    assert control.asked == [None, None, "none"]


ROWS = [
    ("VirtualService", "default", "orders"),
    ("VirtualService", "default", "users"),
    ("DestinationRule", "default", "orders"),
    ("DestinationRule", "prod", "orders"),
]


class Namespaced(FakeControl):
    """Has policies in two namespaces, and answers as the control API does."""

    def policies(self, kind: str | None = None, name: str | None = None) -> dict[str, Any]:
        self.asked.append((kind, name))
        rows = [
            {
                **{"kind": row[0], "namespace": row[1], "name": row[2], "hosts": [row[2]]},
                **{"at": None, "problem": "", "document": {"kind": row[0], "metadata": {"name": row[2]}}},
            }
            for row in ROWS
            if kind in (None, row[0]) and (name is None or row[1:] == ("default", name))
        ]
        return {"version": VERSION, "documents": rows, "problems": [], "sidecars": self.sidecars}


@pytest.fixture
def namespaced(control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> FakeControl:
    fake = Namespaced()
    monkeypatch.setattr("mesh.console.control_client", lambda: fake)
    return fake


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("get vs,dr -A", ["vs/orders", "vs/users", "dr/orders", "dr/orders"]),
        ("get", ["vs/orders", "vs/users", "dr/orders"]),
        ("get all", ["vs/orders", "vs/users", "dr/orders"]),
        ("get dr -n prod", ["dr/orders"]),
        ("get dr orders", ["dr/orders"]),
        ("get vs orders users", ["vs/orders", "vs/users"]),
        ("get virtualservices.networking.istio.io/users dr/orders", ["vs/users", "dr/orders"]),
        ("get vs,dr orders", ["vs/orders", "dr/orders"]),
        ("get dr/orders --namespace prod", ["dr/orders"]),
    ],
)
def test_get_takes_kubectls_words(
    namespaced: FakeControl, capsys: pytest.CaptureFixture[str], words: str, names: list[str]
) -> None:
    """Kinds, names, pairs of them, of one namespace or of all."""
    code, out, _ = said(capsys, *words.split(), "-o", "name")
    long = {"vs": "virtualservice", "dr": "destinationrule"}
    assert code == 0
    assert out.splitlines() == [f"{long[name[:2]]}.networking.istio.io{name[2:]}" for name in names]


def test_get_shows_namespaces_when_asked_for_all(
    namespaced: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else it says that there is more elsewhere."""
    code, out, err = said(capsys, "get", "dr", "-A")
    assert (code, err, out.splitlines()[:3]) == (
        0,
        "",
        [
            "NAMESPACE   KIND              NAME     HOSTS    AGE",
            "default     DestinationRule   orders   orders   -",
            "prod        DestinationRule   orders   orders   -",
        ],
    )
    assert said(capsys, "get", "dr")[2] == "1 in other namespaces: mesh get -A\n"
    code, out, _ = said(capsys, "get", "vs,dr", "-A", "-o", "json")
    assert [each["kind"] for each in yaml.safe_load(out)["items"]] == [row[0] for row in ROWS]


def test_what_is_not_there_is_named(namespaced: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    """In the namespace where it was looked for."""
    assert said(capsys, "get", "vs", "user", "orders") == (
        2,
        "",
        'mesh get: no VirtualService is named "user" (did you mean "users"?)\n',
    )
    assert said(capsys, "get", "vs", "users", "-n", "prod")[2].startswith(
        'mesh get: no VirtualService in namespace prod is named "users"'
    )


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("delete vs orders", ["VirtualService/orders"]),
        ("delete vs orders users", ["VirtualService/orders", "VirtualService/users"]),
        ("delete vs,dr orders -n prod", ["VirtualService/prod/orders", "DestinationRule/prod/orders"]),
        ("delete dr/orders vs/users", ["DestinationRule/orders", "VirtualService/users"]),
        ("delete vs --all", ["VirtualService/orders", "VirtualService/users"]),
        ("delete vs gone users --ignore-not-found", ["VirtualService/users"]),
        ("delete -f one.yaml -n prod", ["VirtualService/prod/orders"]),
    ],
)
def test_delete_takes_kubectls_words(
    namespaced: FakeControl,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    keys: list[str],
) -> None:
    """All in one change."""
    asked: list[list[str]] = []

    def delete(keys: Sequence[str], *, dry_run: bool) -> dict[str, Any]:
        asked.append(list(keys))
        return {"changes": [], "warnings": [], "sidecars": None}

    monkeypatch.setattr(namespaced, "delete", delete)
    assert said(capsys, *words.split())[0] == 0
    assert asked == [keys]


def test_nothing_is_left_to_delete(namespaced: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    """Which is no error if that may be."""
    assert said(capsys, "delete", "vs", "gone", "--ignore-not-found") == (0, "no policies\n", "")


def test_documents_go_into_a_namespace(namespaced: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    """Those without one; one that names another is refused, as by kubectl."""
    assert said(capsys, "apply", "-f", "one.yaml", "-n", "prod")[0] == 0
    text = Path("one.yaml").read_text().replace("name: orders\n", "name: orders\n  namespace: test\n", 1)
    Path("two.yaml").write_text(text)
    code, out, err = said(capsys, "apply", "-f", "two.yaml", "-n", "prod")
    assert (code, out) == (2, "")
    assert err.startswith("mesh apply: two.yaml:5: VirtualService/test/orders: metadata.namespace: is 'test'")


def test_what_comes_from_a_cluster_is_at_home_here(
    control: FakeControl, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--home says where the cluster has the services that the mesh has in default."""
    text = Path("one.yaml").read_text().replace("  name: orders\n", "  name: orders\n  namespace: shop\n", 1)
    Path("shop.yaml").write_text(text)
    put: list[Any] = []
    monkeypatch.setattr(
        control,
        "apply",
        lambda documents, dry_run: put.extend(documents) or {"changes": [], "warnings": [], "sidecars": None},
    )
    assert said(capsys, "apply", "-f", "shop.yaml", "--home", "shop")[0] == 0
    assert put[0]["metadata"] == {"name": "orders", "namespace": "default"}
    assert said(capsys, "delete", "-f", "shop.yaml", "--home", "shop")[0] == 0
    assert control.asked[-1] == (["VirtualService/orders"], False)
    assert said(capsys, "validate", "shop.yaml", "--home", "shop")[0] == 0


def test_nothing_is_applied_of_a_folder_with_one_wrong_document(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every refusal is a line with file, line, document, field, reason and remedy; exit code 2."""
    Path("bad").mkdir()
    Path("bad/a.yaml").write_text(Path("one.yaml").read_text())
    Path("bad/b.yaml").write_text(
        Path("one.yaml").read_text().replace("weight: 90", "weight: many").replace("orders", "users")
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n---\nkind: [\n"
    )
    Path("bad/c.json").write_text('{"kind": "DestinationRule"}')
    code, out, err = said(capsys, "apply", "-f", "bad")
    assert (code, out, control.asked) == (2, "", [])
    lines = err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["bad/b.yaml:24", *["bad/c.json:1"] * 3]
    Path("bad/b.yaml").write_text(Path("bad/b.yaml").read_text().replace("kind: [\n", ""))
    _, _, err = said(capsys, "apply", "-f", "bad")
    assert [line.split(": ")[1:4] for line in err.splitlines()] == [
        ["bad/b.yaml:13", "VirtualService/users", "spec.http[0].route[0].weight"],
        ["bad/b.yaml:20", "Service/web", "kind"],
        ["bad/c.json:1", "DestinationRule", "apiVersion"],
        ["bad/c.json:1", "DestinationRule", "metadata"],
        ["bad/c.json:1", "DestinationRule", "spec"],
    ]
    assert "must be a whole number" in err
    assert control.asked == []
