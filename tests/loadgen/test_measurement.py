"""Which number a request becomes part of."""

from loadgen.measurement import EXEMPLARS, Measurement
from loadgen.tally import IN_FLIGHT_CAP


def request(
    measurement: Measurement, intended: float, ends: float, error: str | None = None, trace_id: str = "t"
) -> None:
    tally = measurement.tally_for(intended)
    measurement.send(tally, intended, intended)
    measurement.complete(
        tally,
        ends,
        intended=intended,
        sent=intended,
        status=200 if error is None else None,
        error=error,
        trace_id=trace_id,
        sampled=True,
    )


def test_counts_hold_the_warm_up_and_latencies_leave_it_out() -> None:
    """A slow first connect is counted as a request and not as the system's latency."""
    measurement = Measurement(0.0, warmup=5.0)
    request(measurement, 1.0, 2.0)
    assert measurement.warming(1.0)
    assert measurement.measured().response_ok.max_us == 1_000_000  # nothing better is there yet
    request(measurement, 6.0, 6.001)
    assert not measurement.warming(6.0)
    assert measurement.counts().ok == 2
    assert measurement.measured().response_ok.count == 1
    assert measurement.measured().response_ok.max_us < 2000


def test_a_request_belongs_to_where_it_was_intended() -> None:
    """One that began in the warm-up is the warm-up's, however late it ends."""
    measurement = Measurement(0.0, warmup=5.0)
    request(measurement, 4.9, 9.0)
    request(measurement, 5.0, 5.1)
    assert measurement.measured().response_ok.count == 1, "the warm-up ends before its last moment"
    assert measurement.measured().response_ok.max_us < 200_000


def test_a_reset_starts_at_zero_and_ignores_stragglers() -> None:
    """An answer to a request from before is no part of the new window."""
    measurement = Measurement(0.0)
    tally = measurement.tally_for(1.0)
    measurement.send(tally, 1.0, 1.0)
    request(measurement, 1.5, 1.6, error="timeout")
    measurement.reset(2.0)
    assert measurement.counts().planned == 0
    assert measurement.exemplars() == []
    measurement.complete(
        tally, 3.0, intended=1.0, sent=1.0, status=200, error=None, trace_id="old", sampled=True
    )
    measurement.drop(measurement.tally_for(1.9), 2.1, IN_FLIGHT_CAP)  # due before, looked at after
    request(measurement, 2.5, 2.6)
    assert (measurement.counts().planned, measurement.counts().completed) == (1, 1)
    assert measurement.resets == 1


def test_exemplars_are_the_last_failed_and_slowest() -> None:
    """Their trace ids lead to the traces; the list has an end."""
    measurement = Measurement(0.0, wall_offset=1_000_000.0)
    for i in range(200):
        request(measurement, i / 200, i / 200 + (0.5 if i == 50 else 0.001), trace_id=f"warm{i}")
    measurement.mark_slow(2.0)
    for i in range(100):
        request(measurement, 2 + i / 200, 2 + i / 200 + 0.0005, trace_id=f"fast{i}")
    request(measurement, 3.0, 3.9, trace_id="slow")
    for i in range(30):
        request(measurement, 4.0 + i / 100, 4.5, error="refused", trace_id=f"failed{i}")
    found = measurement.exemplars()
    ids = [e.trace_id for e in found]
    assert "slow" in ids
    assert not any(i.startswith("fast") for i in ids)
    assert [i for i in ids if i.startswith("failed")] == [f"failed{i}" for i in range(10, 30)]
    assert len(found) <= 2 * EXEMPLARS
    slow = found[ids.index("slow")]
    assert (slow.intended, slow.ms, slow.status, slow.error) == (1_000_003.0, 900.0, 200, None)
