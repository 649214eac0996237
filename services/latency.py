"""How long a service's own work takes: distributions that are drawn once a request.

`sample(rng)` is in seconds and never negative. Seeded by its caller, so a run can be repeated.
"""

import math
import random
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Tag, model_validator

from services.errors import FieldError, suggest
from services.fields import Duration, Part, kind_of
from services.units import MAX_DURATION_S

# The 99th percentile of the standard normal distribution, in standard deviations.
_Z99 = 2.3263478740408408
_LONGEST = math.log(MAX_DURATION_S)


class Constant(Part):
    """Always the same: `latency: 5ms`."""

    distribution: Literal["constant"] = "constant"
    value: Duration

    def sample(self, rng: random.Random) -> float:
        return self.value


class Uniform(Part):
    """Anything between min and max alike."""

    distribution: Literal["uniform"]
    min: Duration
    max: Duration

    @model_validator(mode="after")
    def _ordered(self) -> "Uniform":
        if self.min > self.max:
            raise FieldError("min is more than max", "swap them", "min")
        return self

    def sample(self, rng: random.Random) -> float:
        return rng.uniform(self.min, self.max)


class Normal(Part):
    """A bell around mean; what falls below 0 is 0, what exceeds max (if given) is max."""

    distribution: Literal["normal"]
    mean: Duration
    stddev: Duration
    max: Duration | None = None

    def sample(self, rng: random.Random) -> float:
        return _capped(max(0.0, rng.gauss(self.mean, self.stddev)), self.max)


class Lognormal(Part):
    """What services look like: half of the requests take p50 or less, one in a hundred p99 or more."""

    distribution: Literal["lognormal"]
    p50: Duration
    p99: Duration
    max: Duration | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "Lognormal":
        if self.p50 <= 0:
            raise FieldError("p50 must be more than 0", 'write a duration like "2ms"', "p50")
        if self.p50 > self.p99:
            raise FieldError("p50 is more than p99", "swap them", "p50")
        return self

    def sample(self, rng: random.Random) -> float:
        median = math.log(self.p50)
        sigma = (math.log(self.p99) - median) / _Z99
        # the tail of a wide one is beyond any float
        return _capped(math.exp(min(rng.normalvariate(median, sigma), _LONGEST)), self.max)


class Exponential(Part):
    """A queue's waiting time: mostly short, with a long tail."""

    distribution: Literal["exponential"]
    mean: Duration
    max: Duration | None = None

    @model_validator(mode="after")
    def _positive(self) -> "Exponential":
        if self.mean <= 0:
            raise FieldError("mean must be more than 0", 'write a duration like "2ms"', "mean")
        return self

    def sample(self, rng: random.Random) -> float:
        return _capped(rng.expovariate(1 / self.mean), self.max)


DISTRIBUTIONS = {
    "constant": Constant,
    "uniform": Uniform,
    "normal": Normal,
    "lognormal": Lognormal,
    "exponential": Exponential,
}


def _as_mapping(value: object) -> object:
    """A bare duration is a constant; a mapping must name its distribution."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return {"distribution": "constant", "value": value}
    if not isinstance(value, dict):
        remedy = 'write a duration like "5ms", or {distribution: lognormal, p50: 2ms, p99: 9ms}'
        raise FieldError(f"{kind_of(value)} is not a latency", remedy)
    name = value.get("distribution")
    if name is None:
        raise FieldError('"distribution" is missing', f"distributions: {', '.join(DISTRIBUTIONS)}")
    if name not in DISTRIBUTIONS:
        remedy = suggest(str(name), DISTRIBUTIONS, "distributions")
        raise FieldError(f"no distribution is named {kind_of(name)}", remedy, "distribution")
    return value


def _tag(value: dict[str, object]) -> str:
    return f"<{value['distribution']}>"


def _capped(seconds: float, limit: float | None) -> float:
    return seconds if limit is None or seconds < limit else limit


Latency = Annotated[
    Annotated[Constant, Tag("<constant>")]
    | Annotated[Uniform, Tag("<uniform>")]
    | Annotated[Normal, Tag("<normal>")]
    | Annotated[Lognormal, Tag("<lognormal>")]
    | Annotated[Exponential, Tag("<exponential>")],
    Discriminator(_tag),
    BeforeValidator(_as_mapping),
]
