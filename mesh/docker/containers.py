"""What one look at the engine says of a project's containers. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.plan import Kind, Part

# What `mesh export compose` writes on each container of ours.
INSTANCE, PART, KIND = "mesh.instance", "mesh.part", "mesh.kind"
PROJECT = "com.docker.compose.project"

ALIVE = frozenset({"running", "paused"})


@dataclass(frozen=True, slots=True)
class Container:
    """One container: `state` in Docker's word, `started` as Docker writes it ("" = never), `pid` 0 = none."""

    id: str
    name: str
    instance: str
    part: Part
    kind: Kind
    state: str
    exit_code: int
    pid: int
    started: str
    networks: tuple[str, ...]
    joins: str  # id of the container whose network it joins, or ""

    @property
    def alive(self) -> bool:
        """Whether it has a process."""
        return self.state in ALIVE


def listed(document: Mapping[str, Any]) -> Container | None:
    """From an entry of `GET /containers/json` and its inspection; None for one that is no part of ours."""
    labels = document["Config"].get("Labels") or {}
    if INSTANCE not in labels:
        return None
    state = document["State"]
    mode = str(document["HostConfig"].get("NetworkMode", ""))
    started = str(state.get("StartedAt", ""))
    return Container(
        id=document["Id"],
        name=document["Name"].removeprefix("/"),
        instance=labels[INSTANCE],
        part=Part(labels[PART]),
        kind=Kind(labels[KIND]),
        state=state["Status"],
        exit_code=int(state.get("ExitCode") or 0),
        pid=int(state.get("Pid") or 0),
        started="" if started.startswith("0001") else started,
        networks=tuple(sorted(document["NetworkSettings"].get("Networks") or ())),
        joins=mode.removeprefix("container:") if mode.startswith("container:") else "",
    )


def by_part(containers: Iterable[Container]) -> dict[tuple[str, Part], Container]:
    """(instance, part) -> container."""
    return {(one.instance, one.part): one for one in containers}


def orphans(containers: Iterable[Container]) -> list[Container]:
    """Apps in the network of a sidecar that has ended: their sidecar was started again after them.

    A network namespace lives as long as its owner; who had joined it is alone in it from then on.
    """
    known = list(containers)
    by_id = {one.id: one for one in known}
    found = []
    for app in known:
        owner = by_id.get(app.joins)
        if owner is not None and app.state == owner.state == "running" and app.started < owner.started:
            found.append(app)
    return found
