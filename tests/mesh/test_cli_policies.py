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
    """Warnings are no part of the output."""
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
        "mesh apply: pair.yaml: DestinationRule/orders: spec.host: is bad\n"
        "mesh apply: Fault/there: spec: is bad\n",
    )


def test_what_is_got_can_be_applied(control: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    """`-o yaml` is documents; a table otherwise."""
    code, out, _ = said(capsys, "get", "-o", "yaml")
    assert (code, list(yaml.safe_load_all(out))) == (0, [virtual_service(), destination_rule()])
    assert said(capsys, "get", "vs/orders", "-o", "json")[1].startswith('{\n  "apiVersion": ')
    assert said(capsys, "get", "dr") == (
        0,
        "KIND              NAME     HOSTS    AGE\n"
        "VirtualService    orders   orders   -\n"
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
