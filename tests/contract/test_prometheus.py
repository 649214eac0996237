"""Prometheus finds our instances by its `consul_sd_configs`, and sees them come and go.

Debian 12's package is built without Consul discovery, Debian 11's (2.24) and upstream's are built with it.
"""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.contract import servers
from tests.contract.http import Http
from tests.contract.servers import Running

CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: mesh
    consul_sd_configs:
      - server: {address}
        refresh_interval: 1s
    relabel_configs:
      - source_labels: [__meta_consul_service]
        regex: {name}
        action: keep
      - source_labels: [__meta_consul_service]
        target_label: service
      - source_labels: [__meta_consul_service_metadata_version]
        target_label: version
      - source_labels: [__meta_consul_service_id]
        target_label: instance_name
"""


@pytest.fixture
async def targets(registry: Running, name: str, tmp_path: Path) -> AsyncIterator[Any]:
    """A function that asks a running Prometheus for its active targets, by instance name."""
    binary = os.environ.get("PROMETHEUS_BIN") or shutil.which("prometheus")
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(address=registry.address, name=name))
    if binary is None or not _has_consul_discovery(binary, config):
        servers.missing(
            "a Prometheus with consul_sd_configs", "set PROMETHEUS_BIN (Debian 11's has it, 12's not)"
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        str(binary),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def ask() -> dict[str, dict[str, Any]]:
        try:
            async with session.get(f"http://127.0.0.1:{port}/api/v1/targets?state=active") as answer:
                found = (await answer.json())["data"]["activeTargets"]
        except (aiohttp.ClientError, KeyError, ValueError):
            return {}
        return {target["labels"]["instance_name"]: target for target in found}

    async with aiohttp.ClientSession() as session:
        yield ask
    process.kill()
    await process.wait()


def _has_consul_discovery(binary: str, config: Path) -> bool:
    """Whether its own check tool, which is built from the same parts, takes the configuration."""
    tool = shutil.which("promtool", path=f"{Path(binary).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if tool is None:
        return True
    return (
        subprocess.run([tool, "check", "config", str(config)], capture_output=True, timeout=20).returncode
        == 0
    )


async def _until(ask: Any, true: Any) -> dict[str, dict[str, Any]]:
    async with asyncio.timeout(30):
        while True:
            found: dict[str, dict[str, Any]] = await ask()
            if true(found):
                return found
            await asyncio.sleep(0.1)


async def test_prometheus_discovers_our_instances(targets: Any, http: Http, name: str) -> None:
    for number in (1, 2):
        body = {
            "ID": f"{name}-{number}",
            "Name": name,
            "Address": "127.0.0.1",
            "Port": 9000 + number,
            "Tags": [f"v{number}"],
            "Meta": {"version": f"v{number}"},
            "Check": {"TTL": "600s", "Status": "passing"},
        }
        await http.put("agent/service/register", body)
    found = await _until(targets, lambda found: len(found) == 2)
    one = found[f"{name}-1"]
    assert one["scrapeUrl"] == "http://127.0.0.1:9001/metrics"
    assert (one["labels"]["service"], one["labels"]["version"]) == (name, "v1")
    discovered = one["discoveredLabels"]
    assert discovered["__meta_consul_node"] == servers.NODE
    assert discovered["__meta_consul_tags"] == ",v1,"
    assert discovered["__meta_consul_dc"] == "dc1"
    await http.put(f"agent/service/deregister/{name}-1")
    await _until(targets, lambda found: list(found) == [f"{name}-2"])
