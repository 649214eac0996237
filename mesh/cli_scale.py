"""`mesh scale`: more or fewer replicas of a service, while the mesh runs."""

from typing import Annotated

import typer

from mesh import console


def scale(
    service: Annotated[str, typer.Argument(metavar="SERVICE", show_default=False)],
    replicas: Annotated[
        int, typer.Argument(metavar="N", help="How many it is to have, 1 or more.", show_default=False)
    ],
    as_json: console.Json = False,
) -> int:
    """Start more replicas of a service, or let the last ones finish what they have and end."""
    client = console.control_client()
    before = client.service(service)["numReplicas"]  # asked first: setting them would add an unknown service
    changed = client.scale(service, replicas)["service"]
    if as_json:
        console.print_json(changed)
    else:
        count = changed["numReplicas"]
        words = "as before" if count == before else f"{before} before"
        console.print_line(f"{service}: {count} replica{'s' * (count > 1)} ({words})")
    return 0


def add(app: typer.Typer) -> None:
    """Add the command."""
    # -1 is a wrong number, and not an unknown option
    settings = {"ignore_unknown_options": True}
    app.command(epilog="Example: mesh scale orders 5", context_settings=settings)(scale)
