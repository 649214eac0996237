"""What every command shares: the way to the mesh that runs here, and how answers are printed.

Everything that a command prints goes through here, and no control characters of others with it; only a log
that goes into a pipe or a file is printed as it was written.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.plain import plain, plain_json, plain_log
from mesh.state import StateDirectory

if TYPE_CHECKING:
    from mesh.client import ControlClient

CARRIAGE_RETURN = "\r"

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def state() -> StateDirectory:
    """Of the folder where the command was typed."""
    return StateDirectory(Path.cwd())


def containers() -> tuple[str, str | None] | None:
    """(URL, token) of the control API of a mesh of containers; None when processes run here, or nothing."""
    from mesh.docker.locate import locate

    return None if state().read_mesh() is not None else locate(Path.cwd())


def control_client() -> "ControlClient":
    """Of the mesh of processes that runs here, or of the one of containers."""
    from mesh.client import ControlClient

    if (found := containers()) is not None:
        return ControlClient(*found)
    return ControlClient(str(state().running_mesh()["control"]))


def print_line(line: str) -> None:
    """At once, also into a pipe."""
    _write(f"{plain(line)}\n")


def print_error(line: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"{plain(line)}\n")


def print_text(text: str) -> None:
    """Lines that are a file of their own, without one more line end."""
    _write("\n".join(map(plain, text.split("\n"))))


def print_json(document: Any, *, compact: bool = False) -> None:
    """On many lines, or `compact` on one."""
    text = json.dumps(document, indent=None if compact else 2, ensure_ascii=False)
    _write(f"{plain_json(text)}\n")


def log_errors() -> str:
    """How bytes of a log that are no text are to be read for `print_log`."""
    return "backslashreplace" if sys.stdout.isatty() else "surrogateescape"


def print_log(line: str) -> None:
    """To a terminal without control characters, else as it was written, byte for byte."""
    if sys.stdout.isatty():
        _write(f"{plain_log(line.removesuffix(CARRIAGE_RETURN))}\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(line.encode(errors="surrogateescape") + b"\n")
    sys.stdout.buffer.flush()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
