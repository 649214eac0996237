"""What a worker runs: an ordinary sidecar with a `link.py` to the manager."""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import socket
import sys

import uvloop

from ..admin.server import LEVELS
from ..app import Sidecar, serve
from ..config import Config
from ..errors import ConfigError
from .channel import Channel
from .link import Link


async def work(end: socket.socket) -> int:
    """Serve until SIGTERM or until the manager is gone; 2 if it refuses to work."""
    channel = await Channel.over(end)
    first = await channel.receive()
    if first is None:
        return 0  # the manager is gone already
    # the manager's own settings, parsed once: a file may have changed since
    config: Config = pickle.loads(base64.b64decode(first["config"]))
    logging.basicConfig(
        level=LEVELS[config.log_level.lower()],
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname)s {config.name}/{config.worker} %(name)s: %(message)s",
    )
    try:
        await serve_linked(config, channel)
    except ConfigError as error:
        channel.send({"refused": str(error)})
        return 2
    finally:
        await channel.close()
    return 0


async def serve_linked(config: Config, channel: Channel) -> None:
    """One sidecar with its link.

    Raises:
        ConfigError: when it cannot work so.
    """
    sidecar = Sidecar(config)
    link = Link(sidecar, channel)
    refused: ConfigError | None = None
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(link.run())
        try:
            await serve(sidecar, link.ready)
        except ConfigError as error:
            refused = error  # not in the group that a task group would make of it
        finally:
            listening.cancel()
    if refused is not None:
        raise refused
    link.farewell()


def run(fd: int) -> int:
    """Work at the channel's end `fd`; returns the exit code."""
    end = socket.socket(fileno=fd)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work(end))
