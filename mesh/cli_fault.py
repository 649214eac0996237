"""`mesh fault`: break a service on purpose, for a time."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from mesh import console
from mesh.cli_policies import refused, told_behind
from mesh.errors import DocumentsRefused, UsageError
from mesh.fault_text import DEFAULT_TTL, match_of

LIST, CLEAR, ALL = "list", "clear", "all"

Words = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only requests with this; again for more.")
]


class Shape(StrEnum):
    """Distributions of a delay, around the mean that was given."""

    FIXED = "fixed"
    UNIFORM = "uniform"
    EXPONENTIAL = "exponential"
    LOGNORMAL = "lognormal"


def fault(
    target: Annotated[str, typer.Argument(metavar="SERVICE|INSTANCE|list|clear", show_default=False)],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="With clear: which.", show_default=False)
    ] = None,
    delay: Annotated[
        str | None, typer.Option(metavar="TIME", help="Wait before the app sees it: 200ms.")
    ] = None,
    shape: Annotated[
        Shape, typer.Option(help="Of the delay around its mean; uniform is 0 to twice the mean.")
    ] = Shape.FIXED,
    abort: Annotated[
        int | None, typer.Option(metavar="STATUS", min=200, max=599, help="Answer this instead of the app.")
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Close the connection with RST before any byte.")
    ] = False,
    hang: Annotated[bool, typer.Option("--hang", help="Never answer.")] = False,
    truncate: Annotated[
        int | None, typer.Option(metavar="BYTES", min=0, help="End the connection after so much of the body.")
    ] = None,
    slow_body: Annotated[
        float | None, typer.Option(metavar="RATE", min=1, help="Pass the body on at so many bytes a second.")
    ] = None,
    first: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=1000, help="Only the first N tries of each request get --abort (503)."
        ),
    ] = None,
    percent: Annotated[
        float, typer.Option(metavar="P", min=0, max=100, help="Of the requests, for delay and for the rest.")
    ] = 100.0,
    match: Words = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="SERVICE", help="Only calls of this service.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="V", help="Only at replicas of this version.")
    ] = None,
    lasting: Annotated[
        str, typer.Option("--for", metavar="TIME", help="It ends by itself after this long: 30s, 5m, 1h.")
    ] = DEFAULT_TTL,
    max_active: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Hold at most so many requests at once (100).")
    ] = None,
    named: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Otherwise it is named as its target.")
    ] = None,
    as_json: console.Json = False,
) -> int:
    """Make a service or one replica slow or broken for a while, beneath retries and breakers; list; clear."""
    if target == LIST and name is None:
        return _list(as_json)
    if target == CLEAR:
        return _clear(name, as_json)
    if name is not None:
        raise UsageError(f'"{name}" is one word too many: only clear takes a name')
    spec: dict[str, Any] = {"ttl": lasting}
    if delay is not None:
        spec["delay"] = {"duration": delay, "shape": shape.value, "percentage": percent}
    spec |= _action(abort, reset, hang, truncate, slow_body, first)
    if "delay" not in spec and "action" not in spec:
        raise UsageError(
            "say what goes wrong: --delay, --abort, --reset, --hang, --truncate, --slow-body or --first"
        )
    if "action" in spec:
        spec["percentage"] = percent
    if chosen := match_of(match or (), source):
        spec["match"] = [chosen]
    if version is not None:
        spec["labels"] = {"version": version}
    if max_active is not None:
        spec["maxActive"] = max_active
    return _put({"target": target, **spec} | ({"name": named} if named else {}), as_json)


def _action(
    abort: int | None,
    reset: bool,
    hang: bool,
    truncate: int | None,
    slow_body: float | None,
    first: int | None,
) -> dict[str, Any]:
    wanted: dict[str, dict[str, Any]] = {}
    if first is not None:
        wanted["--first"] = {"action": "fail-first", "count": first, "status": abort or 503}
    elif abort is not None:
        wanted["--abort"] = {"action": "abort", "status": abort}
    if reset:
        wanted["--reset"] = {"action": "reset"}
    if hang:
        wanted["--hang"] = {"action": "hang"}
    if truncate is not None:
        wanted["--truncate"] = {"action": "truncate", "afterBytes": truncate}
    if slow_body is not None:
        wanted["--slow-body"] = {"action": "slow-body", "bytesPerSecond": slow_body}
    if len(wanted) > 1:
        raise UsageError(f"{' and '.join(wanted)} exclude each other: a request can go wrong in one way")
    return next(iter(wanted.values()), {})


def _put(wish: dict[str, Any], as_json: bool) -> int:
    try:
        done = console.control_client().put_fault(wish)
    except DocumentsRefused as error:
        return refused("fault", error)
    if as_json:
        console.print_json(done)
    else:
        fault = done["fault"]
        where = fault["instance"] or fault["host"]
        which = "" if fault["which"] == "all" else f" ({fault['which']})"
        console.print_line(
            f"fault/{fault['name']} {done['change']}: {where}: {fault['what']}{which}, ends by itself after "
            f"{fault['document']['spec']['ttl']}"
        )
    return told_behind("fault", done["sidecars"])


def _list(as_json: bool) -> int:
    from mesh.policy_text import fault_table

    found = console.control_client().faults()
    if as_json:
        console.print_json(found)
        return 0
    for line in fault_table(found["faults"]) if found["faults"] else ["no faults"]:
        console.print_line(line)
    return 0


def _clear(name: str | None, as_json: bool) -> int:
    done = console.control_client().clear_faults(None if name == ALL else name)
    if as_json:
        console.print_json(done)
    else:
        for each in done["cleared"]:
            console.print_line(f"fault/{each} ended")
        if not done["cleared"]:
            console.print_line("no faults")
    return told_behind("fault", done["sidecars"])


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="Example: mesh fault payments --abort 503 --percent 20 --for 30s; "
        "--match takes method=POST, path=/pay, prefix=/api/, regex=/v[12]/.*, or HEADER=VALUE. "
        "See them with: mesh fault list; end them with: mesh fault clear [NAME|SERVICE|INSTANCE|all]"
    )(fault)
