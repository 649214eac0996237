"""How many files, and so connections, this process may have open."""

from __future__ import annotations

import resource

# Each request under way needs two; the rest is for logs, the registry and what libraries open.
SPARE = 64


def raise_limit(connections: int) -> int:
    """Ask for room for so many client connections and as many to backends; returns how many it got room for.

    The soft limit is 1024 on most Linux systems and 256 on macOS; the hard one is what counts.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + SPARE
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY:
        return connections
    if wanted > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError):  # macOS has a further limit of its own
            pass
    return min(connections, max(1, (soft - SPARE) // 2))
