"""What every command shares: the way to the mesh that runs here, and how answers are printed."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.state import StateDirectory
from mesh.tokens import kept_token

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


def control() -> tuple[str, str]:
    """(URL, token) of the control API of the mesh that runs here, of processes or of containers."""
    if (found := containers()) is not None:
        return found[0], found[1] or ""
    here = state()
    return str(here.running_mesh()["control"]), kept_token(here.token_path)


def control_client() -> "ControlClient":
    """Of the mesh that runs here."""
    from mesh.client import ControlClient

    return ControlClient(*control())


def print_line(line: str) -> None:
    """At once, also into a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def print_json(document: Any, *, compact: bool = False) -> None:
    """On many lines, or `compact` on one."""
    print_line(json.dumps(document, indent=None if compact else 2, ensure_ascii=False))
