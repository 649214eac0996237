"""Work beside the loop: one at a time, few waiting, and the loop goes on."""

import asyncio
import threading

import pytest

from mesh.control.off_loop import WAITING_MAX, OffLoop
from mesh.errors import ActionRefused


async def test_one_at_a_time_in_order_while_the_loop_turns() -> None:
    off, go_on, running = OffLoop(), threading.Event(), 0
    done: list[int] = []

    def work(number: int) -> int:
        nonlocal running
        running += 1
        assert running == 1
        go_on.wait(10)
        done.append(number)
        running -= 1
        return number

    first = [asyncio.ensure_future(off.run(lambda number=number: work(number))) for number in range(3)]  # noqa: TID251
    await asyncio.sleep(0)
    assert not done  # and this test goes on: the loop is free
    go_on.set()
    assert await asyncio.gather(*first) == [0, 1, 2]
    assert done == [0, 1, 2]


async def test_who_goes_away_lets_nobody_run_beside_its_work() -> None:
    off, begun, go_on = OffLoop(), threading.Event(), threading.Event()
    order: list[str] = []

    def slow() -> None:
        begun.set()
        go_on.wait(10)
        order.append("slow")

    left = asyncio.ensure_future(off.run(slow))  # noqa: TID251
    await asyncio.to_thread(begun.wait, 10)
    left.cancel()
    after = asyncio.ensure_future(off.run(lambda: order.append("after")))  # noqa: TID251
    await asyncio.sleep(0)
    go_on.set()
    await after
    assert order == ["slow", "after"]


async def test_its_queue_has_a_cap_and_its_errors_are_the_works() -> None:
    off, go_on = OffLoop(), threading.Event()

    def wrong() -> None:
        go_on.wait(10)
        raise KeyError("mine")

    waiting = [asyncio.ensure_future(off.run(wrong)) for _ in range(WAITING_MAX + 1)]  # noqa: TID251
    await asyncio.sleep(0)
    with pytest.raises(ActionRefused, match="try again in a moment"):
        await off.run(lambda: None)
    go_on.set()
    for each in waiting:
        with pytest.raises(KeyError, match="mine"):
            await each
    assert await off.run(lambda: 5) == 5
