"""What a process takes of memory, as the kernel counts it."""

from pathlib import Path

import pytest

HERE = Path("/proc/self/status").exists()
needs_proc = pytest.mark.skipif(not HERE, reason="reads memory from /proc")

MIB = 1024 * 1024


def resident(pid: int) -> int:
    """Bytes in memory now."""
    return _field(pid, "VmRSS")


def peak(pid: int) -> int:
    """The most there ever were."""
    return _field(pid, "VmHWM")


def _field(pid: int, name: str) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split(f"{name}:")[1].split()[0]) * 1024
