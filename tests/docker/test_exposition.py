"""What control counts for the boards' marks; needs no engine."""

from mesh.control.journal import Journal
from mesh.docker.exposition import MAX_DEEDS, Deeds
from tests.fakes.clock import FakeClock


def test_faults_and_policies_are_counted_as_the_journal_tells_them() -> None:
    """By their target or document; what is neither is the driver's to count, or nobody's."""
    deeds, journal = Deeds(), Journal(FakeClock())
    journal.listeners.append(deeds.note)
    for action in ("began", "ended", "began"):
        journal.add("cli", "fault", {"action": action, "name": "f", "target": "orders-1"})
    journal.add("page", "policy", {"action": "configured", "document": "VirtualService/orders"})
    journal.add("page", "action", {"action": "kill", "instance": "orders-1"})
    for kind in ("fault", "policy"):
        journal.add("orders-1", kind, {"version": "0123456789ab"})
    assert deeds.counts == {
        ("fault began", "orders-1"): 2,
        ("fault ended", "orders-1"): 1,
        ("policy configured", "VirtualService/orders"): 1,
    }


def test_names_without_end_do_not_fill_the_memory() -> None:
    """The first ones go on being counted."""
    deeds, journal = Deeds(), Journal(FakeClock())
    journal.listeners.append(deeds.note)
    for number in [*range(MAX_DEEDS + 10), 0]:
        journal.add("cli", "policy", {"action": "created", "document": f"Fault/{number}"})
    assert len(deeds.counts) == MAX_DEEDS
    assert deeds.counts["policy created", "Fault/0"] == 2
