"""Envoy's rules of outlier detection: what is counted, who is ejected, for how long."""

from __future__ import annotations

import pytest

from sidecar.policy.outcome import Outcome
from sidecar.policy.outlier_detection import OutlierDetector, OutlierPolicy

BAD, OK, NO_CONNECT, LATE = (
    (Outcome.APP_FAILURE, 500),
    (Outcome.SUCCESS, 200),
    (Outcome.CONNECT_FAILURE, 0),
    (Outcome.TIMEOUT_TRY, 0),
)
GATEWAY = (Outcome.APP_FAILURE, 503)


def detector(**policy: float) -> OutlierDetector:
    return OutlierDetector(OutlierPolicy(**policy), 0.0)  # type: ignore[arg-type]  # each has its field's type


def reasons(found: OutlierDetector, *seen: tuple[Outcome, int]) -> list[str]:
    return [found.record("a", *one) for one in seen]


@pytest.mark.parametrize(
    ("policy", "seen", "at"),
    [
        ({}, [BAD] * 5, 5),
        ({}, [BAD] * 4 + [OK] + [BAD] * 5, 10),
        ({"errors_5xx": 3}, [GATEWAY, BAD, NO_CONNECT], 3),
        ({"errors_5xx": 0}, [BAD] * 50, None),
        ({"errors_5xx": 0, "gateway_errors": 2}, [GATEWAY, BAD, GATEWAY, GATEWAY], 4),
        ({"errors_5xx": 0, "gateway_errors": 3}, [NO_CONNECT, LATE, GATEWAY], 3),
        ({"gateway_errors": 0}, [GATEWAY] * 4, None),
        ({"errors_5xx": 2, "split_local": True}, [NO_CONNECT] * 4, None),
        ({"errors_5xx": 2, "split_local": True}, [NO_CONNECT] * 5, 5),
        ({"split_local": True, "local_failures": 2}, [NO_CONNECT, BAD, NO_CONNECT, LATE], 4),
        ({"errors_5xx": 2}, [BAD, (Outcome.CANCELLED, 0), BAD], 3),
        ({"errors_5xx": 2}, [BAD, (Outcome.REUSED_RESET, 0), BAD], 3),
        ({"errors_5xx": 2}, [BAD, (Outcome.CLIENT_ERROR, 404), BAD], None),
        ({"errors_5xx": 2}, [(Outcome.CLIENT_ERROR, 501)] * 2, 2),
    ],
)
def test_what_is_counted(policy: dict[str, float], seen: list[tuple[Outcome, int]], at: int | None) -> None:
    """The number of the attempt that makes it an outlier; what the caller ended counts neither way."""
    found = reasons(detector(**policy), *seen)
    assert [number for number, reason in enumerate(found, 1) if reason][:1] == ([] if at is None else [at])


def test_the_counts_begin_anew_with_an_ejection() -> None:
    found = detector(errors_5xx=2, max_percent=100)
    assert reasons(found, BAD, BAD)[-1]
    found.eject("a", 0.0)
    assert reasons(found, BAD) == [""]


@pytest.mark.parametrize(
    ("percent", "endpoints", "ejected"),
    [(10, 9, 0), (10, 10, 1), (34, 3, 1), (50, 3, 1), (67, 3, 2), (100, 2, 2)],
)
def test_how_many_may_be_ejected(percent: int, endpoints: int, ejected: int) -> None:
    """Envoy's rounding, in which 10 % of nine is nobody; who may not be is counted."""
    found = detector(errors_5xx=1, max_percent=percent)
    done = 0
    for number in range(endpoints):
        assert found.record(f"{number}", *BAD)
        if found.admits(endpoints):
            found.eject(f"{number}", 0.0)
            done += 1
    assert (done, found.overflows) == (ejected, endpoints - ejected)


def ejection(found: OutlierDetector, now: float) -> float:
    """The length of one more ejection, which is over at its end."""
    reasons(found, *[BAD] * 5)
    until = found.eject("a", now)
    found.returned("a", until)
    return until - now


def test_each_ejection_is_longer_and_ends_at_a_sweep() -> None:
    """Base x times, rounded up to the next interval, at most five minutes (Envoy's max_ejection_time)."""
    found, now, lengths = detector(), 3.0, []
    for _ in range(12):
        length = ejection(found, now)
        lengths.append(length)
        now += length
        assert now % 10.0 == pytest.approx(0.0)
    assert lengths == [37.0, 60.0, 90.0, 120.0, 150.0, 180.0, 210.0, 240.0, 270.0, 300.0, 300.0, 300.0]


def test_each_sweep_without_an_ejection_takes_one_back() -> None:
    """Also without traffic, as in Envoy; and how late the return was noticed is no part of it."""
    found = detector()
    now = 0.0
    for _ in range(3):
        now += ejection(found, now)
    assert now == 30.0 + 60.0 + 90.0
    assert ejection(found, now + 20.0) == 60.0, "two sweeps later: 3 - 2, and one more"
    late = detector()
    reasons(late, *[BAD] * 5)
    assert late.eject("a", 0.0) == 30.0
    late.returned("a", 100.0)
    reasons(late, *[BAD] * 5)
    assert late.eject("a", 100.0) == 130.0


def test_a_base_beyond_the_maximum_is_its_own_maximum() -> None:
    found = detector(base_s=600.0, interval_s=1.0)
    assert [ejection(found, 0.0), ejection(found, 600.0)] == [600.0, 600.0]


def test_so_few_are_left_that_all_are_used() -> None:
    """Istio's minHealthPercent; 0, the default, is never."""
    found = detector(errors_5xx=1, max_percent=100, min_health_percent=50)
    for key in ("a", "b"):
        found.record(key, *BAD)
        found.eject(key, 0.0)
    assert not found.panics(4)
    assert found.panics(3)
    never = detector(errors_5xx=1, max_percent=100)
    never.record("a", *BAD)
    never.eject("a", 0.0)
    assert not never.panics(1)


def test_who_left_is_forgotten() -> None:
    found = detector(errors_5xx=1, max_percent=100)
    found.record("a", *BAD)
    found.eject("a", 0.0)
    found.forget("a")
    assert not found.ejected
    found.record("a", *BAD)
    assert found.eject("a", 0.0) == 30.0, "a host that comes back is another one"
