"""`mesh apply`, `get`, `delete`, `schema`: policies as people of kubectl and istioctl know them."""

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from mesh import console
from mesh.errors import DocumentsRefused, MeshError, UsageError
from mesh.policy_names import HOME, Wanted, full_name, key_of, wanted
from mesh.words import unknown_name

Files = Annotated[
    list[str] | None,
    typer.Option(
        "--filename", "-f", metavar="FILE", help="A file, a folder, or - for standard input; again for more."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would change and what can never act; write nothing.")
]
Recursive = Annotated[bool, typer.Option("--recursive", "-R", help="Folders inside of folders too.")]
SkipUnknown = Annotated[
    bool, typer.Option("--skip-unknown", help="List documents of kinds that are no policies, and go on.")
]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", metavar="NAME", help="Not default.")]
Home = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Where the cluster has the services that are in default here.",
        show_default=False,
    ),
]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")]


class Output(StrEnum):
    """What `-o` takes."""

    YAML = "yaml"
    JSON = "json"
    NAME = "name"
    WIDE = "wide"


def apply(
    filename: Files = None,
    dry_run: DryRun = False,
    namespace: Namespace = None,
    home: Home = None,
    recursive: Recursive = False,
    skip_unknown: SkipUnknown = False,
    as_json: console.Json = False,
) -> int:
    """Put policies (VirtualService, DestinationRule, ServiceEntry, …) into force everywhere, all or none."""
    from mesh.policy_files import Reading, read_files

    if not filename:
        raise UsageError("name the policies: -f FILE, a folder, or - for standard input")
    placed: Callable[[str], str] = str
    try:
        read = read_files(filename, Reading(skip_unknown, recursive, namespace, home))
        placed = read.placed
        for line in read.skipped():
            console.print_error(line)
        if not read.policies:
            raise UsageError("nothing is left to apply: every document is of a kind that is no policy")
        done = console.control_client().apply([policy.raw for policy in read.policies], dry_run=dry_run)
    except DocumentsRefused as error:
        return refused("apply", error, placed)
    return _changed("apply", done, placed, dry_run=dry_run, as_json=as_json)


def get(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND[,KIND] [NAME...]]",
            help="As in vs, vs,dr, dr orders, vs/orders dr/orders.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Output | None, typer.Option("--output", "-o", help="Whole documents, or names.")
    ] = None,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    as_json: console.Json = False,
) -> int:
    """Show the policies, and how many sidecars act on them."""
    from mesh.policy_text import as_list, as_yaml, behind, policy_table, taken

    asked = wanted(what or ())
    found, rows = _find(asked, None if all_namespaces else namespace or HOME)
    documents = [row["document"] for row in rows]
    # one that is asked for by its name is itself, any other number a List, as with kubectl
    whole = documents[0] if len(asked.named) == 1 and documents else as_list(documents)
    if as_json:
        console.print_json(whole if len(asked.named) == 1 else {**found, "documents": rows})
        return 0
    if output is Output.JSON:
        console.print_json(whole)
        return 0
    if output is Output.YAML:
        console.print_text(as_yaml(whole))
        return 0
    if output is Output.NAME:
        for row in rows:
            console.print_line(full_name(row["kind"], row["name"]))
        return 0
    if rows:
        for line in policy_table(rows, time.time(), namespaces=all_namespaces):
            console.print_line(line)
    else:
        kinds = f" of kind {', '.join(asked.kinds)}" if asked.kinds else ""
        console.print_line(f"no policies{kinds}")
    if elsewhere := sum(asked.takes(row["kind"], row["name"]) for row in found["documents"]) - len(rows):
        console.print_error(f"{elsewhere} in other namespaces: mesh get -A")
    console.print_line(taken(found["sidecars"]))
    for line in (*found["problems"], *behind(found["sidecars"])):
        console.print_line(f"  {line}")
    return 0


def delete(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND NAME...]", help="As in vs orders, or vs/orders dr/orders.", show_default=False
        ),
    ] = None,
    filename: Files = None,
    namespace: Namespace = None,
    everything: Annotated[bool, typer.Option("--all", help="All of the kind.")] = False,
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="What is not there is no error.")
    ] = False,
    dry_run: DryRun = False,
    home: Home = None,
    recursive: Recursive = False,
    skip_unknown: SkipUnknown = False,
    as_json: console.Json = False,
) -> int:
    """Remove policies, by name or all of a file; all or none, in any order."""
    asked = wanted(what or ())
    if what and not asked.named and not everything:
        raise UsageError(f'"{what[0]}": write KIND/NAME or KIND NAME, as in {what[0]} orders; or --all')
    try:
        keys = [key_of(kind, name, namespace or HOME) for kind, name in asked.named]
        if what and everything:
            keys = [_key(row) for row in _find(asked, namespace or HOME)[1]]
        if filename:
            from mesh.policy_files import Reading, read_files

            read = read_files(filename, Reading(skip_unknown, recursive, namespace, home))
            for line in read.skipped():
                console.print_error(line)
            keys += [policy.key for policy in read.policies]
        if not keys and not (what or filename):
            raise UsageError("name what is to go: KIND NAME, KIND/NAME or -f FILE")
        if ignore_not_found:
            there = {_key(row) for row in console.control_client().policies()["documents"]}
            keys = [key for key in keys if key in there]
        if not keys:
            console.print_line("no policies")
            return 0
        done = console.control_client().delete(keys, dry_run=dry_run)
    except DocumentsRefused as error:
        return refused("delete", error)
    return _changed("delete", done, str, dry_run=dry_run, as_json=as_json)


def schema() -> int:
    """Print the JSON Schema of all kinds of policies, for editors (yaml-language-server) and CI."""
    from sidecar.routing.documents import json_schema

    console.print_json(json_schema())
    return 0


def refused(command: str, error: DocumentsRefused, placed: Callable[[str], str] = str) -> int:
    """Every problem on a line of its own, with file and line of its document; the exit code."""
    for problem in error.problems:
        console.print_error(f"mesh {command}: {placed(problem)}")
    return error.exit_code


def _find(asked: Wanted, namespace: str | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the mesh says, and the rows of what was asked for; UnknownName for what is not there."""
    client = console.control_client()
    kinds = {kind for kind, _ in asked.named} or set(asked.kinds)
    if len(asked.named) == 1 and namespace == HOME:
        ((kind, name),) = asked.named
        found = client.policies(kind, name)
        return found, found["documents"]
    found = client.policies(next(iter(kinds)) if len(kinds) == 1 else None)
    rows: list[dict[str, Any]] = [
        row
        for row in found["documents"]
        if asked.takes(row["kind"], row["name"]) and namespace in (None, row.get("namespace", HOME))
    ]
    for kind, name in asked.named:
        if not any((row["kind"], row["name"]) == (kind, name) for row in rows):
            where = "" if namespace in (None, HOME) else f" in namespace {namespace}"
            names = [row["name"] for row in found["documents"] if row["kind"] == kind]
            raise unknown_name(f"{kind}{where}", name, names)
    return found, rows


def _key(row: dict[str, Any]) -> str:
    return key_of(row["kind"], row["name"], row.get("namespace", HOME))


def _changed(
    command: str, done: dict[str, Any], placed: Callable[[str], str], *, dry_run: bool, as_json: bool
) -> int:
    from mesh.policy_text import change_line, difference, taken

    if as_json:
        console.print_json(done)
    else:
        for change in done["changes"]:
            console.print_line(change_line(change) + (" (dry run)" if dry_run else ""))
            for line in difference(change) if dry_run else ():
                console.print_line(line)
        for warning in done["warnings"]:
            console.print_error(f"warning: {placed(warning)}")
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
    app.command(epilog="Example: mesh get vs,dr -A -o yaml")(get)
    app.command(epilog="Example: mesh delete vs,dr orders")(delete)
    app.command(
        epilog="Example: mesh schema > .mesh/policy.schema.json, and as the first line of a policy file: "
        "# yaml-language-server: $schema=.mesh/policy.schema.json"
    )(schema)
