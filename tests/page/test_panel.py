"""The numbers on the panel are those of `/metrics`: of the whole, of a service, of a call."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.real_mesh import RealMesh, http
from tests.page.conftest import RATE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SHARE = 0.02
# A latency on the page is the middle of a bucket of the sidecar's window, which is known to so much.
WINDOW_STEP = 1 / 32
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
BURST_RATE, BURST_S = 40, 3
TRIES = 5
SPAN_S = 10.0
NOT_IN_TIME = "the machine took longer than the window is"

Key = tuple[str, ...]
LINE = re.compile(r"^(istio_request\w+)\{(.*)\} (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


class Counters:
    """`istio_requests_total` by code, and the duration histogram, of one reporter at one instance."""

    def __init__(self, mesh: RealMesh, instance: str, reporter: str, callee: str) -> None:
        self.codes: dict[str, float] = {}
        self.buckets: dict[float, float] = {}
        text = http(f"http://127.0.0.1:{mesh.instance(instance)['ports']['admin']}/metrics").body.decode()
        for name, words, value in LINE.findall(text):
            labels = dict(LABEL.findall(words))
            if (labels["reporter"], labels["destination_service_name"]) != (reporter, callee):
                continue
            if name == "istio_requests_total":
                code = labels["response_code"]
                self.codes[code] = self.codes.get(code, 0.0) + float(value)
            elif name == "istio_request_duration_milliseconds_bucket":
                edge = float(labels["le"])
                self.buckets[edge] = self.buckets.get(edge, 0.0) + float(value)

    def since(self, before: "Counters") -> "Counters":
        """What was added."""
        self.codes = {code: n - before.codes.get(code, 0.0) for code, n in self.codes.items()}
        self.buckets = {edge: n - before.buckets.get(edge, 0.0) for edge, n in self.buckets.items()}
        return self

    @property
    def total(self) -> float:
        return sum(self.codes.values())

    @property
    def failed(self) -> float:
        return sum(n for code, n in self.codes.items() if not 200 <= int(code) < 500)

    def around(self, quantile: float) -> tuple[float, float]:
        """The edges, in ms, of the bucket in which that quantile lies."""
        below = 0.0
        for edge in sorted(self.buckets):
            if self.buckets[edge] >= quantile * self.total:
                return below, edge
            below = edge
        raise AssertionError(self.buckets)


def read(mesh: RealMesh) -> dict[str, dict[str, Counters]]:
    """What stands behind the whole, the service `orders` and the call to it."""
    orders, gateways = ("orders-1", "orders-2", "orders-3"), ("gateway-1", "gateway-2")
    return {
        "whole": {"ingress": Counters(mesh, "ingress", "source", "gateway")},
        "orders": {name: Counters(mesh, name, "destination", "orders") for name in orders},
        "gateway>orders": {name: Counters(mesh, name, "source", "orders") for name in gateways},
    }


# Within the page from the first request to the last reading: on a busy machine each word between the test and
# the browser costs a part of the window.
BURST = """async ([names, rate, seconds]) => {
  const { call } = await import('/page/js/actions.js');
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const begun = performance.now();
  await call('PUT', '/api/load', { rate });
  await pause(seconds * 1000);
  await call('PUT', '/api/load', { rate: 0 });
  while (mesh.model.load.rate || mesh.model.load.in_flight) await pause(50);
  await pause(1000); // the mesh is looked at in turns: by then each part of it was asked again
  const panel = Object.fromEntries(names.map((name) => {
    mesh.model.choose(name === 'whole' ? null : { kind: name.includes('>') ? 'edge' : 'node', name });
    const stats = [...document.querySelectorAll('#overview [data-stat]')];
    return [name, Object.fromEntries(stats.map((one) => [one.dataset.stat, one.lastChild.textContent]))];
  }));
  return { panel, window: mesh.model.load.window, took: (performance.now() - begun) / 1000 };
}"""
SILENT = """() => mesh.model.load.window.rps === 0
  && [...mesh.model.nodes.values(), ...mesh.model.edges.values()].every((one) => one.rps === 0)"""


def ms(text: str) -> tuple[float, float]:
    """`52 ms` -> 52, and half of its last digit."""
    number, unit = text.split()
    factor = {"ms": 1.0, "s": 1000.0}[unit]
    return float(number) * factor, 0.5 * factor / 10 ** len(number.partition(".")[2])


@contextmanager
def broken(page: Any) -> Iterator[None]:
    """Half of what orders answers is an error, so that there is an error rate to compare."""
    ask = "words => import('/page/js/actions.js').then(({ call }) => call(...words))"
    fault = {"target": "orders", "action": "abort", "status": 503, "percentage": 50, "ttl": "2m"}
    assert page.evaluate(ask, ["POST", "/api/faults", fault])
    try:
        yield
    finally:
        assert page.evaluate(ask, ["DELETE", "/api/faults", None])
        assert page.evaluate(ask, ["PUT", "/api/load", {"rate": float(RATE)}])


def burst(page: Any, mesh: RealMesh) -> tuple[Any, dict[str, dict[str, str]], dict[str, Any]]:
    """Some seconds of traffic between two silences: what was counted, what the panel and the generator say.

    The panel's numbers are of the last ten seconds, `/metrics` counts from the start. Both are of the very
    same requests only when these all came within one window, with nothing before and nothing after them.
    """
    page.fill("#rate-number", "0")
    page.press("#rate-number", "Enter")
    page.wait_for_function(SILENT, timeout=60_000)
    before = read(mesh)
    found = page.evaluate(BURST, [list(before), BURST_RATE, BURST_S])
    assert found["took"] < SPAN_S - 1, NOT_IN_TIME
    after = read(mesh)
    since = {
        group: {name: counters.since(before[group][name]) for name, counters in found.items()}
        for group, found in after.items()
    }
    return since, found["panel"], found["window"]


def test_the_panel_says_what_the_histograms_say(page: Any, mesh: RealMesh) -> None:
    """Rate and error share within two percent; each percentile in the bucket that has it in `/metrics`.

    A histogram knows a percentile no better than by its bucket: a value within it cannot be told from the
    truth. The panel gives that of the slowest instance or caller, so it lies between the highest lower and
    the highest upper edge.
    """
    with broken(page):
        for _ in range(TRIES):
            try:
                since, panel, window = burst(page, mesh)
                break
            except AssertionError as error:
                if NOT_IN_TIME not in str(error):
                    raise
        else:
            pytest.fail(NOT_IN_TIME)
    for name, instances in since.items():
        found = panel[name]
        total = sum(one.total for one in instances.values())
        share = sum(one.failed for one in instances.values()) / total
        assert total > 60
        rate = float(found["rps"].removesuffix("/s"))
        # the second under way is a part of the window, but not a whole one
        assert total / SPAN_S * (1 - SHARE) - 0.5 <= rate <= total / (SPAN_S - 1) * (1 + SHARE) + 0.5, name
        said = 0.001 if "<" in found["errors"] else float(found["errors"].split()[0]) / 100
        assert abs(said - share) <= 0.005 + SHARE * share, (name, found["errors"], share)
        for key, quantile in QUANTILES.items():
            edges = [one.around(quantile) for one in instances.values() if one.total]
            low, high = max(edge for edge, _ in edges), max(edge for _, edge in edges)
            value, digit = ms(found[key])
            assert value + digit >= low * (1 - WINDOW_STEP), (name, key, found[key], low)
            if name == "whole":
                continue  # the client's way to the ingress and back is no part of the ingress's number
            assert value - digit <= high * (1 + WINDOW_STEP), (name, key, found[key], high)
    assert sum(one.failed for one in since["orders"].values()) > 0
    for key in (*QUANTILES, "service-p50", "service-p99"):
        value, digit = ms(panel["whole"][key])
        truth = window[key.replace("-", "_") + "_ms"]
        assert abs(value - truth) <= digit + SHARE * truth, key
    requests, failed = (panel["gateway>orders"][key].replace(",", "") for key in ("requests", "failed"))
    all_of = [Counters(mesh, name, "source", "orders") for name in since["gateway>orders"]]
    assert abs(float(requests) - sum(one.total for one in all_of)) <= SHARE * float(requests)
    assert float(failed) >= sum(one.failed for one in since["gateway>orders"].values())
