"""What every command shares: the way to the mesh that runs here, and how answers are printed.

Everything that a command prints goes through here, and no control characters of others with it; only a log
that goes into a pipe or a file is printed as it was written.
"""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.errors import UsageError
from mesh.plain import plain, plain_json, plain_log
from mesh.state import StateDirectory
from mesh.tokens import kept_token

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
CARRIAGE_RETURN = "\r"

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
