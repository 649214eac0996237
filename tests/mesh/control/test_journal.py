"""The journal: bounded by number and by bytes."""

from mesh.control.journal import KEPT, KEPT_BYTES, Journal


def test_the_last_events_are_kept() -> None:
    """With ids that go on."""
    journal = Journal(lambda: 5.0)
    for number in range(KEPT + 10):
        journal.add("a-1", "note", {"number": number})
    assert len(journal.since()) == KEPT
    assert journal.since(KEPT + 9) == [
        {"number": KEPT + 9, "id": KEPT + 10, "time": 5.0, "source": "a-1", "kind": "note"}
    ]


def test_large_events_make_room_by_their_bytes() -> None:
    """A thousand of 64 KB would be 64 MB."""
    journal = Journal(lambda: 5.0)
    for _ in range(KEPT):
        journal.add("a-1", "breaker", {"reason": "x" * 60_000})
    assert len(journal.since()) <= KEPT_BYTES // 60_000
    assert journal.since()[-1]["id"] == KEPT
