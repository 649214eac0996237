"""Every command over a control API that says the worst: neither control characters nor markup are obeyed."""

import asyncio
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from rich.console import Console

from mesh.errors import DocumentsRefused, MeshError, UsageError
from mesh.show import PlainShow, TerminalShow
from mesh.supervisor import MeshPhase
from mesh.table import status_table
from tests.mesh.said import said

# Clears the screen, sets the title, colours by C1, turns the writing round, forges a line, and tries rich.
EVIL = "\x1b[2J\x1b]0;pwned\x07\x9b31m\u202elive\r\nforged: line [bold red]x[/] [link=http://evil]y[/link]"
COMMANDS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def instance(**other: Any) -> dict[str, Any]:
    traffic = {"rps": 1.0, "p50_ms": 1.0, "p99_ms": 2.0, "error_rate": 0.0}
    return {
        "name": EVIL, "state": EVIL, "reason": EVIL, "healthy": False, "started": True,
        "pids": {"app": 1, "sidecar": 2}, "breakers": {"open": [EVIL], "half-open": [], "closed": []},
        "traffic": traffic, **other,
    }  # fmt: skip


STATUS = {
    "topology": EVIL, "phase": "up", "ready_s": None, "entrypoint": EVIL, "control": EVIL, "registry": EVIL,
    "notes": [EVIL], "instances": [instance()], "extras": [instance()], "load": {"running": False},
}  # fmt: skip
SIDECARS = {
    "version": EVIL, "total": 2, "current": 1, "paused": [EVIL],
    "behind": [{"instance": EVIL, "version": EVIL, "problem": EVIL}],
}  # fmt: skip
TURNED = "a\u202eb"  # which YAML writes without quotes
DOCUMENT = {"kind": "Fault", "metadata": {"name": EVIL}, "spec": {"ttl": TURNED, EVIL: [EVIL]}}
ROW = {"kind": EVIL, "name": EVIL, "hosts": [EVIL], "at": None, "problem": EVIL, "document": DOCUMENT}
CHANGE = {"kind": EVIL, "name": EVIL, "change": EVIL, "before": DOCUMENT, "after": {**DOCUMENT, "x": EVIL}}
FAULT = {
    "name": EVIL, "host": EVIL, "instance": EVIL, "what": EVIL, "which": EVIL, "ends_in_s": None,
    "document": DOCUMENT,
}  # fmt: skip
EXCHANGE = {
    "trace_id": "a" * 32, "at": 1.0, "instance": EVIL, "direction": EVIL, "method": EVIL, "host": EVIL,
    "path": EVIL, "status": 503, "flag": EVIL, "duration_ms": 1.0, "kept": EVIL, "route": EVIL,
    "upstream": EVIL, "policy_version": EVIL, "detail": EVIL, "budget": {EVIL: EVIL},
    "candidates": [{"endpoint": EVIL, EVIL: EVIL}],
    "attempts": [{"number": 1, "endpoint": EVIL, "reason": EVIL, "outcome": EVIL, "breaker": EVIL}],
}  # fmt: skip


class FakeControl:
    """Answers every question, each with the worst words."""

    def status(self) -> dict[str, Any]:
        return STATUS

    def act(self, action: str, name: str, part: str) -> dict[str, Any]:
        if name == "refused":
            raise MeshError(EVIL)
        return instance()

    def policies(self, kind: str | None = None, name: str | None = None) -> dict[str, Any]:
        return {"documents": [ROW], "problems": [EVIL], "sidecars": SIDECARS}

    def apply(self, documents: Any, *, dry_run: bool) -> dict[str, Any]:
        return {"changes": [CHANGE], "warnings": [EVIL], "sidecars": None if dry_run else SIDECARS}

    def delete(self, keys: Any, *, dry_run: bool) -> dict[str, Any]:
        raise DocumentsRefused([EVIL, EVIL])

    def faults(self) -> dict[str, Any]:
        return {"faults": [FAULT]}

    def put_fault(self, wish: Any) -> dict[str, Any]:
        return {"fault": FAULT, "change": EVIL, "sidecars": SIDECARS}

    def clear_faults(self, which: str | None) -> dict[str, Any]:
        return {"cleared": [EVIL], "sidecars": None}

    def explain(self, trace_id: str) -> dict[str, Any]:
        return {"trace_id": trace_id, "exchanges": [EXCHANGE], "silent": [EVIL]}

    def service(self, name: str) -> dict[str, Any]:
        raise UsageError(EVIL)


@pytest.fixture(autouse=True)
def control(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mesh.console.control_client", FakeControl)
    monkeypatch.chdir(tmp_path)


CASES = [
    ["status"],
    ["kill", "a-1"],
    ["kill", "refused"],
    ["scale", "a", "3"],
    ["get"],
    ["delete", "vs/a"],
    ["fault", "list"],
    ["fault", "clear"],
    ["fault", "a", "--hang"],
    ["explain", "a" * 32],
    ["validate", EVIL],
    ["replay", EVIL],
    ["apply", "-f", EVIL],
]


@pytest.mark.parametrize(
    "words", CASES, ids=lambda words: " ".join(words[:2]).encode("unicode_escape").decode()
)
def test_what_others_say_is_shown_and_not_obeyed(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """On both outputs; also in errors, and in what was typed by somebody's script."""
    _, out, err = said(capsys, *words)
    assert COMMANDS.search(out + err) is None
    assert r"\x1b[2J\x1b]0;" in out + err
    assert not re.search("^forged", out + err, re.MULTILINE), "a line of theirs passes for one of ours"


@pytest.mark.parametrize("words", [["apply"], ["apply", "--dry-run"]])
def test_so_are_documents(capsys: pytest.CaptureFixture[str], words: list[str], tmp_path: Path) -> None:
    """Their differences, and the warnings about them."""
    (tmp_path / "a.yaml").write_text(
        "kind: Fault\napiVersion: mesh/v1\nmetadata: {name: a}\nspec: {host: a}\n"
    )
    _, out, err = said(capsys, *words, "-f", "a.yaml")
    assert COMMANDS.search(out + err) is None
    assert r"\x1b[2J" in out + err


@pytest.mark.parametrize(
    "words",
    [["status", "--json"], ["get", "--json"], ["kill", "a-1", "--json"], ["explain", "a" * 32, "--json"]],
)
def test_json_stays_json(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """With the same words in it."""
    _, out, _ = said(capsys, *words)
    assert COMMANDS.search(out) is None
    assert EVIL in _texts(json.loads(out))


def test_yaml_stays_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    """Likewise."""
    code, out, _ = said(capsys, "get", "fault/a", "-o", "yaml")
    assert code == 0
    assert COMMANDS.search(out) is None
    assert yaml.safe_load(out) == DOCUMENT


def _texts(document: Any) -> list[str]:
    if isinstance(document, dict):
        return [text for pair in document.items() for text in (pair[0], *_texts(pair[1]))]
    if isinstance(document, list):
        return [text for each in document for text in _texts(each)]
    return [document] if isinstance(document, str) else []


def test_the_live_table_obeys_nothing() -> None:
    """What `status --watch` and `mesh up` draw; markup is text."""
    out = io.StringIO()
    console = Console(width=400, file=out, force_terminal=True, color_system=None)
    console.print(status_table(STATUS, 400))
    assert COMMANDS.search(out.getvalue()) is None
    assert "[bold red]x[/]" in out.getvalue()


class Changes:
    """Waits no longer than it takes to look."""

    async def wait_for(self, condition: Any, timeout_s: float | None) -> bool:
        return bool(condition())


class FakeSupervisor:
    """Starting at the first look, up at the second, stopping from then on."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.looks = 0
        self.plan = SimpleNamespace(tokens=None, control_url="http://127.0.0.1:4200")

    @property
    def phase(self) -> MeshPhase:
        self.looks += 1
        return (MeshPhase.STARTING, MeshPhase.UP, MeshPhase.UP, MeshPhase.STOPPING)[min(self.looks, 4) - 1]

    def progress(self) -> dict[str, Any]:
        return {"topology": EVIL, "healthy": 0, "total": 1, "waiting": [EVIL]}

    def status(self) -> dict[str, Any]:
        return STATUS


async def test_the_start_of_a_mesh_obeys_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress, summary, table: a topology is a file of somebody's, and so are the names in it."""
    out = io.StringIO()
    supervisor: Any = FakeSupervisor()
    supervisor.looks = 1
    async with asyncio.TaskGroup() as tasks:
        shown = tasks.create_task(PlainShow(out).run(supervisor))
        await asyncio.sleep(0)  # it prints the summary, and would print a line after ten seconds
        shown.cancel()
    monkeypatch.setenv("TERM", "dumb")
    await TerminalShow().run(FakeSupervisor())  # type: ignore[arg-type]
    for written in (out.getvalue(), capsys.readouterr().out):
        assert COMMANDS.search(written) is None
        assert r"\x1b]0;pwned" in written
        assert "[bold red]x[/]" in written


async def test_neither_does_its_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line that is drawn again and again on a real terminal, where only our own sequences may be."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "400")
    await TerminalShow().run(FakeSupervisor())  # type: ignore[arg-type]
    written = capsys.readouterr().out
    assert "of 1 healthy" in written
    assert r"\x1b]0;pwned" in written
    assert not re.search("\x1b]0;|\x9b|\u202e|\x1b\\[2J", written)
