"""One worker, as `crew.py` starts it: `python -m sidecar.workers FD`, where FD is its end of the channel."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Serve until SIGTERM or until the manager is gone; 2 if it refuses to work."""
    # Ctrl-C reaches all: a worker that serves drains, one that still imports is the manager's to end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from .work import run

    return run(int(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
