"""What a person sees of `mesh up`: progress while it starts, one line when it is up, then the live table."""

import asyncio
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from mesh.plain import plain

if TYPE_CHECKING:
    from mesh.supervisor import Supervisor

TABLE_EVERY_S = 1.0
# A log file of a CI run is not to be filled by a mesh that just runs.
LINE_EVERY_S = 10.0
UNHEALTHY_SHOWN = 5
WAITING_SHOWN = 3


class Show(Protocol):
    """Shows a supervisor's mesh until it is cancelled."""

    async def run(self, supervisor: "Supervisor") -> None:
        """Watch and print."""


# The link holds the token: it is printed to a terminal, and what is piped or detached may end in a log.
NO_LINK = "mesh dashboard prints its link"


def summary(status: Mapping[str, Any], *, detached: bool, link: str = NO_LINK) -> list[str]:
    """The lines that are printed once when the start is over; `link` opens the live page."""
    instances = status["instances"]
    name, count = status["topology"], len(instances)
    if status["ready_s"] is not None:
        lines = [f"{name} is up: {count} instances healthy in {status['ready_s']:.1f} s"]
    else:
        healthy = sum(one["healthy"] for one in instances)
        lines = [f"{name} is up, but only {healthy} of {count} instances are healthy:"]
    # a load that nobody wanted was not started, and is not ill
    sick = [one for one in (*instances, *status["extras"]) if one["started"] and not one["healthy"]]
    lines += [f"  {one['name']}: {one['state']}, {one['reason']}" for one in sick[:UNHEALTHY_SHOWN]]
    if len(sick) > UNHEALTHY_SHOWN:
        lines.append(f"  and {len(sick) - UNHEALTHY_SHOWN} more (mesh status)")
    lines += status["notes"]
    lines += [
        f"  entrypoint  {status['entrypoint']}",
        f"  control     {status['control']}",
        f"  registry    {status['registry']}",
        f"  page        {link}",
    ]
    end = "end it with: mesh down" if detached else "Ctrl-C ends it"
    first = instances[0]["name"] if instances else "INSTANCE"
    lines.append(f"try: mesh status, mesh kill {first}, mesh heal {first}, mesh load --rate 100; {end}")
    return lines


def one_line(status: Mapping[str, Any]) -> str:
    """The mesh in one line, for where a table cannot be."""
    instances = status["instances"]
    healthy = sum(one["healthy"] for one in instances)
    load = status["load"]
    words = f"{status['topology']}: {healthy}/{len(instances)} healthy"
    if load.get("running") and "window" in load:
        window = load["window"]
        words += f", {window.get('rps') or 0:.1f} req/s, p50 {milliseconds(window.get('p50_ms'))}"
        words += f", p99 {milliseconds(window.get('p99_ms'))}, {load.get('failed', 0)} failed"
    sick = [f"{one['name']} {one['state']}" for one in instances if not one["healthy"]]
    if sick:
        words += "; " + ", ".join(sick[:UNHEALTHY_SHOWN])
    return words


def progress_line(progress: Mapping[str, Any]) -> str:
    """What is shown while it starts."""
    waiting = ", ".join(progress["waiting"][:WAITING_SHOWN])
    more = ", …" if len(progress["waiting"]) > WAITING_SHOWN else ""
    words = f"{progress['topology']}: {progress['healthy']} of {progress['total']} healthy"
    return f"{words} (waiting for {waiting}{more})" if waiting else words


def load_line(load: Mapping[str, Any]) -> str:
    """The traffic in one line."""
    if not load.get("running"):
        return "no load (mesh load --rate N starts it)"
    window = load.get("window") or {}
    return (
        f"{load.get('rate', 0):g} req/s wanted, {window.get('rps') or 0:.1f} done, "
        f"p50 {milliseconds(window.get('p50_ms'))}, p99 {milliseconds(window.get('p99_ms'))}, "
        f"{load.get('sent', 0)} sent, {load.get('ok', 0)} ok, {load.get('failed', 0)} failed"
    )


def milliseconds(value: float | None) -> str:
    """`12 ms`, or a dash for no value."""
    if value is None:
        return "-"
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


class PlainShow:
    """Lines, for a pipe, a file or a dumb terminal."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out

    async def run(self, supervisor: "Supervisor") -> None:
        """The summary when it is up, then a line now and then."""
        from mesh.supervisor import MeshPhase

        await supervisor.changes.wait_for(lambda: supervisor.phase is not MeshPhase.STARTING, None)
        if supervisor.phase is MeshPhase.STOPPING:
            return
        self._print(*summary(supervisor.status(), detached=False))
        while True:
            await asyncio.sleep(LINE_EVERY_S)
            self._print(one_line(supervisor.status()))

    def _print(self, *lines: str) -> None:
        self._out.write("\n".join(map(plain, lines)) + "\n")
        self._out.flush()


class TerminalShow:
    """A live table that is drawn anew each second."""

    async def run(self, supervisor: "Supervisor") -> None:
        """Progress, the summary, the table, and a last word when it ends."""
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        from mesh.supervisor import MeshPhase
        from mesh.table import status_table

        console = Console()
        with console.status("starting") as spinner:

            def started() -> bool:
                spinner.update(Text(plain(progress_line(supervisor.progress()))))
                return supervisor.phase is not MeshPhase.STARTING

            await supervisor.changes.wait_for(started, None)
        if supervisor.phase is MeshPhase.UP:
            plan = supervisor.plan
            link = NO_LINK if plan.tokens is None else plan.tokens.link(plan.control_url)
            for line in summary(supervisor.status(), detached=False, link=link):
                console.print(Text(plain(line)), soft_wrap=True)
            with Live(console=console, auto_refresh=False, transient=True) as live:
                while supervisor.phase is MeshPhase.UP:
                    table = status_table(supervisor.status(), console.width)
                    live.update(table, refresh=True)
                    await supervisor.changes.wait_for(
                        lambda: supervisor.phase is not MeshPhase.UP, TABLE_EVERY_S
                    )
        console.print("ending (Ctrl-C again ends it at once)")
