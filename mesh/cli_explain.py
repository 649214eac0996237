"""`mesh explain`: the story of one request, from what every sidecar on its way kept of it."""

import re
from typing import Annotated

import typer

from mesh import console
from mesh.errors import UsageError

_TRACEPARENT = re.compile(r"(?:[0-9a-f]{2}-)?([0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2})?")


def explain(
    trace_id: Annotated[
        str,
        typer.Argument(metavar="TRACE_ID", help="32 hex digits, or a whole traceparent.", show_default=False),
    ],
    as_json: console.Json = False,
) -> int:
    """Say why a request went as it did: rule, candidates, attempts, budget, deadline, who answered."""
    found = _TRACEPARENT.fullmatch(trace_id.strip().lower())
    if found is None:
        raise UsageError(
            f'"{trace_id[:80]}" is no trace id: it has 32 hexadecimal digits, as on the live page, in '
            "access logs (.mesh/logs) and in traceparent"
        )
    document = console.control_client().explain(found[1])
    if as_json:
        console.print_json(document)
        return 0
    from mesh.explain_text import story

    for line in story(document):
        console.print_line(line)
    return 0


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: mesh explain 4bf92f3577b34da6a3ce929d0e0e4736")(explain)
