"""Real requests for the page's dots: an unbiased sample of traces, each as the hops that it really took.

Pure. Roots are picked as their spans arrive (those of the ingress); the other spans of a trace come up to two
seconds later, each from its own process's exporter, so a flight leaves a little after it happened.
"""

import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mesh.traces import ERROR, MAX_NAME, Arrival, StoredSpan, Trace

INGRESS = "ingress"
# More than an eye can follow; at the shop's nine hops a request this is some 200 dots a second.
FLIGHTS_PER_S = 24.0
# An exporter sends each second; after this all spans of a trace are here, or lost.
DELAY_S = 2.5
MAX_WAITING = 1000
MAX_HOPS = 64
# The rate of roots is measured over this long, so that a sample is even within it.
RATE_S = 2.0

ATTEMPT = "attempt "


class Sampler:
    """Picks traces evenly at random, about FLIGHTS_PER_S; `k` is how many each stands for."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._arrivals: deque[float] = deque(maxlen=100_000)
        self._waiting: deque[tuple[float, str]] = deque(maxlen=MAX_WAITING)

    def offer(self, now: float, trace_id: str, started: float) -> None:
        """A root began at `started` and is known `now`."""
        self._arrivals.append(now)
        if self._rng.random() * self.k(now) < 1.0:
            self._waiting.append((started + DELAY_S, trace_id))

    def k(self, now: float) -> float:
        """One in so many is shown; 1 is all."""
        while self._arrivals and self._arrivals[0] < now - RATE_S:
            self._arrivals.popleft()
        return max(1.0, len(self._arrivals) / RATE_S / FLIGHTS_PER_S)

    def due(self, now: float) -> Iterator[str]:
        """Trace ids whose spans should all be here."""
        late = deque(each for each in self._waiting if each[0] > now)
        ready = [trace_id for due, trace_id in self._waiting if due <= now]
        self._waiting = deque(late, maxlen=MAX_WAITING)
        yield from ready


def roots(came: Iterable[Arrival]) -> Iterator[tuple[str, float]]:
    """(trace id, start in seconds) of the requests that came in by the ingress."""
    for each in came:
        if each.span.service == INGRESS and not each.span.name.startswith(ATTEMPT):
            yield each.trace_id, each.span.start_ns / 1e9


def attempts_at(came: Iterable[Arrival], instances: frozenset[str]) -> Iterator[tuple[str, Arrival]]:
    """(instance, span) of the attempts at those instances."""
    for each in came:
        if each.span.name.startswith(ATTEMPT) and (name := each.span.name.rpartition(" ")[2]) in instances:
            yield name, each


def flight(trace: Trace) -> dict[str, Any] | None:
    """A trace as hops, None when the spans of its attempts are missing.

    A hop is (index of the hop before it or -1, from instance, to instance, start in ms after the first,
    duration in ms, outcome, number of the attempt, HTTP status or 0).
    """
    spans = [_Seen(stored) for stored in trace.spans]
    by_id = {seen.id: seen for seen in spans}
    hops = [seen for seen in spans if seen.is_hop]
    hops.sort(key=lambda seen: seen.start)
    hops = hops[:MAX_HOPS]
    # it may have a parent: a client that traces, as the load generator does, sends its own span's id
    root = next((seen for seen in spans if seen.service == INGRESS and not seen.attempt), None)
    if not hops or root is None:
        return None
    index = {seen.id: number for number, seen in enumerate(hops)}
    return {
        "id": trace.trace_id,
        "at": root.start / 1e9,
        "ms": round((root.end - root.start) / 1e6, 3),
        "status": root.status,
        "failed": root.failed,
        "name": root.name,
        "hops": [
            [
                _before(seen, hops, by_id, index),
                seen.instance,
                seen.target,
                round((seen.start - root.start) / 1e6, 3),
                round((seen.end - seen.start) / 1e6, 3),
                seen.outcome,
                seen.attempt,
                seen.status,
            ]
            for seen in hops
        ],
    }


def _before(
    seen: "_Seen", hops: list["_Seen"], by_id: Mapping[bytes, "_Seen"], index: Mapping[bytes, int]
) -> int:
    parent = seen.parent
    for _ in range(16):  # ids come from outside: a loop of parents must end
        if parent in index:
            return index[parent]
        above = by_id.get(parent)
        if above is None:
            break
        parent = above.parent
    # a span between them did not come: the hop that brought the request to this instance is meant
    return max(
        (n for n, hop in enumerate(hops) if hop.target == seen.instance and hop.start <= seen.start),
        default=-1,
    )


class _Seen:
    """What of a span a flight needs."""

    def __init__(self, stored: StoredSpan) -> None:
        from opentelemetry.proto.resource.v1.resource_pb2 import Resource
        from opentelemetry.proto.trace.v1.trace_pb2 import Span

        span = Span.FromString(stored.span)
        found = attributes(span)
        self.id, self.parent = span.span_id, span.parent_span_id
        self.start, self.end, self.name = stored.start_ns, stored.end_ns, stored.name
        self.service = stored.service
        self.failed = span.status.code == ERROR
        self.status = _whole(found.get("http.response.status_code"))
        self.attempt = _whole(found.get("mesh.attempt"))
        # a request that its caller's sidecar turned away itself has no attempt: it still is a dot
        refused = found.get("mesh.direction") == "outbound" and not found.get("mesh.attempts")
        self.is_hop = bool(self.attempt) or refused
        self.target = str(found.get("mesh.endpoint") or found.get("server.address", ""))[:MAX_NAME]
        self.outcome = "refused" if refused else "error" if self.failed else "ok"
        self.instance = ""
        if self.is_hop:
            owner = attributes(Resource.FromString(stored.resource))
            self.instance = str(owner.get("service.instance.id", stored.service))[:MAX_NAME]


def _whole(value: Any) -> int:
    """Anybody's spans come here: what is no whole number is none."""
    return value if isinstance(value, int) else 0


def attributes(message: Any) -> dict[str, Any]:
    """The attributes of an OTLP message, of the simple kinds."""
    return {
        each.key: getattr(each.value, kind)
        for each in message.attributes
        if (kind := each.value.WhichOneof("value"))
        in ("string_value", "int_value", "bool_value", "double_value")
    }


def summary(trace: Trace) -> dict[str, Any]:
    """One line of the list of traces."""
    first = min(trace.spans, key=lambda span: span.start_ns)
    seen = _Seen(first)
    names = [span.name for span in trace.spans if span.name.startswith(ATTEMPT)]
    return {
        "id": trace.trace_id,
        "at": trace.start_ns / 1e9,
        "ms": round((trace.end_ns - trace.start_ns) / 1e6, 3),
        "name": first.name,
        "status": seen.status,
        "failed": seen.failed,
        "whole": seen.service == INGRESS or not seen.parent,
        "spans": len(trace.spans),
        "services": sorted(trace.services()),
        "retries": sum(not name.startswith("attempt 1 ") for name in names),
    }
