"""Who wakes, and who does not."""

import asyncio

from registry.store import Commit
from registry.watchers import KEY, PREFIX, Watchers


def _commit(*topics: str, keys: tuple[str, ...] = ()) -> Commit:
    return Commit(1, (), {}, frozenset(topics), frozenset(keys))


async def _let_it_run() -> None:
    """Long enough for a task that is ready to come to its next real wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _woken(topic: str, commit: Commit) -> bool:
    watchers = Watchers()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(watchers.wait((topic,), 30))
        await _let_it_run()
        watchers.committed(commit)
        await _let_it_run()
        woken = waiting.done()
        watchers.wake_all()
    assert len(watchers) == 0, "nothing is left behind"
    return woken


async def test_a_topic_wakes_its_own_waiters_only() -> None:
    assert await _woken("service/web", _commit("service/web", "services"))
    assert not await _woken("service/web", _commit("service/db", "services"))


async def test_a_key_wakes_its_watchers_and_those_of_its_prefixes() -> None:
    change = _commit("kvs", keys=("mesh/policy/x",))
    for topic in (KEY + "mesh/policy/x", PREFIX, PREFIX + "mesh/", PREFIX + "mesh/policy/x"):
        assert await _woken(topic, change), topic
    for topic in (KEY + "mesh/policy", KEY + "mesh/policy/xy", PREFIX + "mesh/policy/xy", PREFIX + "other"):
        assert not await _woken(topic, change), topic


async def test_a_wait_ends_by_itself() -> None:
    watchers = Watchers()
    assert not await watchers.wait(("a", "b"), 0.01)
    assert len(watchers) == 0


async def test_a_cancelled_wait_leaves_nothing() -> None:
    watchers = Watchers()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(watchers.wait((PREFIX + "p", "b"), 30))
        await _let_it_run()
        assert watchers._prefix_lengths == {1: 1}
        waiting.cancel()
    assert len(watchers) == 0
    assert watchers._prefix_lengths == {}, "each would be looked up for every key that changes"
    watchers.committed(_commit(keys=("p",)))
