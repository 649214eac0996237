"""The `mesh` command. Each command is thin: it reads its arguments, calls one function, prints the answer.

Exit codes: 0 done, 1 failed, 2 wrong usage. Errors are one line on standard error. Imports beyond the
command line itself stand in the commands, because most of them need few, and `mesh status` is typed often.
"""

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mesh import (
    cli_dashboard,
    cli_explain,
    cli_fault,
    cli_instances,
    cli_policies,
    cli_record,
    cli_scale,
    console,
)
from mesh.errors import MeshError, UsageError
from mesh.identity import process_age

# rich_markup_mode None: plain help, without the 40 ms that importing rich costs on every --help
app = typer.Typer(
    name="mesh",
    help="A real service mesh on this machine: every replica a process behind its own sidecar.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

export = typer.Typer(
    help="Write the mesh as files that other programs run.",
    epilog="Example: mesh export compose shop --output compose.yaml",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(export, name="export")

WATCH_EVERY_S = 1.0
PLAIN_COLUMNS = 160

# As in a topology; what the generator can do on this machine it says itself.
MAX_RATE = 1_000_000.0

Rate = Annotated[float | None, typer.Option(metavar="N", min=0, max=MAX_RATE, help="Requests per second.")]


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; an error is one line on standard error."""
    name = f"mesh {arguments[0]}" if arguments and not arguments[0].startswith("-") else "mesh"
    try:
        for number, argument in enumerate(arguments, 1):
            if not is_text(argument):
                raise UsageError(f"argument {number}, {argument!r}, is no UTF-8 text")
        return int(app(list(arguments), prog_name="mesh", standalone_mode=False) or 0)
    except typer.Exit as end:
        return end.exit_code
    except MeshError as error:
        console.print_error(f"{name}: {error}")
        return error.exit_code
    except typer.TyperException as error:
        words = " ".join(error.format_message().split())
        console.print_error(f"{name}: {words} (see: {name} --help)")
        return error.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        # `mesh logs … | head`: nobody is there to read a complaint, not even the interpreter's own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return MeshError.exit_code


def is_text(argument: str) -> bool:
    """Whether it can be sent and printed: bytes that are no UTF-8 come as halves of surrogate pairs."""
    return argument.encode("utf-8", "replace").decode() == argument


@app.command(epilog="Example: mesh up shop --rate 100")
def up(
    topology: Annotated[
        str, typer.Argument(metavar="[TOPOLOGY]", help="A file, or shop, bookinfo, chain, fanout or star.")
    ] = "shop",
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it is healthy.")] = False,
    registry: Annotated[
        str | None, typer.Option(metavar="URL", help="Use this Consul instead of the embedded registry.")
    ] = None,
    no_load: Annotated[bool, typer.Option("--no-load", help="Start no traffic.")] = False,
    rate: Rate = None,
    port: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=65535, help="Of the entrypoint (8080); 0 is any.")
    ] = None,
    control_port: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=65535, help="Of the control API (4200); 0 is any.")
    ] = None,
    drain_timeout: console.DrainTimeout = None,
    outbound_traffic_policy: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="REGISTRY_ONLY or ALLOW_ANY: of hosts that neither the registry nor a ServiceEntry has.",
        ),
    ] = None,
) -> int:
    """Start a mesh here, and keep it until Ctrl-C or `mesh down`."""
    from mesh.up import PROGRAMS, Request, Times
    from mesh.up import up as run_up
    from mesh.up import up_detached as run_up_detached

    now = time.monotonic()
    times = Times(time.monotonic, time.sleep, now - (process_age(os.getpid()) or 0.0))
    drain_s = console.drain_seconds(drain_timeout)
    request = Request(
        topology,
        _registry_url(registry),
        not no_load,
        rate,
        port,
        control_port,
        drain_s,
        _traffic_mode(outbound_traffic_policy),
    )
    if detach:
        return run_up_detached(request, times, PROGRAMS)
    return run_up(request, times, _make_show, PROGRAMS)


@app.command(epilog="Example: mesh down")
def down() -> int:
    """End the mesh that was started here, also one whose supervisor was killed."""
    from mesh.down import down as run_down

    def remark(line: str) -> None:
        console.print_error(f"mesh down: {line}")

    console.print_line(run_down(console.state(), time.monotonic, time.sleep, remark))
    return 0


@app.command(epilog="Example: mesh status --json")
def status(
    as_json: console.Json = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again each second, until Ctrl-C.")] = False,
) -> int:
    """Show every instance: processes, health, breakers, traffic."""
    client = console.control_client()
    with contextlib.suppress(KeyboardInterrupt):
        if as_json:
            console.print_json(client.status(), compact=watch)
            while watch:
                time.sleep(WATCH_EVERY_S)
                console.print_json(client.status(), compact=True)
            return 0
        from rich.console import Console
        from rich.live import Live

        from mesh.table import status_table

        # a pipe or a file has no width: nothing is cut there
        screen = Console() if sys.stdout.isatty() else Console(width=PLAIN_COLUMNS)
        if not watch:
            screen.print(status_table(client.status(), screen.width))
            return 0
        with Live(console=screen, auto_refresh=False) as live:
            while True:
                live.update(status_table(client.status(), screen.width), refresh=True)
                time.sleep(WATCH_EVERY_S)
    return 0


# here and not at the end: --help lists the commands in the order in which they are added
cli_instances.add(app)
cli_scale.add(app)


@app.command(epilog='Example: mesh load --rate 300 --pattern "sine:amplitude=0.5,period=30s"')
def load(
    rate: Rate = None,
    pattern: Annotated[
        str | None, typer.Option(metavar="P", help="constant, poisson, ramp, step, sine or spike.")
    ] = None,
    as_json: console.Json = False,
) -> int:
    """Change the traffic while it runs; without options, show it."""
    from mesh.show import load_line

    client = console.control_client()
    change = {key: value for key, value in (("rate", rate), ("pattern", pattern)) if value is not None}
    document = client.set_load(change) if change else client.status()["load"]
    if as_json:
        console.print_json(document)
    else:
        console.print_line(load_line(document))
    return 0


@app.command(epilog="Example: mesh validate my-topology.yaml")
def validate(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE...", help="A topology, or files of policies.", show_default=False),
    ] = None,
    filename: cli_policies.Files = None,
    recursive: cli_policies.Recursive = False,
    skip_unknown: cli_policies.SkipUnknown = False,
    home: cli_policies.Home = None,
) -> int:
    """Check a topology file, or policies as one set, and say every fault with its place; starts nothing."""
    from mesh.policy_check import check_topology, holds_policies, validate_policies
    from services.script import TopologyError, load_topology

    files = [*(files or ()), *(filename or ())]
    if not files:
        raise UsageError("name a topology, or files of policies: FILE..., -f FILE or -f FOLDER")
    if len(files) > 1 or holds_policies(files[0]):
        from mesh.policy_files import Reading

        how = Reading(skip_unknown=skip_unknown, recursive=recursive, home=home)
        return validate_policies(files, how)
    file = files[0]
    try:
        topology = load_topology(file)
        warnings = check_topology(topology)
    except TopologyError as error:
        for each in (error, *error.more):
            console.print_error(str(each))
        return UsageError.exit_code
    for note in topology.notes:
        console.print_error(f"note: {note}")
    for warning in warnings:
        console.print_error(f"warning: {warning}")
    services, instances = len(topology.services), len(topology.instances())
    console.print_line(
        f"{file}: valid: {services} services, {instances} instances, entrypoint {topology.entrypoint.name}"
    )
    return 0


@export.command("compose", epilog="Example: mesh export compose shop --output compose.yaml")
def export_compose(
    topology: Annotated[
        str, typer.Argument(metavar="[TOPOLOGY]", help="A file, or shop, bookinfo, chain, fanout or star.")
    ] = "shop",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; without it, printed.")
    ] = None,
    drain_timeout: console.DrainTimeout = None,
) -> int:
    """Write a topology as a Docker Compose file; starts nothing."""
    from mesh.export.compose import compose_file
    from mesh.policy_check import check_topology
    from services.script import TopologyError, load_topology

    try:
        loaded = load_topology(topology)
        check_topology(loaded)
        directory = (output or Path("compose.yaml")).parent
        text = compose_file(loaded, topology, directory, console.drain_seconds(drain_timeout))
    except TopologyError as error:
        raise UsageError(str(error)) from error
    if output is None:
        console.print_text(text)
        return 0
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror}") from error
    return 0


def _make_show() -> Any:
    from mesh.show import PlainShow, TerminalShow

    return TerminalShow() if sys.stdout.isatty() else PlainShow()


def _traffic_mode(text: str | None) -> str | None:
    if text not in (None, "REGISTRY_ONLY", "ALLOW_ANY"):
        raise UsageError(
            f'--outbound-traffic-policy: "{text[:40]}" is no mode (write REGISTRY_ONLY or ALLOW_ANY)'
        )
    return text


def _registry_url(text: str | None) -> str | None:
    if text is None:
        return None
    from urllib.parse import urlsplit

    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets, or a port that is none
        usable = False
    if not usable:
        raise UsageError(f'--registry: "{text[:80]}" is not a URL such as http://127.0.0.1:8500')
    return url.rstrip("/")


cli_policies.add(app)
cli_fault.add(app)
cli_explain.add(app)
cli_record.add(app)
cli_dashboard.add(app)
