"""`mesh record` and `mesh replay`: what happens as one file, and the file as a page that plays it."""

import time
from pathlib import Path
from typing import Annotated

import typer

from mesh import console
from mesh.errors import UsageError


def record(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; .gz is compressed."),
    ] = None,
    lasting: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="End after this long, such as 60s or 5m.")
    ] = None,
) -> int:
    """Record what the live page shows until Ctrl-C: requests, states, breakers, actions."""
    from mesh.recording import record

    seconds = None if lasting is None else console.seconds("--for", lasting)
    path = output or Path(time.strftime("mesh-%Y%m%d-%H%M%S.jsonl.gz"))
    client = console.control_client()
    console.print_line(f"recording to {path} ({'Ctrl-C ends it' if seconds is None else lasting})")
    count, spanned = record(client.stream(), path, seconds, time.monotonic, time.time)
    if not count:
        path.unlink(missing_ok=True)
        raise UsageError("nothing was recorded: the mesh said nothing until the end")
    console.print_line(f"{count} messages in {spanned:.0f} s; play it with: mesh replay {path}")
    return 0


def replay(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Of mesh record or the page.", show_default=False),
    ],
    port: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=65535, help="Of the page (4200); 0 is any.")
    ] = None,
) -> int:
    """Play a recording on the live page, with no mesh running, until Ctrl-C."""
    from mesh.plan import DEFAULT_CONTROL_PORT
    from mesh.ports import Ports
    from mesh.recording import read_recording
    from mesh.replay import replay

    recording = read_recording(file)
    ports = Ports()
    try:
        chosen = ports.preferred(DEFAULT_CONTROL_PORT) if port is None else ports.fixed(port)
        replay(recording, chosen, ports, console.print_line)
    finally:
        ports.close()
    return 0


def add(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: mesh record --for 60s -o outage.jsonl.gz")(record)
    app.command(epilog="Example: mesh replay outage.jsonl.gz")(replay)
