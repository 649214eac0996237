"""A program of ours in small, for tests: prints its ready line, serves nothing, ends as its argument says."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence

PARSER = argparse.ArgumentParser(prog="fake_program")
PARSER.add_argument("--exit", type=int, help="end at once with this code")
PARSER.add_argument("--crash", action="store_true", help="end at once by SIGABRT")
PARSER.add_argument("--raise", dest="fail", action="store_true", help="raise after the ready line")
PARSER.add_argument("--ignore-term", action="store_true", help="do not end on SIGTERM")
PARSER.add_argument("--child", action="store_true", help="start a child process of its own first")


def main(argv: Sequence[str] | None = None) -> int:
    """Print who and where it is, then wait for a signal."""
    options = PARSER.parse_args(argv)
    if options.exit is not None:
        return int(options.exit)
    if options.crash:
        os.kill(os.getpid(), signal.SIGABRT)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if options.ignore_term else _end)
    child = _fork_sleeper() if options.child else None
    report = {
        "pid": os.getpid(),
        "group": os.getpgid(0),
        "session": os.getsid(0),
        "argv": list(argv or ()),
        "colour": os.environ.get("COLOUR"),
        "cwd": os.getcwd(),
        "fds": sorted(int(name) for name in os.listdir("/dev/fd")),
        "child": child,
        "umask": os.umask(0o077),
    }
    sys.stdout.write(json.dumps(report) + "\nsecond line\n")
    sys.stdout.flush()
    if options.fail:
        raise RuntimeError("as asked")
    while True:
        signal.pause()


def _end(*_: object) -> None:
    sys.exit(0)


def _fork_sleeper() -> int:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


if __name__ == "__main__":
    sys.exit(main())
