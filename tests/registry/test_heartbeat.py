"""The heartbeat, beat by beat, against a registrar that the test breaks."""

import asyncio
import random

import pytest

from registry.client import CheckDefinition, Heartbeat, NotFound, RegistryUnavailable, ServiceRegistration
from registry.errors import BadRequest, RegistryError

REGISTRATION = ServiceRegistration("w1", "web", "127.0.0.1", 80, checks=(CheckDefinition(ttl=5),))


class Registrar:
    """Remembers calls; knows what was registered; `broken` is raised by every call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.known: dict[str, str] = {}
        self.broken: RegistryError | None = None
        self.called = asyncio.Event()

    async def _call(self, what: str) -> None:
        self.calls.append(what)
        self.called.set()
        if self.broken:
            raise self.broken

    async def register(self, service: ServiceRegistration) -> None:
        await self._call(f"register {service.id} {service.checks[0].status}")
        for check in service.check_ids():
            self.known[check] = service.checks[0].status

    async def deregister(self, service_id: str) -> None:
        await self._call(f"deregister {service_id}")

    async def update_check(self, check_id: str, status: str, output: str = "") -> None:
        await self._call(f"update {check_id} {status} {output}".rstrip())
        if check_id not in self.known:
            raise NotFound("unknown check")
        self.known[check_id] = status


class Bench:
    """A heartbeat on a registrar; `says` is what the probe says."""

    def __init__(self, *, interval: float = 1.0) -> None:
        self.registrar = Registrar()
        self.says = ("passing", "")
        self.heartbeat = Heartbeat(
            self.registrar, REGISTRATION, lambda: self.says, interval, rng=random.Random(3)
        )


async def test_it_registers_with_the_status_of_now_and_then_reports() -> None:
    bench = Bench()
    delay = await bench.heartbeat.beat()
    assert bench.registrar.calls == ["register w1 passing", "update service:w1 passing"]
    assert 0.9 <= delay <= 1.1
    bench.says = ("warning", "slow")
    await bench.heartbeat.beat()
    assert bench.registrar.calls[2:] == ["update service:w1 warning slow"]


async def test_a_registry_that_forgot_is_told_again_at_once() -> None:
    bench = Bench()
    await bench.heartbeat.beat()
    bench.registrar.known.clear()
    bench.registrar.calls.clear()
    assert await bench.heartbeat.beat() == 0.0
    await bench.heartbeat.beat()
    assert bench.registrar.calls == [
        "update service:w1 passing",
        "register w1 passing",
        "update service:w1 passing",
    ]
    assert bench.heartbeat.registrations == 2
    assert bench.heartbeat.last_error is None


async def test_a_registry_that_forgets_at_once_is_not_hammered() -> None:
    class Forgetful(Registrar):
        async def register(self, service: ServiceRegistration) -> None:
            await self._call("register")

    heartbeat = Heartbeat(Forgetful(), REGISTRATION, lambda: ("passing", ""), rng=random.Random(3))
    delays = [await heartbeat.beat() for _ in range(10)]
    assert all(delay > 0 for delay in delays)
    assert delays[-1] >= 0.75


async def test_while_the_registry_is_away_tries_are_spread_and_bounded() -> None:
    bench = Bench()
    await bench.heartbeat.beat()
    bench.registrar.broken = RegistryUnavailable("refused")
    delays = [await bench.heartbeat.beat() for _ in range(200)]
    assert max(delays) <= 1.5, "it must be back within two seconds of the registry"
    assert delays[0] <= 0.1
    bench.registrar.broken = None
    assert await bench.heartbeat.beat() >= 0.9
    assert bench.registrar.calls[-1] == "update service:w1 passing"


async def test_a_refused_registration_is_kept_as_the_last_error_and_tried_again() -> None:
    bench = Bench()
    bench.registrar.broken = BadRequest("no such thing")
    await bench.heartbeat.beat()
    assert isinstance(bench.heartbeat.last_error, BadRequest)
    assert not bench.heartbeat.registered
    bench.registrar.broken = None
    await bench.heartbeat.beat()
    assert bench.heartbeat.registered


async def test_a_nudge_does_not_wait_for_the_interval() -> None:
    bench = Bench(interval=4.9)
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.heartbeat.run())
        while not bench.heartbeat.registered or len(bench.registrar.calls) < 2:
            bench.registrar.called.clear()
            await bench.registrar.called.wait()
        bench.says = ("critical", "dead")
        bench.registrar.called.clear()
        bench.heartbeat.nudge()
        async with asyncio.timeout(1):
            await bench.registrar.called.wait()
        assert bench.registrar.calls[-1] == "update service:w1 critical dead"
        await bench.heartbeat.stop()
    assert bench.registrar.calls[-1] == "deregister w1"


async def test_stop_does_not_hang_on_a_registry_that_is_gone() -> None:
    bench = Bench()
    bench.registrar.broken = RegistryUnavailable("refused")
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.heartbeat.run())
        await bench.registrar.called.wait()
        async with asyncio.timeout(1):
            await bench.heartbeat.stop()


async def test_stop_without_run_deregisters_too() -> None:
    bench = Bench()
    await bench.heartbeat.stop()
    assert bench.registrar.calls == ["deregister w1"]


async def test_cancelling_run_ends_it() -> None:
    bench = Bench(interval=4.9)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(bench.heartbeat.run())
        await bench.registrar.called.wait()
        running.cancel()
    assert running.cancelled()
    await bench.heartbeat.stop()


@pytest.mark.parametrize(
    ("registration", "interval"),
    [
        (ServiceRegistration("w1", "web"), 1.0),
        (ServiceRegistration("w1", "web", checks=(CheckDefinition(http="http://x", interval=1),)), 1.0),
        (REGISTRATION, 5.0),
    ],
)
def test_a_heartbeat_that_cannot_work_is_refused(registration: ServiceRegistration, interval: float) -> None:
    with pytest.raises(ValueError, match="w1"):
        Heartbeat(Registrar(), registration, lambda: ("passing", ""), interval)
