"""`/server_info` and `/listeners` in Envoy's form. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# as Envoy's: commit/version/…; tools look at the part behind the first slash
VERSION = "local-mesh/0.1.0/Clean/RELEASE/Python"


def server_info(snapshot: Mapping[str, Any], bootstrap: Mapping[str, Any]) -> dict[str, Any]:
    """`bootstrap` are the settings, as in `/config_dump`."""
    uptime = f"{int(snapshot.get('uptime_s', 0))}s"
    return {
        "version": VERSION,
        "state": "DRAINING" if snapshot.get("state") == "draining" else "LIVE",
        "hot_restart_version": "disabled",
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "command_line_options": {
            "concurrency": bootstrap.get("workers", 1),
            "log_level": bootstrap.get("log_level", ""),
            "service_node": snapshot.get("name", ""),
            "service_cluster": snapshot.get("service", ""),
            "service_zone": snapshot.get("zone", ""),
            "drain_time": f"{bootstrap.get('drain_timeout', 0):g}s",
        },
        "node": {
            "id": snapshot.get("name", ""),
            "cluster": snapshot.get("service", ""),
            "locality": {"zone": snapshot.get("zone", "")},
            "metadata": {"version": snapshot.get("version", "")},
        },
    }


def listeners_text(addresses: Mapping[str, str]) -> str:
    """`name::address`, one a line."""
    return "".join(f"{name}::{address}\n" for name, address in addresses.items())


def listeners_json(addresses: Mapping[str, str]) -> dict[str, Any]:
    """The same as Envoy's `listener_statuses`."""
    found = []
    for name, address in addresses.items():
        host, _, port = address.rpartition(":")
        socket = {"address": host.strip("[]"), "port_value": int(port)}
        found.append({"name": name, "local_address": {"socket_address": socket}})
    return {"listener_statuses": found}
