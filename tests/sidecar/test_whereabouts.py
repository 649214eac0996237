"""Endpoints of what documents say, with a DNS that says what the test wants."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from sidecar.boundary import Boundary
from sidecar.resolver import ADDRESSES, LOOKUPS, Lookup, Resolver
from sidecar.routing.outside import Entry, Place
from sidecar.whereabouts import Whereabouts


class Names:
    """A DNS."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = {name.replace("_", "."): found for name, found in answers.items()}

    async def __call__(self, name: str) -> list[str]:
        if name not in self.answers:
            raise OSError(-2, "Name or service not known")
        return self.answers[name]


class World:
    """Owns the tasks of lookups."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group

    def resolver(self, lookup: Lookup) -> Resolver:
        def spawn(question: Coroutine[Any, Any, None], name: str) -> None:
            self._group.create_task(question, name=name)

        return Resolver(spawn, lookup)

    def whereabouts(self, lookup: Lookup) -> Whereabouts:
        return Whereabouts(self.resolver(lookup), Boundary(lambda: ["127.0.0.1:15000"]), asyncio.sleep)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with asyncio.TaskGroup() as group:
        yield World(group)


async def test_addresses_need_no_dns(world: World) -> None:
    """With weight, zone and labels; what is the mesh's own is left out, and it is said."""
    places = (
        Place("10.0.0.1", 80, 3, "north", {"version": "v2", "tier": "gold"}),
        Place("fd00::1", 81),
        Place("127.0.0.1", 15000),
    )
    found = world.whereabouts(Names()).at_once(Entry(places, "STATIC"))
    assert found is not None
    first, second = found.specs
    assert (first.id, first.weight, first.zone, first.version) == ("10.0.0.1:80", 3, "north", "v2")
    assert first.meta["tier"] == "gold"
    assert second.id == "[fd00::1]:81"
    assert found.problems == ["127.0.0.1:15000 is the mesh's own: no document leads there"]


async def test_all_addresses_of_all_names(world: World) -> None:
    """Each an endpoint; a name that is not there costs the others nothing."""
    names = Names(a_example=["10.0.0.1", "10.0.0.2", "10.0.0.1"], b_example=["10.0.0.3"])
    places = (
        Place("a.example", 80, 2),
        Place("gone.example", 80),
        Place("b.example", 81),
        Place("10.0.0.9", 1),
    )
    entry = Entry(places, "DNS")
    assert world.whereabouts(names).at_once(entry) is None
    found = await world.whereabouts(names).ask(entry)
    assert [spec.id for spec in found.specs] == ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:81", "10.0.0.9:1"]
    assert found.problems == ["gone.example: Name or service not known"]


async def test_round_robin_takes_one(world: World) -> None:
    """The first of the answer, which a DNS that balances turns around."""
    found = await world.whereabouts(Names(a_example=["10.0.0.2", "10.0.0.1"])).ask(
        Entry((Place("a.example", 80),), "DNS_ROUND_ROBIN")
    )
    assert [spec.id for spec in found.specs] == ["10.0.0.2:80"]


async def test_a_name_that_says_this_machine(world: World) -> None:
    """Is not believed; nor an address of it that a request names itself."""
    found = await world.whereabouts(Names(evil_example=["127.0.0.1"])).ask(
        Entry((Place("evil.example", 80),), "DNS")
    )
    assert found.specs == []
    assert "this machine" in found.problems[0]
    dynamic = Entry((Place("127.0.0.1", 80),), "DNS", dynamic=True)
    assert world.whereabouts(Names()).at_once(dynamic) is None
    found = await world.whereabouts(Names()).ask(dynamic)
    assert found.specs == []


async def test_answers_are_bounded(world: World) -> None:
    """In number; and so are the questions that are under way at once."""
    many = [f"10.0.{number // 256}.{number % 256}" for number in range(1000)]
    assert len(await world.resolver(Names(a_example=many)).addresses("a.example")) == ADDRESSES
    waiting = 0
    most = 0
    release = asyncio.Event()

    async def slow(name: str) -> list[str]:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await release.wait()
        waiting -= 1
        return ["10.0.0.1"]

    resolver = world.resolver(slow)
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(resolver.addresses(f"{number}.example"))
        for _ in range(10):
            await asyncio.sleep(0)
        release.set()
    assert most == LOOKUPS


async def test_no_address_is_an_error_in_words(world: World) -> None:
    """As is a name that no DNS takes."""

    async def refuses(name: str) -> list[str]:
        raise UnicodeError("label too long")

    with pytest.raises(OSError, match="has no address"):
        await world.resolver(Names(a_example=[])).addresses("a.example")
    with pytest.raises(OSError, match="is no name that DNS takes"):
        await world.resolver(refuses).addresses("x" * 300)


async def test_who_gives_up_frees_no_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent DNS server holds two lookups; the next ones end in time, and begin none."""
    monkeypatch.setattr("sidecar.resolver.LOOKUP_S", 0.01)
    release = asyncio.Event()
    begun: list[str] = []

    async def silent(name: str) -> list[str]:
        begun.append(name)
        await release.wait()
        return ["10.0.0.1"]

    resolver = world.resolver(silent)
    for number in range(5):
        with pytest.raises(OSError, match="no answer within"):
            await resolver.addresses(f"{number}.example")
    assert begun == ["0.example", "1.example"]
    release.set()
    assert await resolver.addresses("last.example") == ["10.0.0.1"]
    assert begun == ["0.example", "1.example", "last.example"]
