"""`python -m mesh.docker`: the control API of a mesh of containers, in a container beside them.

Reads its settings from the environment (compose.yaml sets them): MESH_PROJECT, MESH_TOPOLOGY, MESH_TOKEN,
MESH_PUBLISHED_PORT, MESH_ENTRYPOINT, MESH_REGISTRY, MESH_LISTEN_PORT, MESH_METRICS_PORT, MESH_RUN,
MESH_JAEGER, MESH_SECRET_FILE (the token of sidecars, load generator and registry).
Prints one line of JSON with its addresses once it serves; `mesh dashboard` prints the link to its page.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from guard.door import TIMES, Door
from mesh.control import trace_routes
from mesh.control.app import END_S, MAX_BODY_BYTES, control_app, say_errors, whole_body
from mesh.control.graph import graph_of
from mesh.control.guard import no_connect
from mesh.control.hub import Hub
from mesh.control.jaeger_link import jaeger_url
from mesh.control.memory import bounded
from mesh.control.policy_desks import make_desks
from mesh.docker import log_routes
from mesh.docker.driver import Driver
from mesh.docker.engine import Engine
from mesh.docker.exposition import Deeds, DriverMetrics
from mesh.docker.plan import Published, container_plan
from mesh.errors import MeshError, UsageError
from mesh.plain import plain
from mesh.plan import MeshPlan
from mesh.policy_check import check_topology
from mesh.tokens import Tokens, authorization, keep_token, kept_token
from mesh.traces import TraceStore
from services.script import Topology, TopologyError, load_topology

log = logging.getLogger("mesh.docker")

# The token of a start, where `docker compose exec control mesh …` finds it; a tmpfs, gone with the container.
TOKEN_FILE = "token"
# 600 bytes each: half of what a mesh of processes keeps, since Jaeger has them all. In bytes less than half:
# the container has 96 MiB.
MAX_SPANS, MAX_SPAN_BYTES = 25_000, 16 * 1024 * 1024
# Compose makes containers in any order, and may be making the others while we start.
CONTAINERS_S, LOOK_AGAIN_S = 30.0, 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; 1 when it could not start, 2 on wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m mesh.docker",
        description=__doc__,
        epilog="example: MESH_PROJECT=shop python -m mesh.docker",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        settings = Settings(os.environ)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, time.monotonic))
    except MeshError as error:
        print(plain(f"mesh.docker: {error}"), file=sys.stderr)
        return error.exit_code
    return 0


class Settings:
    """The environment, checked; raises UsageError."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.project = environ.get("MESH_PROJECT", "")
        if not self.project:
            raise UsageError(
                "MESH_PROJECT is missing: the name of the Compose project, as in MESH_PROJECT=shop"
            )
        try:
            self.topology: Topology = load_topology(environ.get("MESH_TOPOLOGY", "shop"))
            check_topology(self.topology)
        except TopologyError as error:
            raise UsageError(str(error)) from error
        entrypoint = urlsplit(environ.get("MESH_ENTRYPOINT", "http://127.0.0.1:8080"))
        self.published = Published(
            control_port=_port(environ, "MESH_PUBLISHED_PORT", "4200"),
            entrypoint_port=entrypoint.port or 80,
            registry_url=environ.get("MESH_REGISTRY", "http://consul:8500"),
        )
        self.jaeger = jaeger_url(environ)
        self.token = environ.get("MESH_TOKEN") or Tokens.fresh().control
        if not (self.token.isascii() and self.token.isprintable()) or " " in self.token:
            raise UsageError("MESH_TOKEN: is not one word of ASCII letters, digits and signs")
        self.secret_file = Path(file) if (file := environ.get("MESH_SECRET_FILE")) else None
        self.listen = ("0.0.0.0", _port(environ, "MESH_LISTEN_PORT", "4200"))
        self.metrics = ("0.0.0.0", _port(environ, "MESH_METRICS_PORT", "4201"))
        self.run = Path(environ.get("MESH_RUN", "/run/mesh"))


async def _serve(settings: Settings, clock: Callable[[], float]) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    engine = await asyncio.to_thread(Engine, settings.project)
    secret = await _secret(settings.secret_file, clock)
    # the session is for sidecars and the load generator only: nobody else is told their token
    headers = None if secret is None else authorization(secret)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        plan = await _plan(settings, engine, replace(settings.published, registry_token=secret), clock)
        driver = Driver(plan, engine, session, clock, time.time)
        await driver.look()
        traces = TraceStore(MAX_SPANS, max_bytes=MAX_SPAN_BYTES)
        graph = graph_of(settings.topology, plan.topology, settings.jaeger, containers=True)
        hub = Hub(driver, traces, graph, session, time.time, random.Random())
        desks = make_desks(driver.policies, driver, session, time.time, hub.journal.add)
        app = control_app(
            driver,
            traces,
            settings.published.control_port,
            hub,
            desks,
            hosts=_hosts(settings.listen[1]),
            token=settings.token,
        )
        log_routes.add(app, driver)
        inner = _inner_app(driver, traces, hub)
        sites = [await _site(app, *settings.listen), await _site(inner, *settings.metrics)]
        _keep_token(settings)
        bound = {"http": _address(settings.listen), "metrics": _address(settings.metrics)}
        print(json.dumps(bound), flush=True)
        log.info("the page's link: docker compose exec control mesh dashboard")
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(driver.run(), name="driver"),
                    tasks.create_task(hub.run(), name="live page"),
                    tasks.create_task(desks.faults.run(), name="faults"),
                ]
                await stopping.wait()
                for task in running:
                    task.cancel()
        finally:
            for door, runner in sites:
                door.close()
                await runner.cleanup()


async def _secret(file: Path | None, clock: Callable[[], float]) -> str | None:
    """Another container may be writing it while we start."""
    deadline = clock() + CONTAINERS_S
    while file is not None:
        try:
            return kept_token(file)
        except MeshError:
            if clock() >= deadline:
                raise
            await asyncio.sleep(LOOK_AGAIN_S)
    return None


async def _plan(
    settings: Settings, engine: Engine, published: Published, clock: Callable[[], float]
) -> MeshPlan:
    deadline = clock() + CONTAINERS_S
    while True:
        try:
            containers = await asyncio.to_thread(engine.look)
            return container_plan(settings.topology, containers, published)
        except MeshError:
            if clock() >= deadline:
                raise
            await asyncio.sleep(LOOK_AGAIN_S)


async def _site(app: web.Application, host: str, port: int) -> tuple[Door, web.AppRunner]:
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=END_S, **TIMES)
    await runner.setup()
    door = Door(runner.server)
    await door.open(host, port)
    return door, runner


def _inner_app(driver: Driver, traces: TraceStore, hub: Hub) -> web.Application:
    """A listener of its own, for the project's network only: Prometheus and Jaeger have no token.

    Jaeger sends on every span that it takes, so that the page shows real requests too.
    """
    registry = CollectorRegistry()
    deeds = Deeds()
    hub.journal.listeners.append(deeds.note)
    registry.register(DriverMetrics(driver, deeds))

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_1_0_0}
        )

    checks = [no_connect, say_errors, whole_body, bounded(MAX_BODY_BYTES)]
    app = web.Application(middlewares=checks, client_max_size=MAX_BODY_BYTES)
    app.router.add_get("/metrics", metrics)
    trace_routes.add_receiver(app, traces, hub.spans)
    return app


def _hosts(port: int) -> list[str]:
    # what `docker compose exec control mesh` asks for, when the published port is another one
    return [f"127.0.0.1:{port}", f"localhost:{port}"]


def _keep_token(settings: Settings) -> None:
    try:
        settings.run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MeshError(f"cannot write the token to {settings.run}: {error.strerror}") from error
    keep_token(settings.run / TOKEN_FILE, settings.token)


def _address(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


def _port(environ: Mapping[str, str], name: str, default: str) -> int:
    text = environ.get(name) or default
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65536:
        raise UsageError(f"{name}: {text!r} is not a port")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
