"""`mesh dashboard` and `mesh token`: the live page's link, and the tokens for other programs."""

import html
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from mesh import console
from mesh.errors import MeshError, UsageError
from mesh.tokens import Scope, Tokens, authorization

# A browser that must be started first reads the file within this.
OPEN_S = 5.0


def dashboard(
    browser: Annotated[bool, typer.Option("--open", "-o", help="Open it in the browser, too.")] = False,
) -> int:
    """Print the link of the live page; it holds the token."""
    from mesh.docker.locate import published

    url, tokens = _mesh()
    link = tokens.link(published(url))
    console.print_line(link)
    if browser:
        _open(link)
    return 0


def token(
    scope: Annotated[
        Scope, typer.Argument(help="control: its API; registry: writes; admin: sidecars, load generator.")
    ] = Scope.CONTROL,
    header: Annotated[
        bool, typer.Option("--header", help="As the header: curl -H @<(mesh token --header) URL.")
    ] = False,
) -> int:
    """Print a token of the mesh that runs here, for CONSUL_HTTP_TOKEN or Authorization: Bearer."""
    found = _mesh()[1].of(scope)
    if header:
        for name, value in authorization(found).items():
            console.print_line(f"{name}: {value}")
    else:
        console.print_line(found)
    return 0


def _mesh() -> tuple[str, Tokens]:
    url, token = console.control()
    if not token:
        raise UsageError("MESH_CONTROL names a mesh, but MESH_TOKEN does not say its token")
    return url, Tokens(token)


def _open(link: str) -> None:
    import tempfile
    import webbrowser

    # not as an argument of the browser, which every user of this machine could read: by a file of ours
    fd, name = tempfile.mkstemp(prefix="mesh-", suffix=".html")
    try:
        with os.fdopen(fd, "w") as file:
            file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(link)}">\n')
        if not webbrowser.open(Path(name).as_uri()):
            raise MeshError("no browser could be started: open the link yourself")
        time.sleep(OPEN_S)
    finally:
        os.unlink(name)


def add(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: mesh dashboard --open")(dashboard)
    app.command(epilog="Example: mesh token registry")(token)
