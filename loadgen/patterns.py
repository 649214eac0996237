"""Patterns by name: which shape the traffic takes, and how requests are spaced within it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loadgen.duration import parse_duration
from loadgen.shapes import Constant, Ramp, Shape, Sine, Spike, Step

MAX_MULTIPLE = 1000.0
"""No pattern multiplies the rate by more; the product is capped again by the rate limit of the generator."""
MAX_LEVELS = 100
"""Levels of one step pattern: more than a person draws, few enough to check on every look-up."""
MAX_TEXT = 4096
"""Characters of a pattern as text: a hundred levels of any number of digits that means something."""
MIN_SECONDS, MAX_SECONDS = 0.1, 86_400.0
"""Durations inside a pattern: shorter is spacing, not shape; longer than a day is not a test."""


class PatternError(ValueError):
    """A pattern that makes no sense; its text is one line that names the field and the remedy."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A named shape and its spacing: `even`, or `poisson` (exponential gaps, as independent users give)."""

    name: str
    shape: Shape
    poisson: bool = False

    def __str__(self) -> str:
        """The text that `parse_pattern` reads back to an equal pattern."""
        words = [f"{key}={_word(value)}" for key, value in self.fields().items()]
        return self.name + (":" + ",".join(words) if words else "")

    def fields(self) -> dict[str, object]:
        """The settings beside the name, as `pattern_from` takes them."""
        found: dict[str, object] = {
            key: list(value) if isinstance(value, tuple) else value
            for key in _KINDS[self.name].fields
            for value in (getattr(self.shape, key),)
        }
        if self.poisson and self.name != "poisson":
            found["arrivals"] = "poisson"
        return found


@dataclass(frozen=True, slots=True)
class _Kind:
    build: Callable[..., Shape]
    fields: tuple[str, ...]
    poisson: bool = False


_KINDS: Mapping[str, _Kind] = {
    "constant": _Kind(Constant, ()),
    "poisson": _Kind(Constant, (), poisson=True),
    "ramp": _Kind(Ramp, ("start", "end", "over")),
    "step": _Kind(Step, ("levels", "every")),
    "sine": _Kind(Sine, ("amplitude", "period")),
    "spike": _Kind(Spike, ("factor", "lasting", "every")),
}
_SECONDS = frozenset({"over", "every", "period", "lasting"})

NAMES: tuple[str, ...] = tuple(_KINDS)
"""The names that a pattern may have."""

CONSTANT = Pattern("constant", Constant())
"""The pattern of a generator that nobody shaped."""


def parse_pattern(text: str) -> Pattern:
    """Read `sine`, `sine:amplitude=0.8,period=1m`, `step:levels=1/2/4,every=5s`; PatternError otherwise."""
    name, _, rest = text.strip().partition(":")
    fields: dict[str, object] = {}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise PatternError(f"pattern {name!r}: {part!r} is not KEY=VALUE")
        if key in fields:
            raise PatternError(f"pattern {name!r}: {key!r} is given twice")
        fields[key] = value.split("/") if key == "levels" else value
    return pattern_from(name, fields)


def pattern_of(body: object) -> Pattern:
    """`"sine:period=30s"`, or `{"pattern": "sine", "period": "30s"}` as the control API takes it."""
    given: dict[str, object] = dict(body) if isinstance(body, Mapping) else {"pattern": body}
    name = given.pop("pattern", None)
    if not isinstance(name, str) or len(name) > MAX_TEXT:
        raise PatternError(
            'a pattern is its name, or {"pattern": name, ...}, as in {"pattern": "sine", "period": "30s"}'
        )
    if ":" not in name:
        return pattern_from(name, given)
    if given:
        raise PatternError("settings stand either in the pattern's text or beside it, not in both")
    return parse_pattern(name)


def pattern_from(name: str, fields: Mapping[str, object]) -> Pattern:
    """Build a pattern from its name and settings (numbers, or texts with units); PatternError otherwise."""
    kind = _KINDS.get(name)
    if kind is None:
        raise PatternError(f"pattern: no such pattern {name[:40]!r}; known: {', '.join(NAMES)}")
    given = dict(fields)
    arrivals = given.pop("arrivals", "poisson" if kind.poisson else "even")
    if arrivals not in ("even", "poisson") or (kind.poisson and arrivals == "even"):
        raise PatternError(f"pattern {name!r}: arrivals is 'even' or 'poisson', not {str(arrivals)[:40]!r}")
    for key in given:
        if key not in kind.fields:
            known = ", ".join((*kind.fields, "arrivals"))
            raise PatternError(f"pattern {name!r}: no such setting {str(key)[:40]!r}; known: {known}")
    values: dict[str, Any] = {key: _setting(name, key, value) for key, value in given.items()}
    shape = kind.build(**values)
    if isinstance(shape, Spike) and shape.lasting >= shape.every:
        raise PatternError("pattern 'spike': lasting must be shorter than every")
    if isinstance(shape, Sine) and shape.amplitude > 1:
        raise PatternError("pattern 'sine': amplitude is 0 to 1, more would need a negative rate")
    return Pattern(name, shape, poisson=arrivals == "poisson")


def _setting(name: str, key: str, value: object) -> object:
    if key == "levels":
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_LEVELS:
            raise PatternError(f"pattern {name!r}: levels is a list of 1 to {MAX_LEVELS} multiples")
        return tuple(_multiple(name, key, item) for item in value)
    if key not in _SECONDS:
        return _multiple(name, key, value)
    try:
        seconds = parse_duration(value) if isinstance(value, str) else _number(value)
    except ValueError as error:
        raise PatternError(f"pattern {name!r}: {key}: {error}") from error
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise PatternError(f"pattern {name!r}: {key} must be between {MIN_SECONDS:g}s and {MAX_SECONDS:g}s")
    return seconds


def _multiple(name: str, key: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, str) else _number(value)
    except ValueError as error:
        raise PatternError(f"pattern {name!r}: {key} is not a number") from error
    if not 0 <= number <= MAX_MULTIPLE:  # also false for NaN
        raise PatternError(f"pattern {name!r}: {key} must be between 0 and {MAX_MULTIPLE:g} times the rate")
    return number


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    # a whole number may be too large for a float; far outside every limit is all that matters then
    return float(min(max(value, -1e300), 1e300)) if value == value else math.nan


def _word(value: object) -> str:
    if isinstance(value, list):
        return "/".join(map(_word, value))
    # repr keeps every digit, so that the text reads back to an equal pattern
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
