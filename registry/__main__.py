"""`python -m registry`: the embedded registry on its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from guard.caller import is_loopback_host
from guard.token import Token, TokenError, read_token
from registry.antientropy import OWN_SERVICE
from registry.journal import Journal, JournalError
from registry.server import Options, Server
from registry.store import State

log = logging.getLogger("registry")

WANTED_FILES = 16384

EXAMPLE = """example:
  python -m registry --http 127.0.0.1:8500 --ephemeral
  curl http://127.0.0.1:8500/v1/catalog/services

With a token writes need it, and so does whatever comes from another machine: as X-Consul-Token, or as
Authorization: Bearer. Give it in REGISTRY_TOKEN or a file; arguments are read by every user of a machine.
"""

NO_ARGUMENT = "every user of this machine reads the arguments: use --token-file FILE or REGISTRY_TOKEN"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Flags, each with its environment variable; exits 2 on wrong usage."""
    parser = argparse.ArgumentParser(
        prog="registry",
        description="A service registry that speaks Consul's HTTP API.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    env = os.environ.get
    parser.add_argument(
        "--http",
        default=env("REGISTRY_HTTP", "127.0.0.1:8500"),
        metavar="HOST:PORT",
        help="where to listen; port 0 takes a free one [REGISTRY_HTTP, 127.0.0.1:8500]",
    )
    parser.add_argument(
        "--node", default=env("REGISTRY_NODE", ""), help="this node's name [REGISTRY_NODE, host name]"
    )
    parser.add_argument(
        "--datacenter", default=env("REGISTRY_DATACENTER", "dc1"), help="[REGISTRY_DATACENTER, dc1]"
    )
    parser.add_argument(
        "--token-file",
        default=env("REGISTRY_TOKEN_FILE", ""),
        metavar="FILE",
        help="holds the token, for nobody else to read (0600); also REGISTRY_TOKEN [REGISTRY_TOKEN_FILE]",
    )
    parser.add_argument("--token", default=None, help=argparse.SUPPRESS)
    parser.add_argument(
        "--insecure",
        action="store_true",
        default=env("REGISTRY_INSECURE", "").lower() in ("1", "true", "yes"),
        help="serve other machines as this one, without a token too [REGISTRY_INSECURE]",
    )
    keep = parser.add_mutually_exclusive_group()
    keep.add_argument(
        "--data",
        default=env("REGISTRY_DATA", ".mesh/registry"),
        metavar="DIR",
        help="where the journal lives [REGISTRY_DATA, .mesh/registry]",
    )
    keep.add_argument(
        "--ephemeral",
        action="store_true",
        default=env("REGISTRY_EPHEMERAL", "").lower() in ("1", "true", "yes"),
        help="keep everything in memory [REGISTRY_EPHEMERAL]",
    )
    args = parser.parse_args(argv)
    host, colon, port = args.http.rpartition(":")
    if not colon or not host or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        parser.error(f"--http wants HOST:PORT, not {args.http!r}")
    args.host, args.port = host.strip("[]"), int(port)
    if args.token is not None:
        parser.error(f"--token: {NO_ARGUMENT}")
    args.token = env("REGISTRY_TOKEN", "")
    args.token_file = Path(args.token_file) if args.token_file and not args.token else None
    try:
        Token(args.token)
        if args.token_file is not None:
            read_token(args.token_file)
    except TokenError as bad:
        parser.error(f"--token-file {bad}" if args.token_file else f"REGISTRY_TOKEN: {bad}")
    if not (args.token or args.token_file or args.insecure or is_loopback_host(args.host)):
        parser.error(
            f"--http {args.http}: others could change the registry there: give --token-file FILE, "
            "or --insecure to let them"
        )
    return args


def stored_node(state: State) -> str:
    """The node whose agent wrote this state; "" = none.

    A container gets another host name each time it is made; its catalog must not get another node.
    """
    return next((node for node, service in state.services if service == OWN_SERVICE), "")


def allow_many_files() -> None:
    """Raise the soft limit of open files: each watcher holds one, and 256 is macOS's default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as bad:
            log.warning("at most %d connections: %s", soft, bad)


async def serve(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 1 when the address cannot be bound."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    options = Options(
        args.host,
        args.port,
        datacenter=args.datacenter,
        token=args.token,
        token_file=args.token_file,
        insecure=args.insecure,
    )
    if args.node:
        options.node = args.node
    try:
        journal = None if args.ephemeral else Journal(Path(args.data))
    except JournalError as bad:
        log.error("%s", bad)
        return 1
    if journal is not None:
        if not args.node:
            options.node = stored_node(journal.state) or options.node
        log.info("recovered %d records from %s", journal.recovered.records, args.data)
    server = Server(options, journal=journal, clock=time.monotonic, rng=random.Random())
    try:
        async with server.running():
            print(json.dumps({"http": server.address}), flush=True)
            await stop.wait()
    except OSError as bad:
        log.error("cannot listen on %s: %s", args.http, bad)
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the registry; the exit code."""
    args = parse(argv)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    allow_many_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(args))


if __name__ == "__main__":
    sys.exit(main())
