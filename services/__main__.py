"""The scripted service as a program: one instance of one service of a topology.

Prints `{"http": "HOST:PORT"}` once it serves, logs to stderr, exits 0 on SIGTERM and SIGINT after it
has finished what it had begun, 2 on wrong usage. SIGUSR1: reads the topology again.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence

import uvloop
from aiohttp import web
from prometheus_client import disable_created_metrics

from guard.door import TIMES, Door
from services.app import ScriptedService, build_app
from services.behaviour import Behaviour
from services.errors import FieldError, suggest
from services.health import Health, Probe, connect_check, event_loop_check
from services.metrics import Metrics
from services.peers import Peers
from services.script import TopologyError, load_topology
from services.topology import Instance, Service
from services.tracing import Tracing, collector
from services.units import parse_duration

log = logging.getLogger("services")

# The sidecar in front has 1024 requests here at once, and as many tunnels.
MAX_CONNECTIONS = 4096

# What was begun may finish, within Kubernetes' own half minute.
DRAIN_S = "30s"

# Connections that wait to be accepted, when many callers open theirs at once.
BACKLOG = 1024

EXAMPLE = """\
example:
  python -m services --topology shop --service users --listen 127.0.0.1:9000
  curl http://127.0.0.1:9000/

every flag has an environment variable: SERVICES_TOPOLOGY, SERVICES_SERVICE, SERVICES_LISTEN, …
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        instance = _instance(options.topology, options.service, options.instance)
        host, port = _address(options.listen, "--listen")
        if options.outbound:
            _address(options.outbound, "--outbound")
        drain_s = _duration(options.drain_timeout, "--drain-timeout")
    except (TopologyError, _Usage) as error:
        print(f"services: {error}", file=sys.stderr)
        return 2
    # a second series for each one, which no dashboard reads
    disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(options, instance, host, port, drain_s))


class _Usage(Exception):
    """Wrong usage, in one line."""


async def _serve(
    options: argparse.Namespace, instance: Instance, host: str, port: int, drain_s: float
) -> int:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    clock = time.monotonic
    service = instance.service
    seed = None if options.seed is None else f"{options.seed}/{instance.name}"
    tracing = None
    if options.otlp:
        tracing = Tracing(collector(options.otlp), service.name, instance.name, instance.version)
    peers = Peers(options.outbound, clock)
    behaviour = Behaviour(service, random.Random(seed), in_order=seed is not None, version=instance.version)
    scripted = ScriptedService(instance, behaviour, peers, clock)
    health = Health(_probes(options, service, clock))

    def read_again() -> None:
        """The topology was changed: the next request is drawn from what it says now."""
        try:
            behaviour.service = _instance(options.topology, options.service, options.instance).service
        except (TopologyError, _Usage) as error:
            log.warning("the topology stays as it was read before: %s", error)
        else:
            health.probes = _probes(options, behaviour.service, clock)
            log.info("read the topology again")

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, read_again)
    app = build_app(scripted, health, Metrics(clock), clock, tracing)

    # a caller that goes away takes its work with it, so that retries and hedges do not pile up
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=drain_s, **TIMES)
    await runner.setup()
    door = Door(runner.server, MAX_CONNECTIONS)
    try:
        try:
            # bound here: asyncio's own lookup of the address would start a pool of threads for it
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            print(f"services: --listen {options.listen}: {reason}", file=sys.stderr)
            return 2
        bound = await door.open(sock=listener, backlog=BACKLOG)
        shown = f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
        print(json.dumps({"http": shown}), flush=True)
        await stopping.wait()
        return 0
    finally:
        door.close()
        await runner.cleanup()
        await peers.close()
        if tracing is not None:
            tracing.close()


def _probes(options: argparse.Namespace, service: Service, clock: Callable[[], float]) -> dict[str, Probe]:
    """Its own loop, and the way out of one that calls somebody."""
    probes = {"event_loop": event_loop_check(clock)}
    if options.outbound and service.calls():
        probes["outbound"] = connect_check(options.outbound, "the sidecar")
    return probes


def _instance(topology: str, service: str, instance: str | None) -> Instance:
    """The instance that this process is; `NAME-2` is the second one, other names are the first's likeness."""
    services = {each.name: each for each in load_topology(topology).services}
    if service not in services:
        remedy = suggest(service, services, "services")
        raise _Usage(f'--service: no service is named "{service}" in {topology} ({remedy})')
    found: Service = services[service]
    if found.command is not None:
        raise _Usage(f'--service: "{service}" is a command of its own ({" ".join(found.command)})')
    number = (instance or "").removeprefix(f"{service}-")
    if instance is None or (number.isascii() and number.isdigit() and 0 < len(number) < 10 and int(number)):
        return found.instance(int(number or 1))
    first = found.instance(1)
    return Instance(instance, found, 1, first.version, first.zone)


def _address(text: str, flag: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise _Usage(f'{flag}: "{text}" is not HOST:PORT (write it like 127.0.0.1:9000)')
    return host.strip("[]"), int(port)


def _duration(text: str, flag: str) -> float:
    try:
        return parse_duration(text)
    except FieldError as error:
        raise _Usage(f"{flag}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services",
        description="Run one instance of a scripted service of a topology.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(flag: str, metavar: str, words: str, default: str | None = None, required: bool = False) -> None:
        value = os.environ.get(f"SERVICES_{flag.upper().replace('-', '_')}") or default
        shown = f" (default: {default})" if default else ""
        parser.add_argument(
            f"--{flag}",
            metavar=metavar,
            default=value,
            required=required and value is None,
            help=words + shown,
        )

    add("topology", "FILE", "topology file, or the name of one that ships: shop, chain, …", required=True)
    add("service", "NAME", "which of its services to be", required=True)
    add("instance", "NAME", "name of this replica (default: NAME-1); its number picks version and zone")
    add("listen", "HOST:PORT", "where to serve; port 0 is any free one", "127.0.0.1:9000")
    add("outbound", "HOST:PORT", "the sidecar's outbound listener, through which services are called")
    add("otlp", "URL", "send spans of sampled requests there by OTLP/HTTP")
    add("drain-timeout", "TIME", "for requests under way to end after SIGTERM", DRAIN_S)
    add("seed", "TEXT", "draw errors, latencies and probabilities from this seed, to repeat a run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
