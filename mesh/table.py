"""The status document as a table for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mesh.control.picture import COLOURS
from mesh.plain import plain
from mesh.show import load_line, milliseconds

CALLERS_SHOWN = 3
WIDE_COLUMNS = 110
HEALTH_COLUMNS = 10  # "● degraded"
BREAKER_COLUMNS = 8


def status_table(status: Mapping[str, Any], width: int) -> RenderableType:
    """Every instance with its health, the breakers in front of it and its traffic; then load and URLs.

    `width` in columns: where it is narrow the pids are left out, and reasons are cut.
    """
    wide = width >= WIDE_COLUMNS
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("instance", "app", "sidecar") if wide else ("instance",):
        table.add_column(heading, no_wrap=True)
    table.add_column("health", no_wrap=True, overflow="ellipsis", min_width=HEALTH_COLUMNS)
    table.add_column("breakers", no_wrap=True, overflow="ellipsis", min_width=BREAKER_COLUMNS)
    for heading in ("req/s", "p50", "p99", "errors"):
        table.add_column(heading, justify="right", no_wrap=True)
    for instance in (*status["instances"], *status["extras"]):
        table.add_row(*_row(instance, wide))
    return Group(table, Text(), *_footer(status))


def _row(instance: Mapping[str, Any], wide: bool) -> list[RenderableType]:
    state = instance["state"]
    # the state's word stands beside the colour, for who sees none
    health = _text(f"● {state}", COLOURS.get(state, ""))
    if instance["reason"]:
        health.append(plain(f" {instance['reason']}"), style="dim")
    traffic = instance["traffic"]
    errors = traffic["error_rate"] or 0.0
    pids = [_pid(instance["pids"][part]) for part in ("app", "sidecar")]
    return [
        _text(instance["name"]),
        *(pids if wide else ()),
        health,
        _breakers(instance["breakers"]),
        f"{traffic['rps'] or 0:.1f}",
        milliseconds(traffic["p50_ms"]),
        milliseconds(traffic["p99_ms"]),
        Text(f"{errors:.1%}", style="red" if errors else ""),
    ]


def _breakers(breakers: Mapping[str, list[str]]) -> Text:
    words = Text()
    for state, colour in (("open", "red"), ("half-open", "yellow")):
        callers = breakers[state]
        if callers:
            more = ", …" if len(callers) > CALLERS_SHOWN else ""
            words.append(plain(f"{state}: {', '.join(callers[:CALLERS_SHOWN])}{more} "), style=colour)
    if not words and breakers["closed"]:
        words.append("closed", style="green")
    return words


def _footer(status: Mapping[str, Any]) -> list[RenderableType]:
    urls = f"entrypoint {status['entrypoint']}   control {status['control']}   registry {status['registry']}"
    warnings = [_text(f"warning: {words}", "yellow") for words in status.get("warnings", ())]
    return [*warnings, _text(f"load  {load_line(status['load'])}"), _text(urls, "dim")]


def _text(words: str, style: str = "") -> Text:
    """Words of others: a Text takes `[red]` for what it says, but ESC it would pass on."""
    return Text(plain(words), style=style)


def _pid(pid: int | None) -> str:
    return "-" if pid is None else str(pid)
