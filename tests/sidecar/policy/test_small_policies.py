"""Bulkhead, admission and deadline: small enough to share a file."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.admission import Admission, AdmissionPolicy
from sidecar.policy.concurrency import ENTERED, FULL, MUST_WAIT, Bulkhead, BulkheadPolicy
from sidecar.policy.deadline import parse_remaining
from tests.fakes.clock import FakeClock


@given(st.lists(st.sampled_from(["enter", "leave", "promote", "abandon"]), max_size=200))
def test_the_bulkhead_never_holds_more_than_its_caps(moves: list[str]) -> None:
    """active <= max_active, pending <= max_pending, and neither below zero."""
    bulkhead = Bulkhead(BulkheadPolicy(max_active=3, max_pending=2))
    for move in moves:
        if move == "enter":
            assert bulkhead.enter() in (ENTERED, MUST_WAIT, FULL)
        elif move == "leave" and bulkhead.active:
            bulkhead.leave()
        elif move == "promote" and bulkhead.pending:
            bulkhead.promote()
        elif move == "abandon" and bulkhead.pending:
            bulkhead.abandon()
        assert 0 <= bulkhead.active <= 3
        assert 0 <= bulkhead.pending <= 2


def test_nobody_overtakes_the_queue() -> None:
    """A place that came free belongs to who waits, not to who comes."""
    bulkhead = Bulkhead(BulkheadPolicy(max_active=1, max_pending=2))
    assert [bulkhead.enter(), bulkhead.enter()] == [ENTERED, MUST_WAIT]
    bulkhead.leave()
    assert bulkhead.enter() == MUST_WAIT
    assert bulkhead.enter() == FULL
    assert bulkhead.promote()
    assert bulkhead.overflows == 1


@pytest.mark.parametrize(("ok", "expected"), [(100, 0.0), (50, 0.0), (25, 0.495), (0, 0.9)])
def test_admission_holds_back_what_fails_beyond_half(ok: int, expected: float) -> None:
    """(n - 2 ok) / (n + 1), capped at 0.9, of 100 attempts."""
    clock = FakeClock()
    admission = Admission(AdmissionPolicy(), clock, random.Random(1))
    for index in range(100):
        admission.window.record(clock.now, int(index >= ok), 0)
    assert admission.probability() == pytest.approx(expected, abs=0.001)


def test_admission_needs_samples_and_counts_whom_it_turns_away() -> None:
    """Four failures are an accident, five are a service that fails."""
    clock = FakeClock()
    admission = Admission(AdmissionPolicy(), clock, random.Random(1))
    for _ in range(4):
        admission.window.record(clock.now, 1, 0)
    assert admission.probability() == 0.0
    assert admission.admit()
    admission.window.record(clock.now, 1, 0)
    assert admission.probability() == pytest.approx(5 / 6)
    refused = sum(not admission.admit() for _ in range(100))
    assert 0 < refused < 100
    assert admission.turned_away == refused


def test_a_place_is_for_one() -> None:
    """Who waits enters only a free one; who gives up is an overflow; no time to wait is no queue."""
    bulkhead = Bulkhead(BulkheadPolicy(max_active=1, max_pending=2))
    assert [bulkhead.enter(), bulkhead.enter(), bulkhead.enter()] == [ENTERED, MUST_WAIT, MUST_WAIT]
    assert not bulkhead.promote()
    assert (bulkhead.active, bulkhead.pending) == (1, 2)
    bulkhead.leave()
    assert bulkhead.promote()
    assert (bulkhead.active, bulkhead.pending) == (1, 1)
    bulkhead.abandon()
    assert (bulkhead.pending, bulkhead.overflows) == (0, 1)
    no_time = Bulkhead(BulkheadPolicy(max_active=1, max_pending=2, max_wait_s=0.0))
    assert [no_time.enter(), no_time.enter()] == [ENTERED, FULL]


def test_admission_opens_by_a_slope_as_the_window_slides() -> None:
    """Five seconds after the last failure everybody gets in."""
    clock = FakeClock()
    admission = Admission(AdmissionPolicy(), clock, random.Random(1))
    for _ in range(50):
        admission.window.record(clock.now, 1, 0)
    assert not all(admission.admit() for _ in range(100))
    clock.advance(5.0)
    assert admission.probability() == 0.0


@given(st.binary(max_size=12))
def test_a_deadline_header_is_a_number_or_nothing(value: bytes) -> None:
    """Whatever a caller sends, it is a count of milliseconds up to a day, or ignored."""
    seconds = parse_remaining(value)
    assert seconds is None or 0.0 <= seconds <= 86_400.0
    assert parse_remaining(b"250") == 0.25
    assert parse_remaining(b"-1") is None
    assert parse_remaining(b"999999999") == 86_400.0
    assert parse_remaining(b"9" * 5000) is None, "Python refuses to read it, by an error"
