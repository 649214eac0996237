"""`python -m mesh` and the `mesh` command."""

import sys
from collections.abc import Sequence

INTERRUPTED = 130  # as a shell says for a command that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 done, 1 failed, 2 wrong usage."""
    try:
        # within the try: a Ctrl-C in the tenth of a second of the imports is no traceback either
        from mesh.cli import run

        return run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
