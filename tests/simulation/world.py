"""The machine: events in virtual time, servers that fail on demand, callers that run the real stack.

Fast because the future is known when an attempt starts: the server says at once when it will answer, so a
timer event exists only for attempts that outlive their timers. What a switch changes under an attempt in
flight (kill, freeze) is noticed when its answer would have come; a kill then counts from its own moment.
"""

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from sidecar.balance.endpoints import Endpoint, EndpointSpec
from sidecar.liveness import ANSWER_S, FRESH_S
from sidecar.policy.events import PolicyEvent
from sidecar.policy.outcome import Outcome
from sidecar.policy.retry import Retry
from sidecar.policy.settings import UpstreamPolicy
from sidecar.stack import Pick, Rejection, Upstream

Latency = Callable[[random.Random], float]
REFUSED_S = 0.0002  # what a refused connect costs
REQUEST_TIMEOUT_S = 5.0


def lognormal(median_s: float, sigma: float = 0.4) -> Latency:
    """Latencies around `median_s`; sigma 0.4 puts p99 at 2.5 times the median."""
    mu = math.log(median_s)

    def draw(rng: random.Random) -> float:
        return rng.lognormvariate(mu, sigma)

    return draw


def constant(seconds: float) -> Latency:
    """Always the same."""
    return lambda rng: seconds


class Server:
    """One replica. Switches: `kill`, `start`, `freeze`, `thaw`, and the attributes below, at any time."""

    def __init__(self, world: "World", name: str, port: int, latency: Latency, workers: int) -> None:
        self.world = world
        self.name = name
        self.spec = EndpointSpec(name, "127.0.0.1", port)
        self.latency = latency
        self.slowdown = 1.0  # every latency x this
        self.error_rate = 0.0
        self.error_latency: Latency | None = None  # errors come as fast as this, else like answers
        self.alive = True
        self.frozen = False
        self.killed_at = -1.0
        self.stuck: list[tuple[Caller, tuple[Call, Pick, Outcome]]] = []  # came while it was frozen
        self.arrivals: Counter[int] = Counter()  # per second
        self.handled = 0
        self.calls: Caller | None = None  # what it asks before it answers
        self._free = [0.0] * workers if workers else None

    def kill(self) -> None:
        """SIGKILL: connects are refused, attempts in flight are reset."""
        self.alive = False
        self.killed_at = self.world.now

    def start(self) -> None:
        """Runs again, on the same port."""
        self.alive = True
        self.frozen = False
        if self._free is not None:
            self._free = [0.0] * len(self._free)

    def freeze(self) -> None:
        """SIGSTOP: the kernel accepts, nobody answers."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT: what has come meanwhile is answered now."""
        self.frozen = False
        stuck, self.stuck = self.stuck, []
        for caller, event in stuck:
            self.world.push(self.world.now + self.latency(self.world.rng), caller.answered, event)

    def become(self, **change: float) -> Callable[[], None]:
        """A switch for `World.at`: sets `slowdown` or `error_rate` when it is called."""

        def switch() -> None:
            for name, value in change.items():
                setattr(self, name, value)

        return switch

    def answer_in(self, now: float) -> tuple[float, Outcome]:
        """Seconds until the answer to an attempt that arrives now, and what it is."""
        rng = self.world.rng
        outcome = Outcome.SUCCESS
        if self.error_rate and rng.random() < self.error_rate:
            outcome = Outcome.APP_FAILURE
            if self.error_latency is not None:
                return self.error_latency(rng), outcome
        seconds = self.latency(rng) * self.slowdown
        if self._free is not None:  # a first-come queue before `workers` workers
            start = max(now, self._free[0])
            heapq.heapreplace(self._free, start + seconds)
            return start + seconds - now, outcome
        return seconds, outcome


class Call:
    """One request of a caller: where it is in its attempts."""

    __slots__ = (
        "attempt_at",
        "attempts",
        "caller",
        "done",
        "idempotent",
        "pick",
        "server",
        "started",
        "tried",
    )

    def __init__(
        self, caller: "Caller", started: float, idempotent: bool, done: Callable[[bool], None] | None
    ) -> None:
        self.caller = caller
        self.started = started
        self.idempotent = idempotent
        self.done = done
        self.attempts = 0
        self.tried: tuple[Endpoint, ...] = ()
        self.pick: Pick | None = None
        self.server: Server | None = None
        self.attempt_at = 0.0


class Caller:
    """One sidecar that calls one service; `starts`, `latencies` and `ok` hold one entry per finished
    request.
    """

    def __init__(self, world: "World", name: str, servers: list[Server], policy: UpstreamPolicy) -> None:
        self.world = world
        self.name = name
        self.servers = {server.name: server for server in servers}
        self.events: list[PolicyEvent] = []
        self.upstream = Upstream("service", policy, self.events.append, name, world.clock, world.rng)
        self.upstream.update([server.spec for server in servers])
        self.starts: list[float] = []
        self.latencies: list[float] = []
        self.ok: list[bool] = []
        self.attempts = 0
        self.rejected = 0
        self.unsafe_share = 0.0  # share of requests that are not idempotent
        self.timeout_s = REQUEST_TIMEOUT_S

    # ---- the life of a call: what exchange.py does, without I/O ------------------------------------

    def call(self, done: Callable[[bool], None] | None = None) -> None:
        """Begin a request."""
        world = self.world
        idempotent = not self.unsafe_share or world.rng.random() >= self.unsafe_share
        call = Call(self, world.now, idempotent, done)
        rejection = self.upstream.start()
        if rejection is not None:
            if rejection.wait_s:
                self.upstream.abandon_wait()
            self.rejected += 1
            self._finish(call, False, False)
            return
        self.attempt(call)

    def attempt(self, call: Call) -> None:
        """Pick, send, and schedule what comes first: the answer or a timer."""
        world, upstream = self.world, self.upstream
        now = world.now
        pick = upstream.pick(call.tried, None, call.idempotent)
        if pick.__class__ is Rejection:
            self._finish(call, False, True)
            return
        assert isinstance(pick, Pick)
        call.pick = pick
        call.attempts += 1
        call.attempt_at = now
        self.attempts += 1
        server = call.server = self.servers[pick.endpoint.id]
        server.arrivals[int(now)] += 1
        server.handled += 1
        if not server.alive:
            world.push(now + REFUSED_S, self._failed, (call, pick, Outcome.CONNECT_FAILURE))
            return
        remaining = self.timeout_s - (now - call.started)
        last = not call.idempotent or call.attempts >= upstream.policy.retry.max_attempts
        limit = upstream.per_try_timeout(remaining)
        if server.calls is not None and not server.frozen:
            seconds, outcome = server.answer_in(now)
            world.push(now + seconds, self._ask_below, (call, pick, server.calls))
            world.push(now + limit, self._timeout, (call, pick))
            return
        seconds, outcome = server.answer_in(now)
        hedge = None if last else upstream.hedge_after(remaining)
        first = limit if hedge is None or hedge > limit else hedge
        if server.frozen or seconds > first:
            if server.frozen:
                server.stuck.append((self, (call, pick, outcome)))
            else:
                world.push(now + seconds, self.answered, (call, pick, outcome))
            if hedge is not None and hedge < limit:
                world.push(now + hedge, self._look, (call, pick))
            world.push(now + limit, self._timeout, (call, pick))
        else:
            world.push(now + seconds, self.answered, (call, pick, outcome))

    def answered(self, event: tuple[Call, Pick, Outcome]) -> None:
        """The answer would come now, if nothing happened to the server meanwhile."""
        call, pick, outcome = event
        if call.pick is not pick:
            return  # given up meanwhile
        world, server = self.world, call.server
        assert server is not None
        if server.frozen:
            server.stuck.append((self, event))
            hedge = self.upstream.hedge_after(self.timeout_s)
            most = self.upstream.policy.retry.max_attempts
            if hedge is not None and call.idempotent and call.attempts < most:
                world.push(max(world.now, call.attempt_at + hedge), self._look, (call, pick))
            world.push(max(world.now, call.attempt_at + self.timeout_s), self._timeout, (call, pick))
            return
        if call.attempt_at <= server.killed_at <= world.now:
            self._failed((call, pick, Outcome.RESET))
            return
        if outcome is Outcome.SUCCESS:
            upstream = self.upstream
            call.pick = None  # a timer of this attempt may still be in the heap
            upstream.settle(pick, outcome, world.now - call.attempt_at)
            upstream.finish()
            self.starts.append(call.started)
            self.latencies.append(world.now - call.started)
            self.ok.append(True)
            if call.done is not None:
                call.done(True)
        else:
            self._failed(event)

    def _ask_below(self, event: tuple[Call, Pick, "Caller"]) -> None:
        call, pick, below = event

        def replied(ok: bool) -> None:
            if call.pick is pick:
                self.answered((call, pick, Outcome.SUCCESS if ok else Outcome.APP_FAILURE))

        below.call(replied)

    def _look(self, event: tuple[Call, Pick]) -> None:
        call, pick = event
        if call.pick is not pick:
            return
        again = self.upstream.reconsider(pick)
        if again != 0.0:
            self.world.push(self.world.now + again, self._look, event)
        elif call.server is not None and call.server.frozen:  # and so, let us say, is its sidecar
            self.world.push(self.world.now + ANSWER_S, self._told, event)
        else:
            self.upstream.lives(pick)
            self.world.push(self.world.now + FRESH_S, self._look, event)

    def _told(self, event: tuple[Call, Pick]) -> None:
        call, pick = event
        if call.pick is pick and self.upstream.reconsider(pick) == 0.0:
            self._failed((call, pick, Outcome.TIMEOUT_TRY))
        else:
            self._look(event)

    def _timeout(self, event: tuple[Call, Pick]) -> None:
        call, pick = event
        if call.pick is pick:
            over = self.world.now - call.started >= self.timeout_s - 1e-9
            self._failed((call, pick, Outcome.TIMEOUT_TOTAL if over else Outcome.TIMEOUT_TRY))

    def _failed(self, event: tuple[Call, Pick, Outcome]) -> None:
        call, pick, outcome = event
        world, upstream = self.world, self.upstream
        upstream.settle(pick, outcome, world.now - call.attempt_at)
        call.pick = None
        remaining = self.timeout_s - (world.now - call.started)
        decision = upstream.may_retry(outcome, call.attempts, call.idempotent, True, False, remaining)
        if decision.__class__ is Retry:
            assert isinstance(decision, Retry)
            call.tried = (*call.tried, pick.endpoint)
            if decision.delay_s:
                world.push(world.now + decision.delay_s, self.attempt, call)
            else:
                self.attempt(call)
            return
        self._finish(call, False, True)

    def _finish(self, call: Call, ok: bool, admitted: bool) -> None:
        if admitted:
            self.upstream.finish()
        self.starts.append(call.started)
        self.latencies.append(self.world.now - call.started)
        self.ok.append(ok)
        if call.done is not None:
            call.done(ok)

    # ---- what tests ask ----------------------------------------------------------------------------

    def between(self, begin: float, end: float) -> Iterator[tuple[float, bool]]:
        """(latency, ok) of the requests that began in [begin, end)."""
        for start, latency, ok in zip(self.starts, self.latencies, self.ok, strict=True):
            if begin <= start < end:
                yield latency, ok

    def moves(self, server: Server, kind: str = "breaker") -> list[tuple[float, str]]:
        """(time, new state) of one endpoint."""
        return [
            (event.at, event.to_state)
            for event in self.events
            if event.endpoint == server.name and event.kind == kind
        ]


class World:
    """Owns time. `at(t, action)` schedules a switch, `run(until)` goes there."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self._heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._count = 0
        self._loads: list[tuple[Caller, float]] = []
        self._port = 10_000

    def clock(self) -> float:
        """The virtual clock, seconds since the world began."""
        return self.now

    def push(self, when: float, action: Callable[[Any], None], argument: Any) -> None:
        """Let `action(argument)` happen at `when`."""
        self._count = count = self._count + 1
        heapq.heappush(self._heap, (when, count, action, argument))

    def at(self, when: float, action: Callable[[], object]) -> None:
        """A switch of the scenario."""

        def switch(_: None) -> None:
            action()

        self.push(when, switch, None)

    def servers(self, count: int, latency: Latency, workers: int = 0, name: str = "s") -> list[Server]:
        """`count` replicas; `workers` > 0 gives each a queue before so many workers."""
        made = []
        for index in range(count):
            self._port += 1
            made.append(Server(self, f"{name}-{index + 1}", self._port, latency, workers))
        return made

    def caller(
        self, servers: list[Server], rate: float, policy: UpstreamPolicy | None = None, name: str = "caller"
    ) -> Caller:
        """A sidecar that calls `servers` at `rate` requests/s (Poisson; 0 = only when asked)."""
        caller = Caller(self, name, servers, policy or UpstreamPolicy())
        if rate:
            self._loads.append((caller, rate))
        return caller

    def set_rate(self, caller: Caller, rate: float) -> None:
        """Change the load of one caller."""
        self._loads = [(other, rate if other is caller else old) for other, old in self._loads]

    def run(self, until: float) -> None:
        """Let everything happen up to `until`."""
        heap = self._heap
        pop = heapq.heappop
        exponential = self.rng.expovariate
        random01 = self.rng.random
        while self._loads and self.now < until:
            loads = self._loads
            total = sum(rate for _, rate in loads)
            single = loads[0][0] if len(loads) == 1 else None
            arrival = self.now + exponential(total)
            while self._loads is loads:
                while heap and heap[0][0] <= arrival and heap[0][0] <= until:
                    when, _, action, argument = pop(heap)
                    self.now = when
                    action(argument)
                if arrival > until:
                    self.now = until
                    return
                self.now = arrival
                if single is not None:
                    single.call()
                else:
                    dice = random01() * total
                    for caller, rate in loads:
                        dice -= rate
                        if dice < 0.0:
                            caller.call()
                            break
                arrival += exponential(total)
        while heap and heap[0][0] <= until:
            when, _, action, argument = pop(heap)
            self.now = when
            action(argument)
        self.now = until


def quantile(values: list[float], q: float) -> float:
    """The q-quantile of `values` (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]
