"""What every command shares: the way to the mesh that runs here, and how answers are printed."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.errors import UsageError
from mesh.state import StateDirectory

if TYPE_CHECKING:
    from mesh.client import ControlClient

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

DrainTimeout = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        envvar="MESH_DRAIN_TIMEOUT",
        help="For requests under way, when an instance or the mesh ends (30s).",
    ),
]
DRAIN_TIMEOUT_MAX_S = 3600.0
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


def seconds(flag: str, text: str) -> float:
    """Of a duration that somebody typed; raises UsageError."""
    found = _DURATION.fullmatch(text)
    if found is None or not float(found[1]):
        raise UsageError(f'{flag}: "{text}" is not a duration; write for example 60s or 5m')
    return float(found[1]) * _SECONDS[found[2]]


def drain_seconds(text: str | None) -> float:
    """Of `--drain-timeout`; raises UsageError."""
    from mesh.plan import DRAIN_S

    found = DRAIN_S if text is None else seconds("--drain-timeout", text)
    if found > DRAIN_TIMEOUT_MAX_S:
        raise UsageError(f'--drain-timeout: "{text}" is more than an hour')
    return found


def print_line(line: str) -> None:
    """At once, also into a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def print_json(document: Any, *, compact: bool = False) -> None:
    """On many lines, or `compact` on one."""
    print_line(json.dumps(document, indent=None if compact else 2, ensure_ascii=False))
