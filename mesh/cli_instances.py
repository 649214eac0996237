"""`mesh kill`, `pause`, `resume`, `drain`, `cut`, `heal`, `logs`: one instance, and what it wrote."""

import contextlib
import time
from enum import StrEnum
from typing import Annotated

import typer

from mesh import console

FOLLOW_EVERY_S = 0.2


class PartChoice(StrEnum):
    """What `--part` takes."""

    APP = "app"
    SIDECAR = "sidecar"
    BOTH = "both"


InstanceName = Annotated[str, typer.Argument(metavar="INSTANCE", show_default=False)]
PartOption = Annotated[PartChoice, typer.Option(help="Which of its processes.")]


def kill(instance: InstanceName, part: PartOption = PartChoice.BOTH, as_json: console.Json = False) -> int:
    """Kill an instance at once (SIGKILL); it stays down until `mesh heal`."""
    return _act("kill", instance, part, as_json)


def pause(instance: InstanceName, part: PartOption = PartChoice.BOTH, as_json: console.Json = False) -> int:
    """Freeze an instance (SIGSTOP): it accepts connections and answers nothing."""
    return _act("pause", instance, part, as_json)


def resume(instance: InstanceName, part: PartOption = PartChoice.BOTH, as_json: console.Json = False) -> int:
    """Let a paused instance go on."""
    return _act("resume", instance, part, as_json)


def drain(instance: InstanceName, as_json: console.Json = False) -> int:
    """Let an instance finish what it has and take nothing new; `mesh heal` brings it back."""
    return _act("drain", instance, PartChoice.BOTH, as_json)


def cut(instance: InstanceName, as_json: console.Json = False) -> int:
    """Cut a container off from the network (docker compose only); `mesh heal` connects it again."""
    return _act("cut", instance, PartChoice.BOTH, as_json)


def heal(instance: InstanceName, part: PartOption = PartChoice.BOTH, as_json: console.Json = False) -> int:
    """Bring an instance back: start what is down on its own ports, resume what is paused."""
    return _act("heal", instance, part, as_json)


def logs(
    instance: InstanceName,
    part: PartOption = PartChoice.BOTH,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 100,
) -> int:
    """Print what an instance's processes wrote; also after the mesh is down."""
    from mesh.logs import Follower, log_files, tail

    if console.containers() is not None:
        if follow:
            return _follow_containers(instance, part, lines)
        found = console.control_client().logs(instance, part.value, lines)
        for name, written in found.items():
            for line in written:
                _print(name, line, alone=len(found) == 1)
        return 0
    files = log_files(console.state(), instance, None if part is PartChoice.BOTH else part.value)
    errors = console.log_errors()
    followers = {name: Follower(path, errors) for name, path in files.items()}
    for name, path in files.items():
        for line in tail(path, lines, errors):
            _print(name, line, alone=len(files) == 1)
    with contextlib.suppress(KeyboardInterrupt):
        while follow:
            for name, follower in followers.items():
                for line in follower.lines():
                    _print(name, line, alone=len(files) == 1)
            time.sleep(FOLLOW_EVERY_S)
    return 0


def _act(action: str, instance: str, part: PartChoice, as_json: bool) -> int:
    document = console.control_client().act(action, instance, part.value)
    if as_json:
        console.print_json(document)
    else:
        reason = f" ({document['reason']})" if document["reason"] else ""
        console.print_line(f"{document['name']} is {document['state']}{reason}")
    return 0


def _follow_containers(instance: str, part: PartChoice, lines: int) -> int:
    client, after = console.control_client(), ""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            written, after = client.follow(instance, part.value, lines, after)
            for name, line in written:
                _print(name, line, alone=part is not PartChoice.BOTH)
            time.sleep(FOLLOW_EVERY_S)
    return 0


def _print(part: str, line: str, *, alone: bool) -> None:
    console.print_log(line if alone else f"{part:7} | {line}")


def add(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: mesh kill orders-1 --part app")(kill)
    app.command(epilog="Example: mesh pause payments-2")(pause)
    app.command(epilog="Example: mesh resume payments-2")(resume)
    app.command(epilog="Example: mesh drain users-1")(drain)
    app.command(epilog="Example: mesh cut orders-2")(cut)
    app.command(epilog="Example: mesh heal orders-1")(heal)
    app.command(epilog="Example: mesh logs orders-1 --part sidecar --follow")(logs)
