"""`mesh apply`, `get`, `delete`, `schema`: policies as people of kubectl and istioctl know them."""

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from mesh import console
from mesh.errors import DocumentsRefused, MeshError, UsageError

Files = Annotated[
    list[str] | None,
    typer.Option(
        "--filename", "-f", metavar="FILE", help="A file, a folder, or - for standard input; again for more."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would change and what can never act; write nothing.")
]


class Output(StrEnum):
    """What `-o` takes."""

    YAML = "yaml"
    JSON = "json"


def apply(filename: Files = None, dry_run: DryRun = False, as_json: console.Json = False) -> int:
    """Put policies (VirtualService, DestinationRule, Fault) into force at every sidecar, all or none."""
    from mesh.policy_files import read_files

    if not filename:
        raise UsageError("name the policies: -f FILE, a folder, or - for standard input")
    files: Mapping[str, str] = {}
    try:
        read = read_files(filename)
        files = read.files
        done = console.control_client().apply([policy.raw for policy in read.policies], dry_run=dry_run)
    except DocumentsRefused as error:
        return refused("apply", error, files)
    return _changed("apply", done, dry_run=dry_run, as_json=as_json)


def get(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[KIND[/NAME]]", help="As in vs, dr/orders or fault.", show_default=False),
    ] = None,
    output: Annotated[Output | None, typer.Option("--output", "-o", help="Whole documents.")] = None,
    as_json: console.Json = False,
) -> int:
    """Show the policies, and how many sidecars act on them."""
    from mesh.policy_names import kind_and_name
    from mesh.policy_text import as_yaml, behind, policy_table, taken

    kind, name = (None, None) if what is None else kind_and_name(what)
    found = console.control_client().policies(kind, name)
    documents = [each["document"] for each in found["documents"]]
    if as_json or output is Output.JSON:
        console.print_json(documents[0] if name else found)
        return 0
    if output is Output.YAML:
        console.print_text("---\n".join(as_yaml(document) for document in documents))
        return 0
    if documents:
        for line in policy_table(found["documents"], time.time()):
            console.print_line(line)
    else:
        console.print_line("no policies" if kind is None else f"no policies of kind {kind}")
    console.print_line(taken(found["sidecars"]))
    for line in (*found["problems"], *behind(found["sidecars"])):
        console.print_line(f"  {line}")
    return 0


def delete(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KIND/NAME]...", help="As in vs/orders.", show_default=False),
    ] = None,
    filename: Files = None,
    dry_run: DryRun = False,
    as_json: console.Json = False,
) -> int:
    """Remove policies, by name or all of a file; all or none."""
    from mesh.policy_names import kind_and_name

    keys = []
    for word in what or ():
        kind, name = kind_and_name(word)
        if name is None:
            raise UsageError(f'"{word}": write KIND/NAME, as in {word}/orders')
        keys.append(f"{kind}/{name}")
    try:
        if filename:
            from mesh.policy_files import read_files

            keys += [policy.key for policy in read_files(filename).policies]
        if not keys:
            raise UsageError("name what is to go: KIND/NAME or -f FILE")
        done = console.control_client().delete(keys, dry_run=dry_run)
    except DocumentsRefused as error:
        return refused("delete", error)
    return _changed("delete", done, dry_run=dry_run, as_json=as_json)


def schema() -> int:
    """Print the JSON Schema of all kinds of policies, for editors (yaml-language-server) and CI."""
    from sidecar.routing.documents import json_schema

    console.print_json(json_schema())
    return 0


def refused(command: str, error: DocumentsRefused, files: Mapping[str, str] | None = None) -> int:
    """Every problem on a line of its own, with the file of its document; the exit code."""
    for problem in error.problems:
        file = (files or {}).get(problem.partition(":")[0])
        console.print_error(f"mesh {command}: {file + ': ' if file else ''}{problem}")
    return error.exit_code


def _changed(command: str, done: dict[str, Any], *, dry_run: bool, as_json: bool) -> int:
    from mesh.policy_text import change_line, difference, taken

    if as_json:
        console.print_json(done)
    else:
        for change in done["changes"]:
            console.print_line(change_line(change) + (" (dry run)" if dry_run else ""))
            for line in difference(change) if dry_run else ():
                console.print_line(line)
        for warning in done["warnings"]:
            console.print_error(f"warning: {warning}")
        if done["sidecars"] is not None and not done["sidecars"]["behind"]:
            console.print_line(taken(done["sidecars"]))
    return told_behind(command, done["sidecars"])


def told_behind(command: str, sidecars: dict[str, Any] | None) -> int:
    """The exit code; names on standard error who does not act on the change."""
    from mesh.policy_text import behind, taken

    if sidecars is None or not sidecars["behind"]:
        return 0
    console.print_error(f"mesh {command}: it is kept, but only {taken(sidecars)}:")
    for line in behind(sidecars):
        console.print_error(f"  {line}")
    return MeshError.exit_code


def add(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: mesh apply -f canary.yaml --dry-run")(apply)
    app.command(epilog="Example: mesh get virtualservice/orders -o yaml")(get)
    app.command(epilog="Example: mesh delete virtualservice/orders destinationrule/orders")(delete)
    app.command(
        epilog="Example: mesh schema > .mesh/policy.schema.json, and as the first line of a policy file: "
        "# yaml-language-server: $schema=.mesh/policy.schema.json"
    )(schema)
