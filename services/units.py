"""Durations, sizes, shares and rates as people write them in a topology file.

Go's notation, because isotope's files use it: `1m2.5s`, `16 KB` (binary: 1 KB = 1024 bytes), `0.1%`.
Every parser takes the YAML value and returns a number, or raises FieldError with the remedy.
"""

import re

from services.errors import FieldError

# A step longer than this is a mistake in the unit, not a workload.
MAX_DURATION_S = 3600.0
# A body is built in memory, in every replica, for every request in flight.
MAX_SIZE_BYTES = 64 * 1024 * 1024
# More than any machine could send; it catches a slip of the keyboard.
MAX_RATE = 1_000_000.0

# The longest that anybody writes is like "1h2m3.456789s"; a number beyond is none that a limit here allows.
MAX_CHARACTERS = 40

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.IGNORECASE)
_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")
_RATE = re.compile(r"(\d+(?:\.\d+)?) ?/ ?s")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION_REMEDY = 'write a number with a unit, like "10ms" or "1.5s"'


def parse_duration(value: object) -> float:
    """Seconds; 0 to one hour. Only 0 may stand without a unit."""
    if _number(value) == 0 or value == "0":
        return 0.0
    if _number(value) is not None:
        raise FieldError(f"{value} has no unit of time", f'write "{value}ms" or "{value}s"')
    if not isinstance(value, str) or _match(_DURATION, value) is None:
        raise FieldError(f"{_shown(value)} is not a duration", _DURATION_REMEDY)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    if seconds > MAX_DURATION_S:
        raise FieldError(f"{value} is longer than an hour", _DURATION_REMEDY)
    return seconds


def parse_size(value: object) -> int:
    """Bytes; 0 to 64 MiB. Units are binary whatever their spelling, as in isotope."""
    remedy = 'write bytes or a unit, like 512, "16 KB" or "1MB"'
    number = _number(value)
    if number is not None:
        if number < 0 or number != int(number):
            raise FieldError(f"{value} is not a size", remedy)
        size = int(number)
    else:
        match = _match(_SIZE, value)
        if match is None:
            raise FieldError(f"{_shown(value)} is not a size", remedy)
        size = int(float(match[1]) * 1024 ** _POWERS[match[2].lower()])
    if size > MAX_SIZE_BYTES:
        raise FieldError(f"{value} is more than 64 MB", "every replica would build it for every request")
    return size


def parse_share(value: object) -> float:
    """A share of requests as 0..1, from `0.1%` or a number between 0 and 1, as isotope reads it."""
    remedy = 'write a percentage like "0.1%", or a number between 0 and 1'
    number = _number(value)
    if number is not None:
        if 0 <= number <= 1:
            return float(number)
        if 1 < number <= 100:
            raise FieldError(f"{value} is more than 1, which is all requests", f'write "{value}%"')
        raise FieldError(f"{value} is not a share of requests", remedy)
    match = _match(_PERCENT, value)
    if match is None or float(match[1]) > 100:
        raise FieldError(f"{_shown(value)} is not a share of requests", remedy)
    return float(match[1]) / 100


def parse_probability(value: object) -> float:
    """The chance of a call as 0..1, from isotope's whole number 1..100 or a text like `0.5%`.

    isotope reads 0 as "always"; a reader would read it as "never", so it is refused.
    """
    remedy = 'write a whole number from 1 to 100, or a percentage like "0.5%"'
    match = _match(_PERCENT, value)
    percent = float(match[1]) if match else _number(value)
    if percent == 0:
        raise FieldError("0 means always to isotope and never to a reader", "leave the key out, or the call")
    whole = match is not None or (percent is not None and percent == int(percent))
    if percent is None or not whole or not 0 < percent <= 100:
        raise FieldError(f"{_shown(value)} is not a probability", remedy)
    return percent / 100


def parse_rate(value: object) -> float:
    """Requests per second, from `50` or `50/s`; 0 is no traffic."""
    match = _match(_RATE, value)
    rate = float(match[1]) if match else _number(value)
    if rate is None or not 0 <= rate <= MAX_RATE:
        raise FieldError(f"{_shown(value)} is not a rate", 'write requests per second, like 50 or "50/s"')
    return float(rate)


def _match(pattern: re.Pattern[str], value: object) -> re.Match[str] | None:
    """The value as text of this form; a long one is none, before the pattern tries each of its digits."""
    return pattern.fullmatch(value) if isinstance(value, str) and len(value) <= MAX_CHARACTERS else None


def _number(value: object) -> int | float | None:
    """The value when it is a finite number; YAML's true and false are not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if abs(value) < float("inf") else None


def _shown(value: object) -> str:
    """A value as it may stand in a message: short, and told apart from the words around it."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
