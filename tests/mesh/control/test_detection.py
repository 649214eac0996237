"""The stopwatches: what counts as noticing a kill and a healing, and what does not."""

from typing import Any

from mesh.control.detection import KEPT, MAX_HELD, WATCHED_S, Detection


def event(kind: str, at: float, source: str, after: str, endpoint: str = "b-1") -> dict[str, Any]:
    return {"kind": kind, "time": at, "source": source, "after": after, "endpoint": endpoint}


def rows(detection: Detection) -> dict[str, float]:
    return {row["key"]: row["ms"] for row in detection.documents()[-1]["rows"]}


def test_a_kill_is_noticed_layer_by_layer() -> None:
    """The first failed attempt, breaker, registry; the last attempt that was still routed there."""
    detection = Detection()
    detection.began(100.0, "b-1", "kill", "both")
    detection.attempt("b-1", 100.01, 100.02, True, "a-1")
    detection.attempt("b-1", 100.005, 100.006, True, "a-2")
    detection.event(event("breaker", 100.1, "a-1", "open"))
    detection.event(event("breaker", 100.2, "a-2", "open"))
    detection.event(event("membership", 104.0, "a-1", "gone"))
    detection.event(
        {"kind": "state", "time": 100.03, "source": "supervisor", "instance": "b-1", "after": "down"}
    )
    assert rows(detection) == {
        "attempt": 6.0,
        "last": 10.0,
        "process": 30.0,
        "breaker": 100.0,
        "registry": 4000.0,
    }
    counts = {row["key"]: row["count"] for row in detection.documents()[0]["rows"]}
    assert (counts["attempt"], counts["breaker"]) == (2, 2)


def test_a_healing_is_the_way_back() -> None:
    """The last breaker that closes counts, and failures no longer do."""
    detection = Detection()
    detection.began(100.0, "b-1", "heal", "both")
    assert detection.attempt("b-1", 100.1, 100.2, True, "a-1") is None
    detection.attempt("b-1", 100.3, 100.35, False, "a-1")
    detection.event(event("membership", 100.2, "a-1", "member"))
    detection.event(event("breaker", 100.25, "a-1", "half-open"))
    detection.event(event("breaker", 100.4, "a-1", "closed"))
    detection.event(event("breaker", 100.6, "a-2", "closed"))
    detection.event(event("ramp", 109.0, "a-2", "100%"))
    assert rows(detection) == {
        "registry": 200.0,
        "half-open": 250.0,
        "attempt": 350.0,
        "closed": 600.0,
        "full": 9000.0,
    }


def test_what_has_another_cause_does_not_count() -> None:
    """Other instances, earlier events, and those a minute later."""
    detection = Detection()
    detection.began(100.0, "b-1", "pause", "both")
    assert detection.event(event("breaker", 101.0, "a-1", "open", "b-2")) is None
    assert detection.event(event("breaker", 99.0, "a-1", "open")) is None
    assert detection.event(event("breaker", 100.0 + WATCHED_S + 1, "a-1", "open")) is None
    assert detection.event(event("breaker", 101.0, "a-1", "half-open")) is None
    assert detection.watched(101.0) == {"b-1"}
    assert detection.watched(100.0 + WATCHED_S + 1) == frozenset()


def test_only_the_last_ones_are_kept() -> None:
    """Bounded, oldest first."""
    detection = Detection()
    for number in range(KEPT + 5):
        detection.began(float(number), "b-1", "kill", "both")
    assert [one["at"] for one in detection.documents()] == [float(n) for n in range(5, KEPT + 5)]


def test_the_registry_may_say_ill_before_it_says_gone() -> None:
    """Either is being told."""
    detection = Detection()
    detection.began(100.0, "b-1", "kill", "both")
    assert detection.event(event("told", 102.0, "a-1", "warning")) is not None
    detection.event(event("told", 105.0, "a-1", "critical"))
    assert rows(detection) == {"registry": 2000.0}
    detection.began(110.0, "b-1", "heal", "both")
    assert detection.event(event("told", 110.5, "a-1", "critical")) is None
    detection.event(event("told", 111.0, "a-1", "passing"))
    assert rows(detection) == {"registry": 1000.0}


def fault(at: float, after: str, **numbers: float) -> dict[str, Any]:
    return event("fault", at, "b-1", after) | {"fault": "f", "reason": "fault f: slow", "numbers": numbers}


def actions(detection: Detection) -> list[str]:
    return [each["action"] for each in detection.documents()]


def test_a_delay_is_noticed_by_what_takes_as_long() -> None:
    """From the moment at which its own sidecar acts on it, to the answers that are fast again."""
    detection = Detection()
    assert detection.event(fault(100.0, "applied", delay_ms=300, ttl_s=60)) is not None
    detection.attempt("b-1", 100.1, 100.2, False, "a-1")
    detection.attempt("b-1", 100.2, 100.51, False, "a-1")
    detection.event(event("breaker", 100.7, "a-1", "open"))
    assert rows(detection) == {"attempt": 510.0, "last": 200.0, "breaker": 700.0}
    assert detection.documents()[0]["note"] == "fault f: slow"
    detection.event(fault(110.0, "expired", delay_ms=300))
    detection.attempt("b-1", 110.1, 110.45, False, "a-1")
    detection.attempt("b-1", 110.5, 110.6, False, "a-1")
    assert rows(detection) == {"attempt": 600.0}
    assert actions(detection) == ["fault", "fault-over"]


def test_a_fault_that_a_sidecar_reads_again_is_no_other_cause() -> None:
    """It was started again while the fault was in force; once its time is over, the next one is new."""
    detection = Detection()
    detection.event(fault(100.0, "applied", ttl_s=60))
    detection.began(105.0, "b-1", "kill", "both")
    detection.began(110.0, "b-1", "heal", "both")
    assert detection.event(fault(111.0, "applied", ttl_s=49)) is None
    assert detection.event(fault(120.0, "removed")) is None
    detection.event(fault(130.0, "applied", ttl_s=10))
    detection.event(fault(150.0, "applied", ttl_s=10))
    assert actions(detection) == ["fault", "kill", "heal", "fault", "fault"]


def test_what_an_open_breaker_lets_through_is_a_probe() -> None:
    """Each caller routes there until its own breaker opens; what it sends later only asks."""
    detection = Detection()
    detection.began(100.0, "b-1", "pause", "both")
    detection.event(event("breaker", 101.0, "a-1", "open"))
    detection.attempt("b-1", 101.2, 101.3, True, "a-2")
    detection.event(event("breaker", 101.5, "a-2", "open"))
    detection.event(event("breaker", 105.0, "a-1", "half-open"))
    detection.attempt("b-1", 105.1, 105.3, True, "a-1")
    assert rows(detection)["last"] == 1200.0


def test_who_comes_back_unasked_ends_the_watch() -> None:
    """What is routed there from then on is no longer late."""
    detection = Detection()
    detection.began(100.0, "b-1", "ended", "", "no answer within 1 s")
    assert detection.back(105.0, "b-1") is not None
    assert detection.back(105.5, "b-1") is None
    assert detection.back(105.5, "c-1") is None
    detection.attempt("b-1", 106.0, 106.1, False, "a-1")
    assert actions(detection) == ["ended", "back"]
    assert rows(detection) == {"attempt": 1100.0}


def test_what_fails_claims_nothing_of_what_came_meanwhile() -> None:
    """That counts for the cause before it; what is done counts from when it was begun."""
    detection = Detection()
    detection.began(100.0, "b-1", "kill", "both")
    failing = detection.trying(101.0, "b-1", "drain", "both")
    done = detection.trying(102.0, "b-1", "heal", "both")
    assert detection.watched(103.0) == {"b-1"}
    assert detection.event(event("breaker", 101.5, "a-1", "open")) is None
    assert detection.attempt("b-1", 102.1, 102.2, False, "a-1") is None
    assert detection.back(102.3, "b-1") is None
    assert detection.settled(failing, done=False) is None
    assert detection.tries("b-1")
    watch = detection.settled(done, done=True)
    assert watch is not None
    assert [one["action"] for one in detection.documents()] == ["kill", "heal"]
    assert rows(detection) == {"attempt": 200.0}
    assert not detection.tries("b-1")


def test_who_is_not_healed_after_all_came_back_by_itself() -> None:
    """It serves again, but not because of what was asked for."""
    detection = Detection()
    detection.began(100.0, "b-1", "kill", "both")
    trial = detection.trying(101.0, "b-1", "heal", "both")
    detection.event(event("breaker", 101.2, "a-1", "open"))
    detection.back(101.5, "b-1")
    detection.settled(trial, done=False)
    assert [one["action"] for one in detection.documents()] == ["kill", "back"]
    assert [row["key"] for row in detection.documents()[0]["rows"]] == ["breaker"]


def test_what_comes_while_somebody_acts_is_bounded() -> None:
    """However long that takes."""
    detection = Detection()
    trial = detection.trying(100.0, "b-1", "kill", "both")
    for number in range(MAX_HELD + 5):
        detection.attempt("b-1", 100.0 + number / 1e6, 100.5, True, "a-1")
    detection.settled(trial, done=True)
    assert detection.documents()[0]["rows"][0]["count"] == MAX_HELD
