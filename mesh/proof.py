"""What shows that a mesh of this directory started a process: its mark, or a file of ours that it has open.

A pid and a start time can be written down by whoever looks at the list of processes. The environment with
which a process was started, and what it has open, are the kernel's word. Either is enough, because some
programs (nginx, redis) write their title over their environment, and others close the log they were given.
"""

import os
import stat
import subprocess
import sys
from pathlib import Path

# The variable that every process of a mesh is started with; its value is the state directory.
MARK = "MESH_STATE"

TOOL_TIMEOUT_S = 5.0  # `ps` and `lsof` look at one process: a machine that needs longer will not answer


def marked(pid: int, mark: str) -> bool:
    """Whether the process was started with this mark; False for one that is not ours to look at, or gone."""
    entry = f"{MARK}={mark}"
    if sys.platform == "linux":
        try:
            return os.fsencode(entry) in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False
    return entry in _output("ps", "-Eww", "-o", "command=", "-p", str(pid))


def holds(pid: int, path: Path) -> bool:
    """Whether the process has this very file open, one that is ours and has no name elsewhere."""
    try:
        file = path.lstat()
    except OSError:
        return False
    if not stat.S_ISREG(file.st_mode) or file.st_uid != os.geteuid() or file.st_nlink != 1:
        return False
    if sys.platform == "linux":
        return _has_open(pid, file)
    return str(pid) in _output("lsof", "-a", "-t", "-p", str(pid), "--", str(path)).split()


def _has_open(pid: int, file: os.stat_result) -> bool:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        try:
            there = os.stat(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue  # closed meanwhile
        if (there.st_dev, there.st_ino) == (file.st_dev, file.st_ino):
            return True
    return False


def _output(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_TIMEOUT_S,
            check=False,
            env={"PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
