"""Logs stay at their stated size, and `mesh logs` reads on through a rotation."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.log_rotation import LOG_BYTES, LOG_FILES
from tests.e2e.real_mesh import RealMesh, real_mesh, until

pytestmark = pytest.mark.e2e

# Writes numbered lines of 100 bytes, 6 MB a second, and answers requests meanwhile.
TALKER = """\
import http.server, pathlib, sys, threading, time

def talk():
    sys.stderr.write("ready\\n")
    sys.stderr.flush()
    while not pathlib.Path("FOLDER/go").exists():
        time.sleep(0.05)
    number = 0
    while number < TOTAL:
        for _ in range(3000):
            sys.stderr.write(f"{number:09d} {'x' * 89}\\n")
            number += 1
        sys.stderr.flush()
        time.sleep(0.05)
    sys.stderr.write("the end\\n")
    sys.stderr.flush()

class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

threading.Thread(target=talk, daemon=True).start()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Quiet).serve_forever()
"""
TOTAL = 480_000  # lines, 48 MB: more than all files together hold


def numbers(lines: list[str]) -> list[int]:
    return [int(line[:9]) for line in lines if re.fullmatch(r"\d{9} x{89}", line)]


def test_a_talkative_program_fills_no_disk(tmp_path: Path) -> None:
    """Three files, whole lines in order, hardly one lost; who follows sees them all go by."""
    (tmp_path / "talker.py").write_text(TALKER.replace("TOTAL", str(TOTAL)).replace("FOLDER", str(tmp_path)))
    (tmp_path / "talk.yaml").write_text(
        "services:\n- name: talk\n  isEntrypoint: true\n"
        f'  command: [{sys.executable}, {tmp_path}/talker.py, "{{port}}"]\n'
    )
    seen = tmp_path / "followed"
    with real_mesh(tmp_path, "talk.yaml", "--no-load") as mesh, seen.open("w") as out:
        follower = subprocess.Popen(
            [sys.executable, "-m", "mesh", "logs", "talk-1", "--part", "app", "--follow", "-n", "1"],
            cwd=tmp_path,
            stdout=out,
        )
        log = mesh.state.log_path("talk-1", "app")
        try:
            until(lambda: seen.read_text() == "ready\n", 20)
            (tmp_path / "go").touch()
            until(lambda: mesh.ok("logs", "talk-1", "--part", "app", "-n", "1") == "the end\n", 45)
            until(lambda: seen.read_text().endswith("the end\n"))
        finally:
            follower.terminate()
            follower.wait()
        files = sorted(log.parent.glob(f"{log.name}*"))
        assert [file.name for file in files] == [log.name, f"{log.name}.1", f"{log.name}.2"]
        assert len(files) == LOG_FILES
        # what came between two looks at it is in its file too
        assert max(file.stat().st_size for file in files) <= 2 * LOG_BYTES
        kept = numbers(mesh.ok("logs", "talk-1", "--part", "app", "-n", "150000").splitlines())
        followed = numbers(seen.read_text().splitlines())
        for lines in (kept, followed):
            assert lines == sorted(set(lines))
            assert lines[-1] == TOTAL - 1
            assert lines[-1] - lines[0] + 1 - len(lines) < 0.01 * len(lines)
        assert len(kept) == 149_999  # "the end" is one
        assert followed[0] == 0


def test_the_logs_of_the_last_mesh_go_with_their_older_files(tmp_path: Path) -> None:
    """The next one begins with none."""
    mesh = RealMesh(tmp_path)
    mesh.state.create()
    for name in ("orders-9.app.log", "orders-9.app.log.1", "orders-9.app.log.2", "orders-9.access.log.1"):
        (mesh.state.logs / name).write_text("old\n")
    mesh.up("star", "--no-load")
    with mesh.leaves_nothing():
        mesh.ok("down")
    assert [file for file in mesh.state.logs.iterdir() if file.name.startswith("orders-9")] == []
