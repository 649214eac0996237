"""The `mesh` command. Each command is thin: it reads its arguments, calls one function, prints the answer.

Exit codes: 0 done, 1 failed, 2 wrong usage. Errors are one line on standard error. Imports beyond the
command line itself stand in the commands, because most of them need few, and `mesh status` is typed often.
"""

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mesh import cli_explain, cli_fault, cli_policies, cli_record
from mesh.console import Json
from mesh.console import containers as _containers
from mesh.console import control_client as _client
from mesh.console import print_json as _print_json
from mesh.console import print_line as _print
from mesh.console import state as _state
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
FOLLOW_EVERY_S = 0.2
PLAIN_COLUMNS = 160


class PartChoice(StrEnum):
    """What `--part` takes."""

    APP = "app"
    SIDECAR = "sidecar"
    BOTH = "both"


InstanceName = Annotated[str, typer.Argument(metavar="INSTANCE", show_default=False)]
PartOption = Annotated[PartChoice, typer.Option(help="Which of its processes.")]
Rate = Annotated[float | None, typer.Option(metavar="N", min=0, help="Requests per second.")]


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; an error is one line on standard error."""
    name = f"mesh {arguments[0]}" if arguments and not arguments[0].startswith("-") else "mesh"
    try:
        return int(app(list(arguments), prog_name="mesh", standalone_mode=False) or 0)
    except typer.Exit as end:
        return end.exit_code
    except MeshError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return error.exit_code
    except typer.TyperException as error:
        words = " ".join(error.format_message().split())
        sys.stderr.write(f"{name}: {words} (see: {name} --help)\n")
        return error.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        # `mesh logs … | head`: nobody is there to read a complaint, not even the interpreter's own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return MeshError.exit_code


@app.command(epilog="Example: mesh up shop --rate 100")
def up(
    topology: Annotated[
        str, typer.Argument(metavar="[TOPOLOGY]", help="A file, or shop, chain, fanout or star.")
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
) -> int:
    """Start a mesh here, and keep it until Ctrl-C or `mesh down`."""
    from mesh.up import PROGRAMS, Request, Times
    from mesh.up import up as run_up
    from mesh.up import up_detached as run_up_detached

    now = time.monotonic()
    times = Times(time.monotonic, time.sleep, now - (process_age(os.getpid()) or 0.0))
    request = Request(topology, _registry_url(registry), not no_load, rate, port, control_port)
    if detach:
        return run_up_detached(request, times, PROGRAMS)
    return run_up(request, times, _make_show, PROGRAMS)


@app.command(epilog="Example: mesh down")
def down() -> int:
    """End the mesh that was started here, also one whose supervisor was killed."""
    from mesh.down import down as run_down

    _print(run_down(_state(), time.monotonic, time.sleep))
    return 0


@app.command(epilog="Example: mesh status --json")
def status(
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again each second, until Ctrl-C.")] = False,
) -> int:
    """Show every instance: processes, health, breakers, traffic."""
    client = _client()
    with contextlib.suppress(KeyboardInterrupt):
        if as_json:
            _print_json(client.status(), compact=watch)
            while watch:
                time.sleep(WATCH_EVERY_S)
                _print_json(client.status(), compact=True)
            return 0
        from rich.console import Console
        from rich.live import Live

        from mesh.table import status_table

        # a pipe or a file has no width: nothing is cut there
        console = Console() if sys.stdout.isatty() else Console(width=PLAIN_COLUMNS)
        if not watch:
            console.print(status_table(client.status(), console.width))
            return 0
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(status_table(client.status(), console.width), refresh=True)
                time.sleep(WATCH_EVERY_S)
    return 0


@app.command(epilog="Example: mesh kill orders-1 --part app")
def kill(instance: InstanceName, part: PartOption = PartChoice.BOTH, as_json: Json = False) -> int:
    """Kill an instance at once (SIGKILL); it stays down until `mesh heal`."""
    return _act("kill", instance, part, as_json)


@app.command(epilog="Example: mesh pause payments-2")
def pause(instance: InstanceName, part: PartOption = PartChoice.BOTH, as_json: Json = False) -> int:
    """Freeze an instance (SIGSTOP): it accepts connections and answers nothing."""
    return _act("pause", instance, part, as_json)


@app.command(epilog="Example: mesh resume payments-2")
def resume(instance: InstanceName, part: PartOption = PartChoice.BOTH, as_json: Json = False) -> int:
    """Let a paused instance go on."""
    return _act("resume", instance, part, as_json)


@app.command(epilog="Example: mesh drain users-1")
def drain(instance: InstanceName, as_json: Json = False) -> int:
    """Let an instance finish what it has and take nothing new; `mesh heal` brings it back."""
    return _act("drain", instance, PartChoice.BOTH, as_json)


@app.command(epilog="Example: mesh cut orders-2")
def cut(instance: InstanceName, as_json: Json = False) -> int:
    """Cut a container off from the network (docker compose only); `mesh heal` connects it again."""
    return _act("cut", instance, PartChoice.BOTH, as_json)


@app.command(epilog="Example: mesh heal orders-1")
def heal(instance: InstanceName, part: PartOption = PartChoice.BOTH, as_json: Json = False) -> int:
    """Bring an instance back: start what is down on its own ports, resume what is paused."""
    return _act("heal", instance, part, as_json)


@app.command(epilog='Example: mesh load --rate 300 --pattern "sine:amplitude=0.5,period=30s"')
def load(
    rate: Rate = None,
    pattern: Annotated[
        str | None, typer.Option(metavar="P", help="constant, poisson, ramp, step, sine or spike.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Change the traffic while it runs; without options, show it."""
    from mesh.show import load_line

    client = _client()
    change = {key: value for key, value in (("rate", rate), ("pattern", pattern)) if value is not None}
    document = client.set_load(change) if change else client.status()["load"]
    if as_json:
        _print_json(document)
    else:
        _print(load_line(document))
    return 0


@app.command(epilog="Example: mesh logs orders-1 --part sidecar --follow")
def logs(
    instance: InstanceName,
    part: PartOption = PartChoice.BOTH,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 100,
) -> int:
    """Print what an instance's processes wrote; also after the mesh is down."""
    from mesh.logs import Follower, log_files, tail

    if _containers() is not None:
        if follow:
            return _follow_containers(instance, part, lines)
        found = _client().logs(instance, part.value, lines)
        for name, written in found.items():
            for line in written:
                _print(line if len(found) == 1 else f"{name:7} | {line}")
        return 0
    files = log_files(_state(), instance, None if part is PartChoice.BOTH else part.value)
    followers = {name: Follower(path) for name, path in files.items()}
    for name, path in files.items():
        for line in tail(path, lines):
            _print(_labelled(name, line, files))
    with contextlib.suppress(KeyboardInterrupt):
        while follow:
            for name, follower in followers.items():
                for line in follower.lines():
                    _print(_labelled(name, line, files))
            time.sleep(FOLLOW_EVERY_S)
    return 0


@app.command(epilog="Example: mesh validate my-topology.yaml")
def validate(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="A topology, or files of policies.", show_default=False),
    ],
) -> int:
    """Check a topology file, or policies as one set, and say every fault with its place; starts nothing."""
    from mesh.policy_check import check_topology, holds_policies, validate_policies
    from services.script import TopologyError, load_topology

    if len(files) > 1 or holds_policies(files[0]):
        return validate_policies(files)
    file = files[0]
    try:
        topology = load_topology(file)
        check_topology(topology)
    except TopologyError as error:
        for each in (error, *error.more):
            sys.stderr.write(f"{each}\n")
        return UsageError.exit_code
    services, instances = len(topology.services), len(topology.instances())
    _print(
        f"{file}: valid: {services} services, {instances} instances, entrypoint {topology.entrypoint.name}"
    )
    return 0


@export.command("compose", epilog="Example: mesh export compose shop --output compose.yaml")
def export_compose(
    topology: Annotated[
        str, typer.Argument(metavar="[TOPOLOGY]", help="A file, or shop, chain, fanout or star.")
    ] = "shop",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; without it, printed.")
    ] = None,
) -> int:
    """Write a topology as a Docker Compose file; starts nothing."""
    from mesh.export.compose import compose_file
    from mesh.policy_check import check_topology
    from services.script import TopologyError, load_topology

    try:
        loaded = load_topology(topology)
        check_topology(loaded)
        text = compose_file(loaded, topology, (output or Path("compose.yaml")).parent)
    except TopologyError as error:
        raise UsageError(str(error)) from error
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror}") from error
    return 0


def _act(action: str, instance: str, part: PartChoice, as_json: bool) -> int:
    document = _client().act(action, instance, part.value)
    if as_json:
        _print_json(document)
    else:
        reason = f" ({document['reason']})" if document["reason"] else ""
        _print(f"{document['name']} is {document['state']}{reason}")
    return 0


def _make_show() -> Any:
    from mesh.show import PlainShow, TerminalShow

    return TerminalShow() if sys.stdout.isatty() else PlainShow()


def _registry_url(text: str | None) -> str | None:
    if text is None:
        return None
    from urllib.parse import urlsplit

    url = text if "://" in text else f"http://{text}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f'--registry: "{text}" is not a URL such as http://127.0.0.1:8500')
    return url.rstrip("/")


def _follow_containers(instance: str, part: PartChoice, lines: int) -> int:
    client, after = _client(), ""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            written, after = client.follow(instance, part.value, lines, after)
            for name, line in written:
                _print(line if part is not PartChoice.BOTH else f"{name:7} | {line}")
            time.sleep(FOLLOW_EVERY_S)
    return 0


def _labelled(name: str, line: str, files: dict[str, Path]) -> str:
    return line if len(files) == 1 else f"{name:7} | {line}"


cli_policies.add(app)
cli_fault.add(app)
cli_explain.add(app)
cli_record.add(app)
