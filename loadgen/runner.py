"""The edge where the schedule meets the loop: sends each request at its time and records its end."""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from loadgen.lamps import SYSTEM_SECONDS, Lamp, generator_lamp, system_lamp
from loadgen.measurement import Measurement
from loadgen.patterns import CONSTANT, Pattern
from loadgen.pool import Exchange, Pool
from loadgen.schedule import Schedule
from loadgen.settings import Limits, check_rate
from loadgen.tally import IN_FLIGHT_CAP, TOO_LATE
from loadgen.target import Target
from loadgen.window import KEPT

LOOK_AHEAD = 1.0
"""Seconds between looks at a schedule with nothing to do; changes wake the runner at once."""
TIMER_STEP = 0.001
"""The resolution of the loop's timers. Waiting is rounded up to it: rounded down, the loop would spin."""
BATCH = 64
"""Requests sent before the loop may read answers again, when the runner has to catch up."""
SWEEP_SECONDS = 0.05
"""Precision of time-outs."""
REMEMBERED_CHANGES = 1000
"""Changes of rate or pattern that the summary lists; a slider makes many, a report needs the last."""


@dataclass(frozen=True, slots=True)
class Change:
    """From `at_s` seconds of the run on, this rate and pattern."""

    at_s: float
    rate: float
    pattern: str


class Runner:
    """An open-loop generator for one target: `run` it, steer it meanwhile, read `measurement` at any time.

    `rng` draws the gaps and is what `--seed` seeds; `trace_rng` draws trace ids, which must not repeat from
    run to run. Everything happens on one loop, so readers always see consistent counts.
    """

    def __init__(
        self,
        target: Target,
        rate: float,
        pattern: Pattern = CONSTANT,
        limits: Limits | None = None,
        *,
        warmup: float = 0.0,
        wall_offset: float = 0.0,
        cpu_clock: Callable[[], float] = lambda: 0.0,
        trace_rng: random.Random | None = None,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.target = target
        self.limits = limits or Limits()
        self.warmup = warmup
        self.wall_offset = wall_offset
        self._clock = clock
        self._rng = rng
        self._begin(check_rate(rate, pattern), pattern)
        self.cpu_share = 0.0
        self.unfinished = 0
        self.ended: float | None = None
        self._trace_rng = trace_rng or random.Random()
        self._cpu_clock = cpu_clock
        self._pool: Pool | None = None
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._until = math.inf
        self._stop = asyncio.Event()
        self._drained = asyncio.Event()
        self._draining = False
        self._broken: Exception | None = None

    def _begin(self, rate: float, pattern: Pattern) -> None:
        self.started = self._clock()
        self.measurement = Measurement(self.started, warmup=self.warmup, wall_offset=self.wall_offset)
        self.schedule = Schedule(rate, pattern, start=self.started, rng=self._rng)
        self.changes = deque([Change(0.0, rate, str(pattern))], maxlen=REMEMBERED_CHANGES)

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have not ended."""
        return self._pool.in_flight if self._pool else 0

    @property
    def now(self) -> float:
        """The runner's clock; after the run, the moment at which it ended."""
        return self._clock() if self.ended is None else self.ended

    def set_rate(self, rate: object) -> None:
        """From now on plan this many requests/s; SettingError leaves all as it was."""
        self.steer(rate, None)

    def set_pattern(self, pattern: Pattern) -> None:
        """From now on shape the rate like this, from the pattern's beginning; SettingError as for a rate."""
        self.steer(self.schedule.rate, pattern)

    def steer(self, rate: object, pattern: Pattern | None) -> None:
        """Both at once, a pattern only if one is given; SettingError leaves all as it was."""
        checked = check_rate(rate, pattern or self.schedule.pattern)
        if checked != self.schedule.rate or pattern is not None:
            self._change(rate=checked, pattern=pattern)

    def reset(self) -> None:
        """Start a new measuring window; the traffic does not notice."""
        self.measurement.reset(self._clock())

    def generator_lamp(self) -> Lamp:
        """Whether the generator kept its schedule in the last ten seconds."""
        now = self.now
        return generator_lamp(self.measurement.window.last(KEPT, now).tally, self.cpu_share)

    def system_lamp(self) -> Lamp:
        """Whether the system kept up in the last five whole seconds."""
        return system_lamp(self.measurement.window.whole(SYSTEM_SECONDS, self.now))

    def stop(self) -> None:
        """End the run; a second call cuts the wait for answers short."""
        if self._stop.is_set():
            self._drained.set()
        self._stop.set()

    async def run(self, *, duration: float | None = None, drain: float = 1.0) -> None:
        """Send until `stop` or for `duration` seconds, then wait up to `drain` seconds for answers.

        After `stop` the wait is at most one second, because somebody is waiting for the end. Requests without
        an end by then are counted as `unfinished`.
        """
        # time starts here, not at construction: what was set up in between must not look like lateness
        self._begin(self.schedule.rate, self.schedule.pattern)
        async with asyncio.TaskGroup() as tasks:
            self._pool = Pool(
                self.target, self._record, tasks, timeout=self.limits.timeout, clock=self._clock
            )
            if duration is not None:
                self._until = self.started + duration
            sweeper = tasks.create_task(self._sweep(), name="sweep")
            self._tick()
            try:
                await self._wait_for_end()
                drain = min(drain, 1.0) if self._stop.is_set() else drain
                await self._finish_plan()
                await self._drain(drain)
            finally:
                if self._timer is not None:
                    self._timer.cancel()
                sweeper.cancel()
                self.unfinished = self._pool.close()
                self.ended = self._clock()
        if self._broken is not None:
            raise self._broken

    async def _wait_for_end(self) -> None:
        left = None if math.isinf(self._until) else max(0.0, self._until - self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._stop.wait()

    async def _finish_plan(self) -> None:
        """What became due before the end is still sent, however late, and after that nothing."""
        end = min(self._until, self._clock())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while True:
            if not self._send_due(end):
                return
            await asyncio.sleep(0)  # answers free connections for the next batch

    async def _drain(self, seconds: float) -> None:
        self._draining = True
        if self.in_flight:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._drained.wait()

    async def _sweep(self) -> None:
        assert self._pool is not None
        cpu, since = self._cpu_clock(), self._clock()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._pool.sweep()
            now = self._clock()
            if now - since >= 1.0:
                used = self._cpu_clock()
                self.cpu_share = (used - cpu) / (now - since)
                cpu, since = used, now
                self.measurement.mark_slow(now)

    def _change(self, *, rate: float | None = None, pattern: Pattern | None = None) -> None:
        now = self._clock()
        self.schedule.change(now, rate=rate, pattern=pattern)
        self.changes.append(Change(now - self.started, self.schedule.rate, str(self.schedule.pattern)))
        if self._timer is not None:
            self._timer.cancel()
            self._tick()

    def _tick(self) -> None:
        """Send what is due and come back for the next one; a mistake of ours ends the run loudly."""
        try:
            loop = asyncio.get_running_loop()
            if self._send_due(min(self._clock(), self._until)):
                self._timer = loop.call_soon(self._tick)
                return
            now = self._clock()
            next_one = self.schedule.peek(now + LOOK_AHEAD)
            wait = LOOK_AHEAD if next_one is None else next_one - now
            # rounded up to the timers' step, and never 0: between two steps there is nothing to wait on
            self._timer = loop.call_later(max(1, math.ceil(wait / TIMER_STEP)) * TIMER_STEP, self._tick)
        except Exception as error:
            self._broken = error
            self.stop()

    def _send_due(self, until: float) -> bool:
        """Send up to BATCH requests that are due; true when there may be more."""
        for _ in range(BATCH):
            if self.schedule.peek(until) is None:
                return False
            self._send(self.schedule.pop())
        return True

    def _send(self, intended: float) -> None:
        pool = self._pool
        if pool is None:
            return
        now = self._clock()
        measurement = self.measurement
        tally = measurement.tally_for(intended)
        if now - intended > self.limits.timeout:
            measurement.drop(tally, now, TOO_LATE)
            return
        if pool.in_flight >= self.limits.max_in_flight:
            measurement.drop(tally, now, IN_FLIGHT_CAP)
            return
        trace_id = f"{self._trace_rng.getrandbits(128) or 1:032x}"
        span_id = f"{self._trace_rng.getrandbits(64) or 1:016x}"
        sampled = self._trace_rng.random() < self.limits.trace_sample
        measurement.send(tally, now, intended)
        pool.request(
            Exchange(intended, now, tally, trace_id, sampled),
            self.target.request(f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"),
        )

    def _record(self, exchange: Exchange, status: int | None, error: str | None) -> None:
        if status is not None and status >= 400:
            error = f"http_{status}"
        self.measurement.complete(
            exchange.tally,
            self._clock(),
            intended=exchange.intended,
            sent=exchange.sent,
            status=status,
            error=error,
            trace_id=exchange.trace_id,
            sampled=exchange.sampled,
        )
        if self._draining and not self.in_flight:
            self._drained.set()
