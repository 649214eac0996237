"""Everything that can go wrong with an exchange: one table of flag -> status, source and retry rule.

The flags are Envoy's response flags, so that access logs and dashboards read as people know them.
Nothing ever decides by the text of an error; it decides by its flag.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence


class Source(enum.Enum):
    """Who is at fault."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    PROXY = "proxy"


class Retry(enum.Enum):
    """Whether the same request may be tried again, given a replayable body and an idempotent method."""

    NEVER = "never"
    IDEMPOTENT = "idempotent"
    ALWAYS = "always"  # not one byte of the request was processed: any method, any time


class Flag(enum.Enum):
    """A response flag: (status the client gets, source, retry rule, words)."""

    NR = (404, Source.PROXY, Retry.NEVER, "no route matches")
    NC = (503, Source.PROXY, Retry.NEVER, "no such service")
    UH = (503, Source.PROXY, Retry.NEVER, "no healthy endpoint")
    UO = (503, Source.PROXY, Retry.NEVER, "too many requests are under way")
    UF = (503, Source.UPSTREAM, Retry.ALWAYS, "could not connect to the endpoint")
    UC = (503, Source.UPSTREAM, Retry.IDEMPOTENT, "the endpoint closed the connection")
    UPE = (502, Source.UPSTREAM, Retry.IDEMPOTENT, "the endpoint broke the protocol")
    UT = (504, Source.UPSTREAM, Retry.IDEMPOTENT, "the endpoint did not answer in time")
    DT = (504, Source.PROXY, Retry.NEVER, "the deadline has passed")
    URX = (503, Source.UPSTREAM, Retry.NEVER, "all tries failed")
    SI = (408, Source.DOWNSTREAM, Retry.NEVER, "the client stopped in the middle")
    DC = (499, Source.DOWNSTREAM, Retry.NEVER, "the client went away")
    DPE = (400, Source.DOWNSTREAM, Retry.NEVER, "the client broke the protocol")
    RL = (429, Source.PROXY, Retry.NEVER, "rate limited")
    OM = (503, Source.PROXY, Retry.NEVER, "overloaded")
    DI = (200, Source.PROXY, Retry.NEVER, "delay injected")
    FI = (503, Source.PROXY, Retry.NEVER, "fault injected")
    LR = (503, Source.PROXY, Retry.NEVER, "this sidecar ended before the answer was complete")
    IE = (500, Source.PROXY, Retry.NEVER, "an error of the proxy's own")
    LOOP = (508, Source.PROXY, Retry.NEVER, "the request came back to where it had been")

    def __init__(self, status: int, source: Source, retry: Retry, words: str) -> None:
        self.status = status
        self.source = source
        self.retry = retry
        self.words = words


class MeshError(Exception):
    """A failure with its flag; `detail` says what this one was about.

    Args:
        status: what the client gets, where it is not the flag's. fields: of the answer, beside the reason.
    """

    def __init__(
        self, flag: Flag, detail: str = "", *, status: int = 0, fields: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(f"{flag.words}: {detail}" if detail else flag.words)
        self.flag = flag
        self.detail = detail or flag.words
        self.status = status or flag.status
        self.fields = fields


class ConfigError(Exception):
    """Wrong usage: one line that names the place and the remedy; the program ends with exit code 2."""
