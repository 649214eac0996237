"""What a change of a running mesh must not leave half done."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from mesh.changes import Changes
from mesh.draft import Draft
from mesh.errors import MeshError
from mesh.fleet import Fleet
from mesh.plan import Options, make_plan
from mesh.ports import Ports
from mesh.reshape import Reshaper
from mesh.state import StateDirectory
from mesh.tokens import Tokens
from tests.fakes.clock import FakeClock

TEXT = "services:\n- name: front\n  isEntrypoint: true\n"


class FewPorts(Ports):
    """Has no more ports than it is allowed to give from now on."""

    left = 10_000

    def free(self) -> int:
        if self.left <= 0:
            raise OSError(errno.EMFILE, "Too many open files")
        self.left -= 1
        return super().free()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Reshaper, FewPorts, StateDirectory, Fleet]]:
    """A mesh of one replica, of which nothing runs."""
    ports, state = FewPorts(), StateDirectory(tmp_path)
    state.create()
    state.write_topology(TEXT)
    draft = Draft(TEXT, "small.yaml")
    try:
        plan = make_plan(draft.topology, Options(port=0, control_port=0), ports, state, {}, Tokens.fresh())
        assert plan.replicas is not None
        fleet = Fleet(plan, FakeClock())
        nobody: Any = None
        reshaper = Reshaper(
            draft,
            fleet,
            nobody,
            nobody,
            nobody,
            Changes(),
            plan.replicas,
            state,
            plan.registry_url,
            plan.registry_token,
            lambda work, _: cast(None, work.close()),
            FakeClock(),
            [],
        )
        yield reshaper, ports, state, fleet
    finally:
        ports.close()


World = tuple[Reshaper, FewPorts, StateDirectory, Fleet]


async def test_without_ports_for_all_nothing_is_changed(world: World) -> None:
    """The ports that there were are given back; file, draft and fleet are as before."""
    reshaper, ports, state, fleet = world
    draft, held = reshaper.draft, len(ports._sockets)
    ports.left = 6  # one replica needs four
    with pytest.raises(MeshError, match="no ports for 3 more replicas: Too many open files"):
        await reshaper.reshape(lambda old: old.with_service("front", {"numReplicas": 4}))
    assert reshaper.draft is draft
    assert state.topology_path.read_text() == TEXT
    assert [each.plan.name for each in fleet.services] == ["front-1"]
    assert len(ports._sockets) == held


async def test_without_a_file_of_it_nothing_is_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: likewise, and in one line."""
    reshaper, ports, state, fleet = world
    draft, held = reshaper.draft, len(ports._sockets)

    def full(_: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state, "write_topology", full)
    with pytest.raises(MeshError, match=r"nothing was changed: cannot write .*: No space left on device"):
        await reshaper.reshape(lambda old: old.with_service("front", {"numReplicas": 4}))
    assert reshaper.draft is draft
    assert [each.plan.name for each in fleet.services] == ["front-1"]
    assert len(ports._sockets) == held
