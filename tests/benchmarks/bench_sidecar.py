"""Requests a second through one sidecar on one core, beside the field; what it adds at a fixed rate."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from .contenders import LOAD_CORE, Contender, pinned, scratch, start_all, start_backend

ROUNDS = 5
SECONDS = 4
CONNECTIONS = 32
FIXED_RATE = 1000
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)")


def wrk(port: int, connections: int, seconds: int, script: Path | None = None) -> float:
    """Requests a second; an answer that is no success is an error of the benchmark."""
    binary = shutil.which("wrk")
    if binary is None:
        raise SystemExit("make bench: wrk is missing; apt-get install wrk, or brew install wrk")
    command = [*pinned(LOAD_CORE), binary, "-t1", f"-c{connections}", f"-d{seconds}"]
    if script is not None:
        command += ["-s", str(script)]
    command.append(f"http://127.0.0.1:{port}/")
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    bad = _BAD.search(output)
    if bad is not None:
        raise SystemExit(f"make bench: the run against port {port} had failures: {bad.group(0)}")
    match = _RATE.search(output)
    assert match is not None, output
    return float(match.group(1))


def fixed_rate(port: int, folder: Path) -> dict[str, float]:
    """Service-time percentiles of one round at FIXED_RATE requests/s, from our own load generator."""
    path = folder / "load.json"
    url = f"http://127.0.0.1:{port}/"
    command = [*pinned(LOAD_CORE), sys.executable, "-m", "loadgen", url, "--rate", str(FIXED_RATE)]
    command += ["--duration", f"{SECONDS}s", "--json", str(path)]
    subprocess.run(command, capture_output=True, check=True)
    result: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))["result"]
    return result


def throughput(
    contenders: list[Contender],
    connections: int,
    seconds: int,
    rounds: int,
    script: Path | None = None,
) -> dict[str, tuple[float, float]]:
    """name -> (median requests/s, median CPU microseconds a request), rounds interleaved."""
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    costs: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for contender in contenders:  # warm
        wrk(contender.port, connections, 1, script)
    for _ in range(rounds):
        for contender in contenders:
            before = contender.cpu_s()
            rate = wrk(contender.port, connections, seconds, script)
            rates[contender.name].append(rate)
            costs[contender.name].append((contender.cpu_s() - before) / (rate * seconds) * 1e6)
    return {name: (statistics.median(rates[name]), statistics.median(costs[name])) for name in rates}


def run() -> str:
    with scratch() as directory:
        folder = Path(directory)
        backend, ports = start_backend()
        contenders: list[Contender] = []
        try:
            contenders = start_all(ports, folder)
            result = throughput(contenders, CONNECTIONS, SECONDS, ROUNDS)
            base = result["mesh sidecar"][0]
            lines = [
                f"One core each, {CONNECTIONS} connections kept alive, two upstreams, 128 byte answers; "
                f"medians of {ROUNDS} interleaved rounds of {SECONDS} s. Policies, metrics, access log on.",
                "",
                "| proxy | requests/s | CPU us/request | ours / it |",
                "| --- | ---: | ---: | ---: |",
            ]
            for contender in contenders:
                rate, cost = result[contender.name]
                lines.append(f"| {contender.name} | {rate:,.0f} | {cost:.1f} | {base / rate:.2f} |")
            lines += [
                "",
                f"Added at a fixed {FIXED_RATE:,} requests/s (service time seen by the load generator; "
                f"medians of {ROUNDS} interleaved rounds of {SECONDS} s):",
                "",
                "| through | p50 ms | p99 ms |",
                "| --- | ---: | ---: |",
            ]
            ends = [("nothing (direct)", ports[0]), *((one.name, one.port) for one in contenders)]
            rounds = [[fixed_rate(port, folder) for _, port in ends] for _ in range(ROUNDS)]
            for (name, _), told in zip(ends, zip(*rounds, strict=True), strict=True):
                p50, p99 = (statistics.median(one[f"service_p{q}_ms"] for one in told) for q in (50, 99))
                lines.append(f"| {name} | {p50:.2f} | {p99:.2f} |")
            return "\n".join(lines)
        finally:
            for contender in [*contenders, backend]:
                contender.stop()
