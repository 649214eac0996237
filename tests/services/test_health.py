"""The composite health is its worst check, and says each; nobody else's failure is among them."""

import asyncio
import socket

import pytest

from services.health import STATUS_CODES, Check, Health, Probe, State, connect_check, event_loop_check
from tests.fakes.clock import FakeClock


def says(state: State) -> Probe:
    async def probe() -> Check:
        return Check(state, f"is {state}")

    return probe


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        ([], "passing"),
        (["passing", "passing"], "passing"),
        (["warning", "passing"], "warning"),
        (["passing", "critical", "warning"], "critical"),
    ],
)
async def test_the_worst_check_is_the_whole(states: list[State], worst: State) -> None:
    health = Health({f"c{number}": says(state) for number, state in enumerate(states)})
    state, shown = await health.report()
    assert state == worst
    assert shown["status"] == worst
    assert shown["checks"] == {
        f"c{number}": {"ok": state == "passing", "status": state, "detail": f"is {state}"}
        for number, state in enumerate(states)
    }


def test_the_status_codes_are_consuls() -> None:
    assert dict(STATUS_CODES) == {"passing": 200, "warning": 429, "critical": 503}


@pytest.mark.parametrize(
    ("lag", "state"), [(0.001, "passing"), (0.099, "passing"), (0.1, "warning"), (1.0, "critical")]
)
async def test_a_blocked_event_loop_is_noticed(lag: float, state: str) -> None:
    """Whoever is ready runs before the probe does: what it takes is what every request waits."""
    clock = FakeClock()
    asyncio.get_running_loop().call_soon(clock.advance, lag)
    check = await event_loop_check(clock)()
    assert check == Check(state, f"one turn took {lag * 1000:.1f} ms")  # type: ignore[arg-type]


async def test_a_listener_that_accepts_and_one_that_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        check = await connect_check(address, "the sidecar")()
        assert check == Check("passing", f"the sidecar at {address} accepts connections")
    check = await connect_check(address, "the sidecar")()
    assert check.state == "critical"
    assert check.detail.startswith(f"the sidecar at {address}: ")
