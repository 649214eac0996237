"""What one worker learnt reaches the others once: two real upstreams, a ledger and no processes."""

from __future__ import annotations

import random
from typing import Any

from sidecar.balance.endpoints import EndpointSpec
from sidecar.policy.events import PolicyEvent
from sidecar.policy.machine import State
from sidecar.policy.outcome import Outcome
from sidecar.policy.settings import UpstreamPolicy
from sidecar.stack import Pick, Upstream
from sidecar.workers.breakers import Hearsay, Ledger, news_of
from tests.fakes.clock import FakeClock


class Worker:
    """An upstream that tells the ledger, which tells the other workers."""

    def __init__(self, number: int, mesh: Mesh) -> None:
        self.number = number
        self.mesh = mesh
        self.hearsay = Hearsay(lambda name: self.up if name == "web" else None)
        self.events: list[PolicyEvent] = []
        self.up = Upstream("web", UpstreamPolicy(), self._event, "ingress", mesh.clock, random.Random(number))

    def _event(self, event: PolicyEvent) -> None:
        self.mesh.queue.append((self, event))

    def fail(self, endpoint_id: str, times: int = 3) -> None:
        for _ in range(times):
            self.settle(endpoint_id, Outcome.CONNECT_FAILURE)
        self.mesh.deliver()

    def settle(self, endpoint_id: str, outcome: Outcome) -> None:
        """One attempt that goes to this endpoint."""
        others = [each for each in self.up.endpoints.all if each.id != endpoint_id]
        while True:
            pick = self.up.pick(() if self.state(endpoint_id) != "closed" else others)
            assert isinstance(pick, Pick)
            if pick.endpoint.id == endpoint_id:
                self.up.settle(pick, outcome, 0.002)
                return
            self.up.settle(pick, Outcome.CANCELLED, 0.002)

    def state(self, endpoint_id: str) -> str:
        endpoint = self.up.endpoints.get(endpoint_id)
        assert endpoint is not None
        return {State.CLOSED: "closed", State.OPEN: "open", State.HALF_OPEN: "half-open"}[
            endpoint.breaker.state
        ]


class Mesh:
    """Workers and their manager."""

    def __init__(self, workers: int, endpoints: int = 3) -> None:
        self.clock = FakeClock()
        self.ledger = Ledger()
        self.queue: list[tuple[Worker, PolicyEvent]] = []
        self.relayed = 0
        self.specs = [
            EndpointSpec(f"web-{number}", "127.0.0.1", 9000 + number) for number in range(1, endpoints + 1)
        ]
        self.workers = [Worker(number, self) for number in range(1, workers + 1)]
        for worker in self.workers:
            worker.up.update(self.specs)
        self.deliver()

    def deliver(self) -> None:
        """Everything that was said, and what is said because of it."""
        while self.queue:
            worker, event = self.queue.pop(0)
            endpoint = worker.up.endpoints.get(event.endpoint)
            if endpoint is None:
                continue
            fields: dict[str, Any] = {
                "kind": event.kind,
                "upstream": event.upstream,
                "endpoint": event.endpoint,
                "before": event.from_state,
                "after": event.to_state,
                "reason": event.reason,
            }
            news = news_of(fields, endpoint.breaker)
            if news is not None and self.ledger.note(worker.number, news):
                for other in self.workers:
                    if other is not worker:
                        self.relayed += 1
                        other.hearsay.take(news)


def states(mesh: Mesh, endpoint_id: str) -> list[str]:
    return [worker.state(endpoint_id) for worker in mesh.workers]


def test_an_opening_reaches_all_and_does_not_come_back() -> None:
    """Each of the others hears it once, opens, and says nothing of its own."""
    mesh = Mesh(3)
    mesh.workers[0].fail("web-1")
    assert states(mesh, "web-1") == ["open", "open", "open"]
    assert mesh.relayed == 2
    opens = [worker.up.snapshot()["endpoints"][0]["opens"] for worker in mesh.workers]  # type: ignore[index]
    assert opens == [1, 0, 0]


def test_the_floor_holds_for_hearsay_too() -> None:
    """Half of the endpoints stay, whoever condemned the rest."""
    mesh = Mesh(2, endpoints=2)
    mesh.workers[0].fail("web-1")
    mesh.workers[1].fail("web-2")
    assert states(mesh, "web-1") == ["open", "open"]
    assert "open" not in states(mesh, "web-2")


def test_an_endpoint_that_is_well_again_is_asked_by_all() -> None:
    """Hearing it is no proof: the others probe at once, and close by their own good answers."""
    mesh = Mesh(2)
    first, second = mesh.workers
    first.fail("web-1")
    breaker = first.up.endpoints.all[0].breaker
    second_breaker = second.up.endpoints.all[0].breaker
    second_breaker.until += 1000.0  # it would wait for long
    second_breaker.due_at = second_breaker.until
    mesh.clock.advance(breaker.until - mesh.clock() + 0.001)
    for _ in range(3):
        first.settle("web-1", Outcome.SUCCESS)
    mesh.deliver()
    assert states(mesh, "web-1") == ["closed", "open"]
    assert mesh.ledger.standing() != []
    for _ in range(3):
        second.settle("web-1", Outcome.SUCCESS)
    mesh.deliver()
    assert states(mesh, "web-1") == ["closed", "closed"]
    assert mesh.ledger.standing() == []


def test_a_probe_that_fails_again_is_no_news() -> None:
    """Or one worker's probes would reopen what another has just found well."""
    mesh = Mesh(2)
    first = mesh.workers[0]
    first.fail("web-1")
    relayed = mesh.relayed
    mesh.clock.advance(first.up.endpoints.all[0].breaker.until - mesh.clock() + 0.001)
    first.settle("web-1", Outcome.CONNECT_FAILURE)
    mesh.deliver()
    assert first.state("web-1") == "open"
    assert mesh.relayed == relayed


def test_an_operator_s_pin_is_no_evidence() -> None:
    """It is for the worker that was told."""
    mesh = Mesh(2)
    mesh.workers[0].up.force("web-1", State.OPEN, 5.0)
    mesh.deliver()
    assert states(mesh, "web-1") == ["open", "closed"]


def test_a_worker_that_comes_later_hears_what_stands() -> None:
    """Even if it has not heard of the endpoint yet, and even if who found out is gone."""
    mesh = Mesh(2)
    mesh.workers[0].fail("web-1")
    mesh.ledger.forget(1)
    late = Worker(3, mesh)
    (news,) = mesh.ledger.standing()
    late.hearsay.take(news)
    late.up.update(mesh.specs)
    assert late.state("web-1") == "closed"
    late.hearsay.joined("web", "web-1")
    assert late.state("web-1") == "open"
    mesh.ledger.gone("web", "web-1")
    assert mesh.ledger.standing() == []
