"""`python -m mesh` and the `mesh` command: arguments in, exit code out, every error one line."""

import sys
from collections.abc import Sequence

import typer

from mesh.cli import app
from mesh.errors import MeshError

INTERRUPTED = 130  # as a shell says for a command that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 done, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    name = f"mesh {arguments[0]}" if arguments and not arguments[0].startswith("-") else "mesh"
    try:
        return int(app(arguments, prog_name="mesh", standalone_mode=False) or 0)
    except typer.Exit as end:
        return end.exit_code
    except MeshError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return error.exit_code
    except typer.TyperException as error:
        words = " ".join(error.format_message().split())
        sys.stderr.write(f"{name}: {words} (see: {name} --help)\n")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # `mesh logs … | head`: nobody is there to read a complaint
        return 1


if __name__ == "__main__":
    sys.exit(main())
