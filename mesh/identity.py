"""Which process a pid means: a pid alone is reused by the kernel, a pid with its start time is not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

# The fields of /proc/<pid>/stat after the command name, which may itself hold spaces and brackets:
# proc(5) numbers starttime 22, and the first field after the name is number 3.
_STATE_FIELD = 0
_STARTTIME_FIELD = 22 - 3

PS_TIMEOUT_S = 5.0  # `ps` answers in milliseconds; a machine that needs longer is not going to answer


def identity(pid: int) -> str | None:
    """When the process started, as an opaque word that only equality is asked of; None when it is gone.

    A zombie counts as gone: it holds a pid, and nothing else. Linux: clock ticks since boot from
    /proc/<pid>/stat. Elsewhere: what `ps -o lstart=` prints.
    """
    if sys.platform == "linux":
        fields = _proc_stat(pid)
        if fields is None or fields[_STATE_FIELD] in ("Z", "X"):
            return None
        return fields[_STARTTIME_FIELD]
    return _ps_start(pid)


def same_process(pid: int, start: str) -> bool:
    """Whether `pid` still is the process that `identity` described."""
    return identity(pid) == start


def kill_group(pid: int) -> bool:
    """SIGKILL to the process group that `pid` leads; False when there was nobody left in it."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # macOS answers EPERM for a group that holds only zombies
        return False
    return True


def process_age(pid: int) -> float | None:
    """Seconds since the process started, within a clock tick (10 ms); None where the system does not say."""
    if sys.platform != "linux":
        return None
    fields = _proc_stat(pid)
    if fields is None:
        return None
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, uptime - int(fields[_STARTTIME_FIELD]) / os.sysconf("SC_CLK_TCK"))


def _proc_stat(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode(errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def _ps_start(pid: int) -> str | None:
    try:
        done = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            timeout=PS_TIMEOUT_S,
            check=False,
            env={"PATH": os.environ.get("PATH", "/bin:/usr/bin"), "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split()
    if not words or words[0].startswith("Z"):
        return None
    return " ".join(words[1:])
