"""User events: memory, filters and the index that is no counter."""

import pytest

from registry.events import KEPT, EventError, Events, concerns, index_of
from registry.model import Service, UserEvent

EVENT = UserEvent("e", "deploy", b"x")
SERVICES = [Service("n1", "w1", "web", tags=("v1",))]


def test_only_the_last_events_are_kept_and_time_goes_on() -> None:
    events = Events()
    for number in range(KEPT + 10):
        events.keep(events.fired(UserEvent(str(number), "even" if number % 2 == 0 else "odd", None)))
    kept = events.named("")
    assert len(kept) == KEPT
    assert kept[0].id == "10"
    assert kept[0].ltime == 12
    assert all(event.name == "odd" for event in events.named("odd"))


def test_filters_are_regular_expressions_over_this_node() -> None:
    def fits(**filters: str) -> bool:
        return concerns(UserEvent("e", "n", None, **filters), "node-7", SERVICES)

    assert fits()
    assert fits(node_filter="node-.")
    assert not fits(node_filter="other")
    assert fits(service_filter="we")
    assert not fits(service_filter="db")
    assert fits(service_filter="web", tag_filter="v1")
    assert not fits(service_filter="web", tag_filter="v2")
    for kind in ("node", "service", "tag"):
        with pytest.raises(EventError, match=rf"Invalid {kind} filter: error parsing regexp: missing clos"):
            fits(**{f"{kind}_filter": "[a"})


def test_the_index_is_a_hash_of_the_id() -> None:
    """As Consul's: both halves of the id, exclusive or."""
    assert index_of("00000000-0000-0001-0000-000000000003") == 1 ^ 3
    assert index_of("706f76e3-4675-cf41-cab6-a5c8baddbf5a") == 13464024746876760091
