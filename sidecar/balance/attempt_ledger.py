"""What an attempt leaves behind at its endpoint: the pick itself, silence, latency, penalties."""

from collections.abc import Sequence
from typing import Final

from .endpoints import Endpoint
from .p2c import is_stalled
from .peak_ewma import penalised, projected, updated
from .reference import Reference

PENALTY_MAX_S: Final = 30.0  # a Retry-After beyond is somebody's mistake


class Pick:
    """One attempt at one endpoint; hand it back to `settle` exactly once."""

    __slots__ = ("endpoint", "epoch", "looked", "probe", "started")

    def __init__(self, endpoint: Endpoint, epoch: int, probe: bool, started: float) -> None:
        self.endpoint = endpoint
        self.epoch = epoch
        self.probe = probe
        self.started = started
        self.looked = False  # a first look at its silence has been taken

    def __repr__(self) -> str:
        return f"<Pick {self.endpoint.id}{' probe' if self.probe else ''} epoch={self.epoch}>"


def silence(pick: Pick, reference: Reference, now: float) -> float:
    """Seconds beyond `hedge_s` for which the endpoint has answered nobody; negative = until it would be so.

    If nothing was answered since the attempt was sent, its own age is enough: 0.
    """
    endpoint = pick.endpoint
    if endpoint.answered_at <= pick.started:
        return 0.0
    return now - endpoint.answered_at - reference.hedge_s


def another_answers(endpoint: Endpoint, ready: Sequence[Endpoint], reference: Reference, now: float) -> bool:
    """Is there a ready endpoint besides this one that is not stalled."""
    return any(other is not endpoint and not is_stalled(other, reference, now) for other in ready)


def measure(endpoint: Endpoint, elapsed_s: float, reference: Reference, now: float) -> None:
    """A sample of latency (or a lower bound of one)."""
    if endpoint.measured:
        endpoint.ewma = updated(endpoint.ewma, elapsed_s, now - endpoint.ewma_at, reference.decay_s)
    else:
        endpoint.ewma = elapsed_s
        endpoint.measured = True
    endpoint.ewma_at = now


def penalise(
    endpoint: Endpoint,
    soft: bool,
    elapsed_s: float,
    retry_after_s: float | None,
    reference: Reference,
    now: float,
) -> None:
    """A failure: worth max(5 x p95, the time it took, Retry-After) seconds of latency."""
    worth = max(reference.penalty_s, elapsed_s, min(retry_after_s or 0.0, PENALTY_MAX_S))
    decayed = projected(endpoint.ewma, now - endpoint.ewma_at, reference.decay_s)
    endpoint.ewma = penalised(decayed, worth, soft)
    endpoint.ewma_at = now
