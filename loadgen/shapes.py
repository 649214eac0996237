"""What traffic looks like over time: the rate as a multiple of the set rate, with its area in closed form."""

import math
from dataclasses import dataclass
from typing import Protocol


class Shape(Protocol):
    """A rate over time as a multiple of the set rate; `t` is seconds since the pattern began, >= 0."""

    def value(self, t: float) -> float:
        """The multiple at `t`, never negative."""

    def integral(self, t: float) -> float:
        """The area under `value` from 0 to `t`; never falls."""

    def peak(self) -> float:
        """The largest multiple that ever occurs."""


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the set rate."""

    def value(self, t: float) -> float:
        return 1.0

    def integral(self, t: float) -> float:
        return t

    def peak(self) -> float:
        return 1.0


@dataclass(frozen=True, slots=True)
class Ramp:
    """A straight line from `start` to `end` times the rate during `over` seconds, then `end` for good."""

    start: float = 0.0
    end: float = 1.0
    over: float = 30.0

    def value(self, t: float) -> float:
        return self.end if t >= self.over else self.start + (self.end - self.start) * t / self.over

    def integral(self, t: float) -> float:
        climb = min(t, self.over)
        area = climb * (self.start + (self.end - self.start) * climb / self.over / 2)
        return area + max(0.0, t - self.over) * self.end

    def peak(self) -> float:
        return max(self.start, self.end)


@dataclass(frozen=True, slots=True)
class Step:
    """Each of `levels` times the rate for `every` seconds, then the last one for good."""

    levels: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    every: float = 10.0

    def value(self, t: float) -> float:
        return self.levels[min(int(t / self.every), len(self.levels) - 1)]

    def integral(self, t: float) -> float:
        index = min(int(t / self.every), len(self.levels) - 1)
        return sum(self.levels[:index]) * self.every + self.levels[index] * (t - index * self.every)

    def peak(self) -> float:
        return max(self.levels)


@dataclass(frozen=True, slots=True)
class Sine:
    """A wave of `period` seconds around the rate: 1 + amplitude * sin, amplitude 0..1."""

    amplitude: float = 0.5
    period: float = 30.0

    def value(self, t: float) -> float:
        return 1.0 + self.amplitude * math.sin(2 * math.pi * t / self.period)

    def integral(self, t: float) -> float:
        turn = 2 * math.pi / self.period
        # the whole turns add nothing; taking them off first keeps the cosine exact after a day
        return t + self.amplitude / turn * (1 - math.cos(turn * math.fmod(t, self.period)))

    def peak(self) -> float:
        return 1.0 + self.amplitude


@dataclass(frozen=True, slots=True)
class Spike:
    """The rate, but `factor` times it during the last `lasting` of every `every` seconds."""

    factor: float = 5.0
    lasting: float = 2.0
    every: float = 20.0

    def value(self, t: float) -> float:
        return self.factor if math.fmod(t, self.every) >= self.every - self.lasting else 1.0

    def integral(self, t: float) -> float:
        rest = math.fmod(t, self.every)
        rounds = round((t - rest) / self.every)
        in_spike = rounds * self.lasting + max(0.0, rest - (self.every - self.lasting))
        return t + (self.factor - 1.0) * in_spike

    def peak(self) -> float:
        return max(1.0, self.factor)
