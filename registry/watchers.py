"""Blocking queries: who waits for which topic, and whom a commit wakes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from registry.store import Commit

KEY = "kv:"
PREFIX = "kv-under:"
Waiter = asyncio.Future[None]


class Watchers:
    """Waiters by topic. A wake-up says "look again", never what changed.

    Topics are the store's, plus `kv:KEY` for one key and `kv-under:PREFIX` for all below.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, set[Waiter]] = {}
        self._prefix_lengths: dict[int, int] = {}

    def __len__(self) -> int:
        return sum(len(waiters) for waiters in self._waiting.values())

    async def wait(self, topics: Iterable[str], timeout: float) -> bool:
        """Wait at most `timeout` seconds for any of these topics; whether one came."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        topics = tuple(topics)
        for topic in topics:
            self._add(topic, waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            for topic in topics:
                self._remove(topic, waiter)
        return True

    def committed(self, commit: Commit) -> None:
        """Wake everybody whom this commit may concern."""
        for topic in commit.topics:
            self.wake(topic)
        for key in commit.keys:
            self.wake(KEY + key)
            for length in self._prefix_lengths:
                if length <= len(key):
                    self.wake(PREFIX + key[:length])

    def wake(self, topic: str) -> None:
        """Wake the waiters of one topic."""
        for waiter in self._waiting.get(topic, ()):
            if not waiter.done():
                waiter.set_result(None)

    def wake_all(self) -> None:
        """Wake everybody: the server is about to stop."""
        for topic in list(self._waiting):
            self.wake(topic)

    def _add(self, topic: str, waiter: Waiter) -> None:
        self._waiting.setdefault(topic, set()).add(waiter)
        if topic.startswith(PREFIX):
            # Only lengths that somebody watches are looked up when a key changes.
            length = len(topic) - len(PREFIX)
            self._prefix_lengths[length] = self._prefix_lengths.get(length, 0) + 1

    def _remove(self, topic: str, waiter: Waiter) -> None:
        waiters = self._waiting[topic]
        waiters.discard(waiter)
        if not waiters:
            del self._waiting[topic]
        if topic.startswith(PREFIX):
            length = len(topic) - len(PREFIX)
            self._prefix_lengths[length] -= 1
            if not self._prefix_lengths[length]:
                del self._prefix_lengths[length]
