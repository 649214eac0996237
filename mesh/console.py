"""What every command shares: the way to the mesh that runs here, and how answers are printed."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.state import StateDirectory

if TYPE_CHECKING:
    from mesh.client import ControlClient

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
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def print_json(document: Any, *, compact: bool = False) -> None:
    """On many lines, or `compact` on one."""
    print_line(json.dumps(document, indent=None if compact else 2, ensure_ascii=False))
