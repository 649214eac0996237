"""Which process a pid means: a pid alone is reused by the kernel, a pid with its start time is not."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# The fields of /proc/<pid>/stat after the command name, which may itself hold spaces and brackets:
# proc(5) numbers starttime 22, and the first field after the name is number 3.
_STATE_FIELD = 0
_STARTTIME_FIELD = 22 - 3

# pidfd_send_signal(2), Linux 6.9: to the process group, which cannot become another's meanwhile.
_TO_GROUP = 1 << 2

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


def signal_checked(pid: int, number: int, check: Callable[[], bool], *, group: bool) -> bool:
    """Signal a process, with `group` the group that it leads, if `check` holds of it; whether it was sent.

    Where the system has handles of processes, one is taken before `check` looks: a later process that got the
    pid is not reached.
    """
    handle: int | None = None
    try:
        if hasattr(os, "pidfd_open"):
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                return False
            except OSError:  # forbidden, or an old kernel
                handle = None
        if not check():
            return False
        _send(pid, number, handle, group)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def _send(pid: int, number: int, handle: int | None, group: bool) -> None:
    if handle is not None:
        try:
            signal.pidfd_send_signal(handle, number, None, _TO_GROUP if group else 0)
            return
        except ProcessLookupError:
            raise
        except OSError:
            pass  # a kernel that cannot, or must not: as without a handle
    if group:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)


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
