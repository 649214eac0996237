"""The registry as people start it: its own process, its ready line, its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Program:
    """A running `python -m registry`; `http` is HOST:PORT."""

    process: asyncio.subprocess.Process
    http: str

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.process.wait()


async def start(*arguments: str, env: dict[str, str] | None = None) -> Program:
    """Start it and wait for its ready line."""
    process = await _spawn(*arguments, env=env)
    assert process.stdout is not None
    async with asyncio.timeout(20):
        line = await process.stdout.readline()
    return Program(process, json.loads(line)["http"])


async def _spawn(*arguments: str, env: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "registry",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")},
            **(env or {}),
        },
    )


async def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run it to its end: (exit code, stdout, stderr)."""
    process = await _spawn(*arguments, env=env)
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@asynccontextmanager
async def running(*arguments: str, env: dict[str, str] | None = None) -> AsyncIterator[Program]:
    """A program that is gone when the block ends, whatever happened."""
    program = await start(*arguments, env=env)
    try:
        yield program
    finally:
        await program.stop(signal.SIGKILL)
