"""The flags of limits and timeouts on the data path: one table, from which help, checks and values come."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from .holding import MAX_LATE_UPLOADS
from .io.listener import MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, MIN_UPLOAD_RATE
from .io.timeouts import DEFAULT_TIMEOUTS, Timeouts
from .wire.limits import DEFAULT_LIMITS, Limits


class LimitFlag(NamedTuple):
    """A flag that takes a number from `low` to `high`; `field` is its name in `Limits`, if it is there."""

    key: str
    low: int
    high: int
    default: int | None
    help: str
    field: str = ""


_BYTES = 2**62  # what nineteen digits of a Content-Length can say

LIMIT_FLAGS: dict[str, LimitFlag] = {
    flag.key: flag
    for flag in (
        LimitFlag(
            "max_head_bytes",
            1024,
            2**20,
            DEFAULT_LIMITS.head_bytes,
            "of a request or response head",
            "head_bytes",
        ),
        LimitFlag(
            "max_target_bytes", 256, 2**20, DEFAULT_LIMITS.target_bytes, "of a request target", "target_bytes"
        ),
        LimitFlag(
            "max_header_count", 8, 10_000, DEFAULT_LIMITS.header_count, "fields of a head", "header_count"
        ),
        LimitFlag(
            "max_trailer_bytes",
            0,
            2**20,
            DEFAULT_LIMITS.trailer_bytes,
            "of the trailers of a body",
            "trailer_bytes",
        ),
        LimitFlag(
            "max_chunk_overhead_bytes",
            0,
            2**24,
            DEFAULT_LIMITS.chunk_overhead_bytes,
            "of chunk extensions of a body",
            "chunk_overhead_bytes",
        ),
        LimitFlag("max_body_bytes", 0, _BYTES, None, "of a request body, else 413", "body_bytes"),
        LimitFlag("max_connections", 1, 10**6, MAX_CONNECTIONS, "client connections of a listener"),
        LimitFlag(
            "max_connections_per_client", 1, 10**6, MAX_CONNECTIONS_PER_ADDRESS, "the same, of one address"
        ),
        LimitFlag(
            "min_upload_rate",
            0,
            2**30,
            MIN_UPLOAD_RATE,
            "bytes/s of a request body, over 10s and until its answer begins, else 408; 0 is any",
        ),
        LimitFlag(
            "max_late_uploads",
            0,
            10**6,
            MAX_LATE_UPLOADS,
            "requests at the app whose small body is not whole after 50ms; more are held until it is",
        ),
    )
}

TIMEOUT_FLAGS: dict[str, tuple[str, str]] = {
    "connect_timeout": ("connect", "for a connect to an endpoint"),
    "upload_idle_timeout": ("upload_idle", "between two pieces of a request body, else 408"),
    "stream_idle_timeout": ("stream_idle", "between two pieces of an answer"),
    "tunnel_idle_timeout": ("tunnel_idle", "of a WebSocket or TCP connection without traffic"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Make the flags known to a parser."""
    group = parser.add_argument_group("limits and timeouts")
    for flag in LIMIT_FLAGS.values():
        default = "no limit" if flag.default is None else str(flag.default)
        group.add_argument(
            "--" + flag.key.replace("_", "-"), metavar="N", help=f"{flag.help} (default: {default})"
        )
    for key, (field, words) in TIMEOUT_FLAGS.items():
        default = f"{getattr(DEFAULT_TIMEOUTS, field):g}s"
        group.add_argument("--" + key.replace("_", "-"), metavar="TIME", help=f"{words} (default: {default})")


def take_limits(values: dict[str, Any]) -> Limits:
    """The limits among converted settings, which are taken out."""
    fields = {flag.field: flag.key for flag in LIMIT_FLAGS.values() if flag.field}
    return Limits(**{field: values.pop(key) for field, key in fields.items() if key in values})


def take_timeouts(values: dict[str, Any]) -> Timeouts:
    """The timeouts among converted settings, which are taken out."""
    return Timeouts(**{field: values.pop(key) for key, (field, _) in TIMEOUT_FLAGS.items() if key in values})
