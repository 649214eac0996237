"""What others wrote, printed by the real command on a real terminal: shown, and not obeyed."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.state import StateDirectory
from tests.e2e.real_mesh import http, real_mesh

# Clears the screen, sets the title, colours by C1 and turns the writing round; and bytes that are no text.
EVIL = "\x1b[2J\x1b]0;pwned\x07 \u202ereversed \x9b31m".encode() + b" \xff\xfe"
SHOWN = r"\x1b[2J\x1b]0;pwned\x07 \u202ereversed \x9b31m"


def on_a_terminal(directory: Path, *words: str) -> bytes:
    """What the command writes when its outputs are a terminal."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "mesh", *words], cwd=directory, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        written = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # as Linux says that nobody has the other end any longer
                break
            if not data:
                break
            written += data
        process.wait(30)
    finally:
        os.close(ours)
    return written


def into_a_pipe(directory: Path, *words: str) -> bytes:
    command = [sys.executable, "-m", "mesh", *words]
    return subprocess.run(command, cwd=directory, capture_output=True, timeout=30, check=False).stdout


def without_line_ends(written: bytes) -> str:
    return written.replace(b"\r\n", b"\n").decode()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A directory where a mesh has run, whose app was not ours."""
    state = StateDirectory(tmp_path)
    state.create()
    state.log_path("web-1", "app").write_bytes(b"one\ttab\n" + EVIL + b"\r\n")
    return tmp_path


def test_a_log_on_a_terminal_is_shown(logs: Path) -> None:
    """Controls, C1, directions and bytes that are no text; tabs and line ends of other systems stay quiet."""
    written = without_line_ends(on_a_terminal(logs, "logs", "web-1", "--part", "app"))
    assert written == f"one\ttab\n{SHOWN} \\xff\\xfe\n"


def test_a_log_in_a_pipe_is_what_was_written(logs: Path) -> None:
    """Byte for byte: another program reads it."""
    assert into_a_pipe(logs, "logs", "web-1", "--part", "app") == b"one\ttab\n" + EVIL + b"\r\n"


def test_files_of_others_do_not_speak_to_the_terminal(tmp_path: Path) -> None:
    """Their faults are shown with what is in them: a topology, a policy, a recording, and their names."""
    evil = r"\e[2J\e]0;pwned\a\u202e"  # as YAML writes it
    (tmp_path / "t.yaml").write_text(f'services:\n- {{name: "{evil}", isEntrypoint: true}}\n')
    (tmp_path / "p.yaml").write_text(
        f'kind: Fault\napiVersion: mesh/v1\nmetadata: {{name: "{evil}"}}\nspec: {{}}\n'
    )
    name = "r\x1b]0;pwned\x07.jsonl"
    (tmp_path / name).write_text("none")
    for words in (["validate", "t.yaml"], ["validate", "p.yaml"], ["replay", name], ["up", "t.yaml"]):
        written = on_a_terminal(tmp_path, *words)
        assert len(written) > 20
        assert not re.search(
            "[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", without_line_ends(written)
        )
        assert b"pwned" in written


@pytest.mark.e2e
@pytest.mark.timeout(120)
def test_a_mesh_of_others_does_not_speak_to_the_terminal(tmp_path: Path) -> None:
    """A policy's words, by `get`, and a request's, by `explain`; as JSON they are the same words."""
    (tmp_path / "one.yaml").write_text("services:\n- name: web\n  isEntrypoint: true\n")
    route = (
        "{fault: {abort: {percentage: {value: 100}, httpStatus: 503}}, route: [{destination: {host: web}}]}"
    )
    (tmp_path / "p.yaml").write_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        'metadata: {name: web, annotations: {note: "\\e]0;pwned\\a\\u202e"}}\n'
        f"spec: {{hosts: [web], http: [{route}]}}\n"
    )
    with real_mesh(tmp_path, "one.yaml", "--no-load") as mesh:
        mesh.ok("apply", "-f", "p.yaml")
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
        path = "/x%1b]0;pwned%07"
        http(
            f"{mesh.status()['entrypoint']}{path}",
            headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"},
        )
        for words in (["get", "vs/web", "-o", "yaml"], ["get"], ["status"], ["explain", trace_id]):
            written = on_a_terminal(tmp_path, *words).decode()
            assert "\x1b]0;" not in written
            assert "\u202e" not in written
        assert "pwned" in mesh.ok("get", "vs/web", "-o", "yaml")
        document = mesh.ok("get", "vs/web", "--json")
        assert "\u202e" not in document
        assert r"\u202e" in document
