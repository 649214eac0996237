"""`python -m sidecar`: see `--help`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Sequence

import uvloop

from .admin.server import LEVELS
from .app import run
from .config import parse
from .errors import ConfigError


def announce(bound: dict[str, str]) -> None:
    """The ready line."""
    print(json.dumps(bound), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sidecar; 0 after a drain, 2 for wrong usage."""
    try:
        config = parse(sys.argv[1:] if argv is None else argv, os.environ)
        logging.basicConfig(
            level=LEVELS[config.log_level.lower()],
            stream=sys.stderr,
            format=f"%(asctime)s %(levelname)s {config.name} %(name)s: %(message)s",
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if config.workers > 1:
                from .workers.manager import manage  # only who wants workers pays for them

                runner.run(manage(config, announce, time.monotonic, time.time))
            else:
                runner.run(run(config, announce))
    except ConfigError as error:
        print(f"sidecar: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
