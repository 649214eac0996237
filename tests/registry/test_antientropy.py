"""The catalog comes back to what the agent says; each rule was seen on a real Consul."""

from registry.agent import Agent
from registry.antientropy import BATCH, PERIOD
from registry.model import PASSING, WARNING, Check, CheckDefinition, Node, Service
from registry.store.catalog import delete_service, ensure_check, ensure_service
from tests.fakes.clock import FakeClock
from tests.registry.stores import Recorded

TTL = CheckDefinition(ttl=3600, status=PASSING)


class Bench:
    """An agent with services web-0 … web-n."""

    def __init__(self, count: int = 1, *, override: bool = False) -> None:
        self.clock, self.store = FakeClock(), Recorded()
        self.agent = Agent(self.store, Node("n1", "127.0.0.1"), self.clock)
        self.agent.start(8500)
        for number in range(count):
            service = Service("n1", f"web-{number}", "web", tags=("a",), enable_tag_override=override)
            self.agent.register_service(service, [(TTL, "")], replace_checks=False)

    def a_pass(self) -> None:
        """Long enough for one pass to begin and end."""
        self.clock.advance(PERIOD)
        for _ in range(50):
            self.agent.tick()

    def retag(self, *tags: str) -> None:
        """Somebody writes other tags straight into the catalog."""
        row = self.store.state.services["n1", "web-0"]
        changed = Service("n1", "web-0", "web", tags=tags, enable_tag_override=row.enable_tag_override)
        self.store.do(lambda write: ensure_service(write, changed))


def test_what_was_removed_from_the_catalog_comes_back() -> None:
    bench = Bench(3)
    bench.store.do(lambda write: delete_service(write, "n1", "web-1"))
    assert ("n1", "service:web-1") not in bench.store.state.checks
    bench.a_pass()
    assert ("n1", "web-1") in bench.store.state.services
    assert bench.store.state.checks["n1", "service:web-1"].status == PASSING


def test_a_report_with_news_brings_its_service_back_at_once() -> None:
    """Or the sidecar of a removed instance would be refused for a minute."""
    bench = Bench()
    bench.store.do(lambda write: delete_service(write, "n1", "web-0"))
    bench.agent.update_ttl("service:web-0", WARNING, "slow")
    assert ("n1", "web-0") in bench.store.state.services
    assert bench.store.state.checks["n1", "service:web-0"].status == WARNING


def test_foreign_tags_are_turned_back() -> None:
    bench = Bench()
    bench.retag("b")
    bench.a_pass()
    assert bench.store.state.services["n1", "web-0"].tags == ("a",)


def test_with_tag_override_foreign_tags_are_adopted() -> None:
    bench = Bench(override=True)
    bench.retag("b")
    bench.a_pass()
    assert bench.store.state.services["n1", "web-0"].tags == ("b",)
    own = bench.agent.service("web-0")
    assert own is not None
    assert own.tags == ("b",)


def test_strangers_on_the_agents_node_go_and_those_elsewhere_stay() -> None:
    bench = Bench()
    bench.store.do(
        lambda write: ensure_service(write, Service("n1", "stranger", "stranger")),
        lambda write: ensure_check(write, Check("n1", "odd", "odd", PASSING)),
    )
    bench.a_pass()
    assert set(bench.store.state.services) == {("n1", "consul"), ("n1", "web-0")}
    assert set(bench.store.state.checks) == {("n1", "serfHealth"), ("n1", "service:web-0")}


def test_a_pass_over_what_is_right_writes_nothing() -> None:
    bench = Bench(BATCH * 2 + 10)
    bench.agent.update_ttl("service:web-0", PASSING, "other words, which wait for their time")
    before = len(bench.store.commits)
    bench.a_pass()
    assert len(bench.store.commits) == before


def test_many_rows_are_spread_over_ticks() -> None:
    bench = Bench(BATCH * 3)
    for number in range(BATCH * 3):
        bench.store.do(lambda write, number=number: delete_service(write, "n1", f"web-{number}"))
    bench.clock.advance(PERIOD)
    found = []
    for _ in range(4):
        bench.agent.tick()
        found.append(len(bench.store.state.services) - 1)
    assert found == [BATCH, BATCH * 2, BATCH * 3, BATCH * 3]


def test_a_registry_under_another_name_drops_its_former_self() -> None:
    bench = Bench(2)
    bench.store.do(lambda write: ensure_service(write, Service("n1", "web-9", "web")))
    renamed = Agent(bench.store, Node("n2", "127.0.0.1"), bench.clock)
    renamed.start(8500)
    state = bench.store.state
    assert set(state.nodes) == {"n2"}
    assert set(state.services) == {("n2", "consul")}
    assert (state.local_services, state.local_checks) == ({}, {})
