"""The agent: registrations, TTLs, maintenance and aliases over a clock that the test moves."""

from dataclasses import replace

import pytest

from registry.agent import NODE_MAINTENANCE, OUTPUT_SYNC, Agent, UnknownTtl
from registry.errors import BadRequest, NotFound, RegistryError
from registry.model import CRITICAL, PASSING, WARNING, CheckDefinition, Node, Service
from tests.fakes.clock import FakeClock
from tests.registry.stores import Recorded

TTL = CheckDefinition(ttl=5, deregister_critical_after=600)


class Bench:
    """An agent with its store and clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Recorded()
        self.agent = Agent(self.store, Node("n1", "127.0.0.1"), self.clock)
        self.probes: list[str] = []
        self.agent.on_probe_change(self.probes.append)
        self.agent.start(8500)

    def register(
        self, service_id: str = "w1", *checks: CheckDefinition, replace_checks: bool = False
    ) -> None:
        given = [(check, "") for check in checks or (TTL,)]
        self.agent.register_service(Service("n1", service_id, "web"), given, replace_checks=replace_checks)

    def status(self, check_id: str) -> str:
        """The catalog's word, which must be the agent's too."""
        status = self.store.state.checks["n1", check_id].status
        assert self.store.state.local_checks[check_id].status == status
        return status


def test_a_new_ttl_check_is_critical_unless_it_says_otherwise() -> None:
    bench = Bench()
    bench.register("w1")
    bench.register("w2", replace(TTL, status=PASSING))
    assert bench.status("service:w1") == CRITICAL
    assert bench.status("service:w2") == PASSING


def test_a_ttl_check_that_falls_silent_turns_critical_and_says_what_it_said_last() -> None:
    bench = Bench()
    bench.register()
    bench.agent.update_ttl("service:w1", PASSING, "all well")
    bench.clock.advance(4.9)
    bench.agent.tick()
    assert bench.status("service:w1") == PASSING
    bench.clock.advance(0.1)
    bench.agent.tick()
    assert bench.status("service:w1") == CRITICAL
    output = bench.store.state.checks["n1", "service:w1"].output
    assert output == "TTL expired (last output before timeout follows): all well"


def test_a_heartbeat_without_news_is_no_write() -> None:
    bench = Bench()
    bench.register()
    bench.agent.update_ttl("service:w1", PASSING, "")
    before = len(bench.store.commits)
    for _ in range(100):
        bench.clock.advance(1)
        bench.agent.update_ttl("service:w1", PASSING, "")
        bench.agent.tick()
    assert len(bench.store.commits) == before


def test_an_output_alone_reaches_the_agent_at_once_and_the_catalog_later() -> None:
    bench = Bench()
    bench.register()
    bench.agent.update_ttl("service:w1", PASSING, "one")
    before = len(bench.store.commits)
    bench.agent.update_ttl("service:w1", PASSING, "two")
    assert bench.store.state.local_checks["service:w1"].output == "two"
    assert bench.store.state.checks["n1", "service:w1"].output == "one"
    assert len(bench.store.commits) == before
    while bench.clock.now < 1000 + OUTPUT_SYNC + 2:
        bench.clock.advance(2)
        bench.agent.update_ttl("service:w1", PASSING, "two")
        bench.agent.tick()
    assert bench.store.state.checks["n1", "service:w1"].output == "two"


def test_a_service_that_stays_critical_is_deregistered() -> None:
    bench = Bench()
    bench.register()
    bench.clock.advance(599)
    bench.agent.tick()
    assert bench.agent.service("w1") is not None
    bench.clock.advance(2)
    bench.agent.tick()
    assert bench.agent.service("w1") is None
    assert bench.store.state.local_checks == {}


def test_the_time_of_critical_begins_when_it_turns_critical_and_ends_when_it_is_well() -> None:
    """Not when it was registered: a service that was well for a week has its whole time."""
    bench = Bench()
    bench.register("w1", replace(TTL, ttl=5000, status=PASSING))
    bench.clock.advance(4000)
    bench.agent.update_ttl("service:w1", CRITICAL, "no database")
    bench.clock.advance(599)
    bench.agent.update_ttl("service:w1", PASSING, "")
    bench.agent.update_ttl("service:w1", CRITICAL, "no database")
    bench.clock.advance(599)
    bench.agent.tick()
    assert bench.agent.service("w1") is not None
    bench.clock.advance(1)
    bench.agent.tick()
    assert bench.agent.service("w1") is None
    assert bench.store.state.services.keys() == {("n1", "consul")}


def test_outputs_that_change_all_the_time_reach_the_catalog_all_the_same() -> None:
    """The first of them begins the time; a change of status takes the output along at once."""
    bench = Bench()
    bench.register("w1", replace(TTL, ttl=5000, status=PASSING))
    for second in range(0, int(OUTPUT_SYNC), 50):
        bench.agent.update_ttl("service:w1", PASSING, f"{second} jobs")
        bench.clock.advance(50)
    bench.agent.tick()
    assert bench.store.state.checks["n1", "service:w1"].output == "250 jobs"


def test_registering_again_keeps_status_and_starts_the_ttl_anew() -> None:
    bench = Bench()
    bench.register()
    bench.agent.update_ttl("service:w1", PASSING, "ok")
    bench.clock.advance(4)
    bench.register("w1", replace(TTL, status=CRITICAL))
    assert bench.status("service:w1") == PASSING
    bench.clock.advance(4)
    bench.agent.tick()
    assert bench.status("service:w1") == PASSING


def test_old_checks_stay_unless_they_are_replaced() -> None:
    bench = Bench()
    bench.register("w1", replace(TTL, check_id="old"))
    bench.register("w1", replace(TTL, check_id="new"))
    assert set(bench.store.state.local_checks) == {"old", "new"}
    bench.register("w1", replace(TTL, check_id="new"), replace_checks=True)
    assert set(bench.store.state.local_checks) == {"new"}
    with pytest.raises(UnknownTtl):
        bench.agent.update_ttl("old", PASSING, "")


def test_several_checks_are_numbered() -> None:
    bench = Bench()
    bench.register("w1", TTL, TTL)
    assert set(bench.store.state.local_checks) == {"service:w1:1", "service:w1:2"}


def test_only_ttl_checks_can_be_reported() -> None:
    bench = Bench()
    bench.register("w1", CheckDefinition(tcp="127.0.0.1:1", interval=1))
    for check_id in ("service:w1", "nothing"):
        with pytest.raises(UnknownTtl, match="does not have associated TTL"):
            bench.agent.update_ttl(check_id, PASSING, "")


def test_probes_hear_of_checks_that_come_and_go() -> None:
    bench = Bench()
    bench.register("w1", CheckDefinition(tcp="127.0.0.1:1", interval=1))
    bench.probes.clear()
    bench.agent.deregister_service("w1")
    assert bench.probes == ["service:w1"]


def test_maintenance_is_a_critical_check_that_can_be_taken_back() -> None:
    bench = Bench()
    bench.register("w1", replace(TTL, status=PASSING))
    bench.agent.maintenance(True, "why", "w1")
    assert bench.agent.health("w1")[0] == "maintenance"
    check = bench.store.state.checks["n1", "_service_maintenance:w1"]
    assert (check.status, check.notes) == (CRITICAL, "why")
    bench.agent.maintenance(True, "again", "w1")
    bench.agent.maintenance(False, "", "w1")
    assert bench.agent.health("w1")[0] == PASSING
    bench.agent.maintenance(True, "")
    assert bench.store.state.checks["n1", NODE_MAINTENANCE].notes.startswith("Maintenance mode is enabled")
    with pytest.raises(NotFound):
        bench.agent.maintenance(True, "", "nothing")


def test_an_alias_follows_its_target_at_once() -> None:
    bench = Bench()
    bench.register("w1", replace(TTL, status=PASSING))
    bench.register("w2", CheckDefinition(alias_service="w1"))
    assert bench.status("service:w2") == PASSING
    bench.agent.update_ttl("service:w1", WARNING, "slow")
    assert bench.status("service:w2") == WARNING
    bench.agent.update_ttl("service:w1", CRITICAL, "dead")
    assert bench.status("service:w2") == CRITICAL
    bench.agent.deregister_service("w1")
    assert bench.status("service:w2") == PASSING


def test_an_alias_of_an_alias_follows_too_and_a_ring_ends() -> None:
    bench = Bench()
    bench.register("w1", replace(TTL, status=PASSING))
    bench.register("w2", CheckDefinition(alias_service="w1"))
    bench.register("w3", CheckDefinition(alias_service="w2"))
    bench.agent.update_ttl("service:w1", CRITICAL, "dead")
    assert bench.status("service:w3") == CRITICAL
    bench.register("w1", CheckDefinition(check_id="ring", alias_service="w3"))
    bench.agent.update_ttl("service:w1", PASSING, "")
    assert bench.status("ring") == CRITICAL, "they hold one another down, as in Consul"


def test_what_only_stands_in_the_catalog_is_not_the_agents() -> None:
    bench = Bench()
    assert ("n1", "consul") in bench.store.state.services
    assert bench.agent.service("consul") is None
    assert bench.agent.services() == []


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (Service("n1", "x", ""), "Missing service name"),
        (Service("n1", "x", "x", address="0.0.0.0"), "Invalid service address"),
        (Service("n1", "x", "x", weight_passing=0), "Passing must be greater than 0"),
        (Service("n1", "x", "x", weight_warning=-1), "Warning must be"),
        (Service("n1", "x", "x", weight_passing=70000), "DNS Weight"),
        (Service("n1", "x", "x", meta={"a b": "c"}), "invalid characters"),
        (Service("n1", "x", "x", meta={"k": "v" * 513}), "Value is too long"),
        (Service("n1", "x", "x", meta={f"k{n}": "" for n in range(65)}), "more than 64"),
    ],
)
def test_a_bad_service_is_refused_before_anything_is_written(service: Service, words: str) -> None:
    bench = Bench()
    before = len(bench.store.commits)
    with pytest.raises(BadRequest, match=words):
        bench.agent.register_service(service, [], replace_checks=False)
    assert len(bench.store.commits) == before


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (CheckDefinition(name="c"), "TTL must be > 0"),
        (CheckDefinition(name="c", http="http://x"), "Interval must be > 0"),
        (CheckDefinition(name="c", ttl=5, status="fine"), "'passing', 'warning', 'critical'"),
        (CheckDefinition(name="c", ttl=5, tcp="a:1", interval=1), "cannot both"),
        (CheckDefinition(ttl=5), "Missing check name"),
    ],
)
def test_a_bad_check_is_refused(check: CheckDefinition, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        Bench().agent.register_check(check, "")


def test_a_check_of_a_service_that_is_not_there_is_refused() -> None:
    with pytest.raises(RegistryError, match="does not exist"):
        Bench().agent.register_check(CheckDefinition(name="c", ttl=5), "nothing")


def test_an_agent_that_starts_again_gives_every_check_a_whole_ttl() -> None:
    bench = Bench()
    bench.register("w1", replace(TTL, status=PASSING))
    bench.clock.advance(1000)
    again = Agent(bench.store, Node("n1", "127.0.0.1"), bench.clock)
    again.start(8500)
    again.tick()
    assert bench.status("service:w1") == PASSING
    bench.clock.advance(5)
    again.tick()
    assert bench.status("service:w1") == CRITICAL
