"""`python -m tests.conformance [ROW…]`: the table, side by side, of all proxies that this machine has."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from .backend import Backend
from .proxies import OTHERS, OURS, binary_of, running
from .rows import ROWS
from .run import run_all


async def verdicts_of(name: str) -> dict[int, str]:
    """One proxy's verdict of each row."""
    backend = Backend({row.number: row.reply for row in ROWS})
    await backend.start()
    try:
        with tempfile.TemporaryDirectory() as directory:
            async with running(name, Path(directory), backend.port) as (host, port):
                return await run_all(backend, host, port)
    finally:
        await backend.stop()


def table(columns: dict[str, dict[int, str]], *, all_rows: bool) -> str:
    """Rows by proxies; `ok`, or what happened instead."""
    lines = [("", *columns)]
    for row in ROWS:
        cells = [verdicts[row.number] or "ok" for verdicts in columns.values()]
        if all_rows or any(cell != "ok" for cell in cells):
            lines.append((row.name, *cells))
    right = [sum(not verdict for verdict in verdicts.values()) for verdicts in columns.values()]
    lines.append((f"right, of {len(ROWS)}", *map(str, right)))
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns) + 1)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def main() -> int:
    """0 when ours are right on every row."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument(
        "proxy", nargs="*", help=f"some of {', '.join((*OURS, *OTHERS))} (default: all that are here)"
    )
    parser.add_argument("--all", action="store_true", help="also the rows that everybody has right")
    options = parser.parse_args()
    names = options.proxy or [name for name in (*OURS, *OTHERS) if binary_of(name) is not None]
    columns = {name: asyncio.run(verdicts_of(name)) for name in names}
    sys.stdout.write(table(columns, all_rows=options.all) + "\n")
    return int(any(any(columns[name].values()) for name in OURS if name in columns))


if __name__ == "__main__":
    sys.exit(main())
