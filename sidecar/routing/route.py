"""What a matched request gets: immutable, built once per rule and backend, so that a match only looks it
up.
"""

import random
from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from ..policy.hash_key import HashKey
from ..policy.http_fault import HttpFault
from ..policy.retry import RetryPolicy
from .cors import Cors
from .headers import NONE, HeaderOps
from .ports import port_named
from .substitution import Substitution

SPLIT_BITS = 32
# A request with a larger body is not copied: Envoy's per_connection_buffer_limit_bytes.
MIRROR_MAX_BODY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rewrite:
    """`path` replaces the matched prefix (or the whole path), `substitution` works on the path without query;
    `authority` replaces Host. Any of them may be None."""

    path: bytes | None = None
    prefix: bytes | None = None  # what `path` replaces; None = the whole path
    substitution: Substitution | None = None
    authority: bytes | None = None

    def fits(self, path: bytes) -> bool:
        """Whether `target` is for this path: a substitution may have too much to do in it."""
        return self.substitution is None or self.substitution.apply(path.partition(b"?")[0]) is not None

    def target(self, path: bytes) -> bytes:
        """The new origin-form target; the query stays."""
        bare, mark, query = path.partition(b"?")
        if self.substitution is not None:
            bare = self.substitution.apply(bare) or b""
        elif self.path is not None:
            rest = b"" if self.prefix is None else bare[len(self.prefix) :]
            bare = self.path + rest
        if not bare.startswith(b"/"):
            bare = b"/" + bare
        return bare + mark + query


_DEFAULT_PORT: Final = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Redirect:
    """A 3xx with a Location built from the request and what is given here."""

    code: int = 301
    uri: str | None = None
    authority: str | None = None
    port: int | None = None
    scheme: str | None = None

    def location(self, scheme: str, authority: str, path: bytes) -> bytes:
        """`scheme`, `authority` and `path` of the request as it came."""
        host = self.authority or authority
        if self.port is None and self.authority is None and self.scheme not in (None, scheme):
            host = host.removesuffix(_DEFAULT_PORT.get(scheme, "!"))  # as Envoy: it is not the new scheme's
        if self.port is not None:
            bare, _, number = host.rpartition(":")
            bare = bare if bare and number.isdecimal() else host
            host = f"{bare}:{self.port}"
        target, mark, query = path.partition(b"?")
        if self.uri is not None:
            target = self.uri.encode()
            if b"?" in target:
                mark = query = b""
        return f"{self.scheme or scheme}://{host}".encode() + target + mark + query


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """An answer without any service."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of `percent` of the requests, whose answers nobody reads."""

    upstream: str
    percent: float


@dataclass(frozen=True, slots=True)
class Route:
    """`upstream` is the key of a destination (`orders`, `orders|v2`), '' with `redirect` or `direct`.

    `timeout_s` None = the program's default; `retry` None = the upstream's. `split` has the routes of all
    backends of the same rule, this one among them; None if there is one backend. `other_arm`: a retry may
    draw it anew; else who drew a broken backend sees that, as in Istio. `by_port`: the route of requests that
    name such a port, or none.
    """

    name: str
    upstream: str
    timeout_s: float | None = None
    retry: RetryPolicy | None = None
    rewrite: Rewrite | None = None
    redirect: Redirect | None = None
    direct: DirectResponse | None = None
    request_headers: HeaderOps = NONE
    response_headers: HeaderOps = NONE
    cors: Cors | None = None
    mirrors: tuple[Mirror, ...] = ()
    mirror_max_body: int = MIRROR_MAX_BODY
    hash_key: HashKey | None = None
    fault: HttpFault | None = None
    other_arm: bool = False
    split: "Split | None" = None
    by_port: "Mapping[int | None, Route]" = field(default_factory=dict, compare=False)
    plain: bool = field(init=False, default=True, compare=False)
    """Nothing but an upstream: the request goes there as it came."""

    def __post_init__(self) -> None:
        extras = (
            self.retry, self.rewrite, self.redirect, self.direct, self.cors, self.hash_key, self.fault,
            self.split,
        )  # fmt: skip
        plain = self.timeout_s is None and all(extra is None for extra in extras) and not self.mirrors
        plain = plain and not (self.request_headers or self.response_headers)
        object.__setattr__(self, "plain", plain)

    def at(self, authority: str) -> "Route":
        """The route of requests to this `host[:port]`."""
        return self.by_port.get(port_named(authority), self) if self.by_port else self

    def again(self, failed: Collection[str], rng: random.Random) -> "Route":
        """The route of a retry: drawn anew, without the arms that failed this request if there are others."""
        return self if self.split is None else self.split.draw(rng, failed)

    def mirrored(self, rng: random.Random) -> list[str]:
        """Upstreams that get a copy of this request; one draw each."""
        return [mirror.upstream for mirror in self.mirrors if rng.random() * 100.0 < mirror.percent]


class Split:
    """The arms of one rule with their weights; a draw per request."""

    __slots__ = ("_edges", "arms", "weights")

    def __init__(self, arms: tuple[Route, ...], weights: tuple[int, ...]) -> None:
        self.arms = arms
        self.weights = weights
        self._edges = tuple(accumulate(weights))  # an arm of weight 0 has no room between its edges

    def draw(self, rng: random.Random, failed: Collection[str] = (), key: int | None = None) -> Route:
        """One arm by weight, none of `failed` if there are others; the same one for the same `key`."""
        edges = self._edges
        if failed:
            weights = [
                0 if arm.upstream in failed else weight
                for arm, weight in zip(self.arms, self.weights, strict=True)
            ]
            if any(weights):
                edges = tuple(accumulate(weights))
        dice = rng.random() if key is None else (key & (2**SPLIT_BITS - 1)) / 2**SPLIT_BITS
        return self.arms[bisect_right(edges, dice * edges[-1])]
