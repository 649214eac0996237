"""Real application servers to stand behind a sidecar, each with its own reading of HTTP.

Each appends `METHOD target` to a log for every request that it sees, reads the body, and answers with the
target; `?status=N` asks for a status, `?early` for an answer before the body is read, and `?poison` for a
body that looks like an answer, also where there must be none (as far as the server lets it).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.conformance.proxies import free_port

APPS = Path(__file__).parent / "apps"
# Go compiles its standard library first, if nobody ever did on this machine.
START_S = 120.0

NGINX = """
daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 64; }}
http {{
  log_format seen '$request_method $request_uri'; access_log {log} seen;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  server {{
    listen 127.0.0.1:{port};
    if ($arg_status = 204) {{ return 204; }}
    if ($arg_status = 304) {{ return 304; }}
    location / {{ return 200 $request_uri; }}
  }}
}}
"""


def _nginx(port: int, log: Path) -> list[str]:
    file = log.parent / "app.conf"
    file.write_text(NGINX.format(port=port, log=log, dir=log.parent), encoding="utf-8")
    return [program("nginx"), "-p", str(log.parent), "-c", str(file)]


def _gunicorn(port: int, log: Path) -> list[str]:
    words = f"--chdir {APPS} --bind 127.0.0.1:{port} --worker-class gthread --threads 4 --keep-alive 30"
    words += f" --log-level critical --env LOG={log} gunicorn_app:application"
    return [sys.executable, "-m", "gunicorn", *words.split()]


def _own(program_name: str, *words: str) -> Callable[[int, Path], list[str]]:
    return lambda port, log: [program(program_name), *words, str(port), str(log)]


SERVERS: dict[str, Callable[[int, Path], list[str]]] = {
    "crude": _own(sys.executable, str(APPS / "crude_app.py")),
    "aiohttp": _own(sys.executable, str(APPS / "aiohttp_app.py")),
    "gunicorn": _gunicorn,
    "node": _own("node", str(APPS / "node_app.js")),
    "go": _own("go", "run", str(APPS / "go_app.go")),
    "java": _own("java", "-Dsun.net.httpserver.nodelay=true", str(APPS / "JavaApp.java")),
    "nginx": _nginx,
}
NEEDS = {"node": "node", "go": "go", "java": "java", "nginx": "nginx"}


def program(name: str) -> str:
    """Where it is, also if it is a daemon's; empty = not on this machine."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/local/go/bin") or ""


@contextlib.asynccontextmanager
async def app_server(name: str, log: Path) -> AsyncIterator[int]:
    """`async with app_server("node", log) as port:` while it serves there.

    Raises:
        RuntimeError: when it does not come up, with the end of what it said.
    """
    port = free_port()
    said = log.with_suffix(".err")
    with said.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *SERVERS[name](port, log),
            stdout=errors,
            stderr=errors,
            env={**os.environ, "LOG": str(log), "GO111MODULE": "off"},
            start_new_session=True,  # `go run` and gunicorn have children
        )
    try:
        async with asyncio.timeout(START_S):
            while not await _listens(port):
                if process.returncode is not None:
                    raise RuntimeError(f"{name} ended: {said.read_text(errors='replace')[-500:]}")
                await asyncio.sleep(0.05)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            os.killpg(process.pid, 9)
            await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
