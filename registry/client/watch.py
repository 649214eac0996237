"""The watch loops: ask, believe, yield, and ask again, for as long as somebody iterates."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, TypeVar

from registry.client.cursor import ANSWER_SLACK, WAIT, Backoff, Cursor, Pace, jittered_wait
from registry.client.last_good import LastGood
from registry.client.records import HealthView, instances_from, kv_from
from registry.client.settle import KVSettle, NamesSettle
from registry.client.transport import CALL_TIMEOUT, Line, NewConnection
from registry.durations import format_duration
from registry.errors import RegistryError
from registry.model import KVEntry

T = TypeVar("T")

MIN_WAIT = 0.1
"""Seconds; a recheck that is due needs no shorter blocking query than this."""


class Freshness:
    """How old what a watch believes may be."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_good = clock()
        self._failing = True

    def good(self) -> None:
        """An answer came."""
        self._last_good = self._clock()
        self._failing = False

    def lost(self) -> None:
        """A query failed."""
        self._failing = True

    def staleness(self) -> float:
        """Seconds since the last good answer; 0.0 while queries are answered, since no news is no change."""
        return self._clock() - self._last_good if self._failing else 0.0


class Query:
    """One blocking query, asked over and over by the index rules; knows nothing of what is asked."""

    def __init__(
        self,
        line: Line,
        path: str,
        params: dict[str, str],
        freshness: Freshness,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._line = line
        self._path = path
        self._params = params
        self._freshness = freshness
        self._rng = rng
        self._cursor = Cursor()
        self._pace = Pace(clock)
        self._backoff = Backoff(rng)

    async def next(self, *, at_most: float | None = None) -> tuple[int, bool, Any] | None:
        """(index, doubt, JSON or None on 404); None when the query failed, after its back-off.

        `doubt`: the registry may have begun anew, since its index went backwards or the
        connection is another one.
        `at_most` caps the wait in seconds, for a caller that must look again by then.
        """
        if delay := self._pace.delay():
            await asyncio.sleep(delay)
        try:
            index, value, another = await self._ask(at_most)
        except RegistryError:
            # Also an answer that refuses us: a token may come back, and the last good set is still good.
            self._cursor.lost()
            self._freshness.lost()
            await asyncio.sleep(self._backoff.failed())
            return None
        self._backoff.worked()
        self._freshness.good()
        back = self._cursor.answered(index)
        return index, back or another, value

    async def _ask(self, at_most: float | None) -> tuple[int, Any, bool]:
        another = False
        if self._cursor.index:
            wait = jittered_wait(WAIT, self._rng)
            if at_most is not None:
                wait = max(MIN_WAIT, min(wait, at_most))
            # Whole milliseconds: Consul's parser takes no exponents.
            params = {"index": str(self._cursor.index), "wait": format_duration(round(wait, 3))}
            params |= self._params
            timeout = wait * (1 + 1 / 16) + ANSWER_SLACK
            try:
                index, value = await self._line.get(self._path, params, timeout=timeout, only_reuse=True)
                return index, value, False
            except NewConnection:
                # What answers there may be a registry that began anew, whose index ours is ahead of:
                # look first. (It closed the connection between two queries, so no query failed.)
                self._cursor.lost()
                another = True
        index, value = await self._line.get(self._path, self._params, timeout=CALL_TIMEOUT, only_reuse=False)
        return index, value, another


class Belief(Protocol[T]):
    """`last_good.py` and `settle.py`: what answers add up to."""

    def lost(self) -> None:
        """A query failed."""

    def recheck_in(self, now: float) -> float | None:
        """Seconds until the same answer may mean something else."""

    def observe(self, now: float, seen: T, *, reset: bool) -> T | None:
        """Take an answer; what is believed now, if that changed."""


async def follow_health(
    query: Query, believed: LastGood, clock: Callable[[], float]
) -> AsyncIterator[HealthView]:
    """A view for every change of what is believed about one service."""
    while True:
        index, changed = await _change(query, believed, instances_from, clock)
        yield HealthView(changed, index, believed.held)


async def follow_services(
    query: Query, settle: NamesSettle, clock: Callable[[], float]
) -> AsyncIterator[frozenset[str]]:
    """The names of all services, at first and after every change of what is believed."""
    while True:
        yield (await _change(query, settle, lambda value: frozenset(value or ()), clock))[1]


async def follow_kv(
    query: Query, settle: KVSettle, clock: Callable[[], float]
) -> AsyncIterator[tuple[KVEntry, ...]]:
    """The entries under a prefix, at first and after every change."""
    while True:
        yield (await _change(query, settle, lambda value: tuple(map(kv_from, value or ())), clock))[1]


async def _change(
    query: Query, belief: Belief[T], read: Callable[[Any], T], clock: Callable[[], float]
) -> tuple[int, T]:
    """Ask until belief changes; the index of that answer, and what is believed now."""
    while True:
        answer = await query.next(at_most=belief.recheck_in(clock()))
        if answer is None:
            belief.lost()
            continue
        index, doubt, value = answer
        changed = belief.observe(clock(), read(value), reset=doubt)
        if changed is not None:
            return index, changed
