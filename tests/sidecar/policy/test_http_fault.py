"""The dice of a fault at the caller."""

import random

import pytest

from sidecar.policy.errors import PolicyError
from sidecar.policy.http_fault import HttpFault


def test_delay_and_abort_are_drawn_apart() -> None:
    rng = random.Random(1)
    fault = HttpFault(2.0, 50.0, 418, 20.0)
    drawn = [fault.draw(rng) for _ in range(10_000)]
    delayed = sum(delay == 2.0 for delay, _ in drawn)
    aborted = sum(status == 418 for _, status in drawn)
    both = sum(delay == 2.0 and status == 418 for delay, status in drawn)
    assert delayed == pytest.approx(5000, abs=200)
    assert aborted == pytest.approx(2000, abs=160)
    assert both == pytest.approx(1000, abs=120)
    assert {delay for delay, _ in drawn} == {0.0, 2.0}


def test_without_a_percentage_nothing_happens() -> None:
    """As in Istio."""
    assert HttpFault(2.0, 0.0, 503, 0.0).draw(random.Random(1)) == (0.0, 0)


@pytest.mark.parametrize("fault", [{"delay_s": 61.0}, {"status": 99}, {"abort_percent": 101.0}])
def test_bounds(fault: dict[str, float]) -> None:
    with pytest.raises(PolicyError):
        HttpFault(**fault)  # type: ignore[arg-type]  # what is wrong is the point
