"""CPU microseconds per request of each policy, of the default set together, and the speed of the virtual-time
world.

Each figure is the best of seven runs (the machine is shared) and includes the loop around the calls. Bar: the
default set, on both sides of a request, costs at most 25 us. The world simulates at least 100,000 requests/s
on one core.
"""

import random
import time
import timeit
from collections.abc import Callable
from functools import partial

from sidecar.balance.endpoints import EndpointSpec
from sidecar.balance.health import render_report
from sidecar.balance.latency import LatencyHistogram
from sidecar.policy.adaptive import AdaptiveLimit, AdaptivePolicy
from sidecar.policy.admission import Admission, AdmissionPolicy
from sidecar.policy.concurrency import Bulkhead, BulkheadPolicy
from sidecar.policy.deadline import parse_remaining
from sidecar.policy.fault import Action, FaultInjector, FaultRule
from sidecar.policy.lanes import Lane, lane_of
from sidecar.policy.outcome import Outcome, classify_status
from sidecar.policy.rate_limit import Rate, RateLimiter, RateLimitPolicy
from sidecar.policy.retry_budget import BudgetPolicy, RetryBudget
from sidecar.policy.settings import BalancePolicy, UpstreamPolicy
from sidecar.policy.shedding import LoadShed, SheddingPolicy
from sidecar.routing.compile import compile_documents
from sidecar.routing.compiled import Identity
from sidecar.routing.documents import parse_text
from sidecar.routing.table import RouteTable
from sidecar.stack import Pick, Upstream
from tests.simulation.world import World, lognormal

BAR_US = 25.0
WORLD_BAR = 100_000
CALLS = 5000
HEADERS = [
    (b"host", b"orders"),
    (b"user-agent", b"curl/8"),
    (b"accept", b"*/*"),
    (b"x-request-id", b"0123456789abcdef"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"x-envoy-expected-rq-timeout-ms", b"2500"),
]
CANARY = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: orders}
spec:
  host: orders
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders}
spec:
  hosts: [orders]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: orders, subset: v2}}]
  - route:
    - {destination: {host: orders, subset: v1}, weight: 90}
    - {destination: {host: orders, subset: v2}, weight: 10}
"""


def cost(action: Callable[[], object]) -> float:
    """CPU microseconds per call."""
    for _ in range(500):
        action()
    return min(timeit.repeat(action, timer=time.process_time, number=CALLS, repeat=7)) / CALLS * 1e6


def upstream(endpoints: int, policy: UpstreamPolicy | None = None) -> Upstream:
    """One that has seen traffic."""
    made = Upstream(
        "orders",
        policy or UpstreamPolicy(),
        lambda event: None,
        "gateway-1",
        time.monotonic,
        random.Random(1),
    )
    made.update([EndpointSpec(f"orders-{n}", "127.0.0.1", 9000 + n) for n in range(1, endpoints + 1)])
    for _ in range(200):
        request(made)
    return made


def request(up: Upstream) -> None:
    """Everything that a request without trouble asks of the stack."""
    if up.start() is None:
        pick = up.pick(())
        assert isinstance(pick, Pick)
        up.per_try_timeout(5.0)
        up.hedge_after(5.0)
        up.settle(pick, classify_status(200, overloaded=False), 0.003)
        up.finish()


def pieces() -> dict[str, Callable[[], object]]:
    """Each policy alone."""
    clock, rng = time.monotonic, random.Random(1)
    budget = RetryBudget(BudgetPolicy(), clock)
    admission = Admission(AdmissionPolicy(), clock, rng)
    bulkhead = Bulkhead(BulkheadPolicy())
    three, many = upstream(3), upstream(1000)
    breaker = three.endpoints.all[0].breaker
    histogram = LatencyHistogram()
    table = RouteTable()
    canary = compile_documents(parse_text(CANARY), Identity("gateway", "gateway-1"), rng=rng).table
    limiter = RateLimiter(RateLimitPolicy(Rate(1e9, 1e9), Rate(1e9, 1e9)), clock)
    adaptive = AdaptiveLimit(AdaptivePolicy(), clock)
    shed = LoadShed(SheddingPolicy(), clock, rng)
    silent, loud = FaultInjector(clock, rng), FaultInjector(clock, rng)
    loud.replace([FaultRule("f", action=Action.ABORT, action_percent=0.0001)])
    report = render_report("passing", 0.001, 0.1)
    endpoint = three.endpoints.all[0]

    def pick_of(up: Upstream) -> None:
        pick = up.pick(())
        assert isinstance(pick, Pick)
        pick.endpoint.pending -= 1

    def settled() -> None:
        pick = three.pick(())
        assert isinstance(pick, Pick)
        three.settle(pick, Outcome.SUCCESS, 0.003)

    def bulk() -> None:
        bulkhead.enter()
        bulkhead.leave()

    def adapt() -> None:
        adaptive.enter(Lane.DEFAULT)
        adaptive.leave(0.003, sample=True)

    return {
        "route: default service": lambda: table.match("orders", b"GET", b"/x", HEADERS),
        "route: header match, 90/10 split": lambda: canary.match("orders", b"GET", b"/x", HEADERS),
        "deadline: read the header": lambda: parse_remaining(b"2500"),
        "retry budget: deposit": budget.deposit,
        "service window: record": lambda: admission.window.record(clock(), 0, 0),
        "bulkhead: enter, leave": bulk,
        "pick of 3 endpoints": lambda: pick_of(three),
        "pick of 1000 endpoints": lambda: pick_of(many),
        "breaker: record a good answer": lambda: breaker.record(0, False, breaker.epoch, False, clock()),
        "latency histogram: record": lambda: histogram.record(0.003, 1.0),
        "pick and settle, 3 endpoints": settled,
        "load report: unchanged": lambda: three.report(endpoint, report),
        "lane of the request": lambda: lane_of(b"critical"),
        "inbound: adaptive limit": adapt,
        "inbound: load shedding": lambda: shed.admit(Lane.DEFAULT),
        "inbound: faults, none in force": lambda: silent.draw(b"GET", b"/x", HEADERS),
        "inbound: faults, one rule": lambda: loud.draw(b"GET", b"/x", HEADERS),
        "inbound: rate limit (by policy)": lambda: limiter.admit("gateway"),
    }


def default_set() -> Callable[[], object]:
    """Both sides of one request: the caller's stack with its route, and what the callee's sidecar asks."""
    clock, rng = time.monotonic, random.Random(1)
    table, up = RouteTable(), upstream(3)
    adaptive, shed = AdaptiveLimit(AdaptivePolicy(), clock), LoadShed(SheddingPolicy(), clock, rng)
    faults = FaultInjector(clock, rng)
    report = render_report("passing", 0.001, 0.1)

    def both() -> None:
        route = table.match("orders", b"GET", b"/x", HEADERS)
        assert route is not None
        parse_remaining(b"2500")
        if up.start() is None:
            pick = up.pick(())
            assert isinstance(pick, Pick)
            up.per_try_timeout(2.5)
            up.hedge_after(2.5)
            # the callee
            lane = lane_of(None)
            if shed.admit(lane) and adaptive.enter(lane):
                faults.draw(b"GET", b"/x", HEADERS)
                adaptive.leave(0.003, sample=True)
            # and back
            up.report(pick.endpoint, report)
            up.settle(pick, classify_status(200, overloaded=False), 0.003)
            up.finish()

    return both


def world_speed() -> float:
    """Simulated requests per second of one core, best of three."""
    best = 0.0
    for _ in range(3):
        world = World(44)
        caller = world.caller(world.servers(3, lognormal(0.005)), 2000)
        begin = time.process_time()
        world.run(20.0)
        best = max(best, len(caller.ok) / (time.process_time() - begin))
    return best


def run() -> str:
    """The table."""
    lines = ["| policy | CPU us per request |", "| --- | --- |"]
    lines += [f"| {name} | {cost(action):.2f} |" for name, action in pieces().items()]
    for kind in ("least_request", "round_robin", "random"):
        up = upstream(3, UpstreamPolicy(balance=BalancePolicy(kind=kind)))
        lines.append(
            f"| whole stack, 3 endpoints, {kind.replace('_', ' ')} | {cost(partial(request, up)):.2f} |"
        )
    lines.append(f"| whole stack, 3 endpoints, default | {cost(partial(request, upstream(3))):.2f} |")
    total = cost(default_set())
    lines.append(f"| **default set, both sides of a request** (bar {BAR_US:g}) | **{total:.2f}** |")
    lines += [
        "",
        f"Virtual-time world: {world_speed():,.0f} simulated requests/s on one core (bar {WORLD_BAR:,}).",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(run())
