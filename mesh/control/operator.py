"""What the control API asks of whoever runs the mesh: the supervisor of processes, or the Docker driver."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mesh.actions import Action
from mesh.draft import Draft
from mesh.plan import Part


class Operator(Protocol):
    """The supervisor of local processes is one. Every method may raise MeshError with words for a person."""

    async def fresh_status(self) -> dict[str, Any]:
        """The document of `mesh status --json`, as of now."""

    async def act(self, action: Action, name: str, part: Part | None) -> dict[str, Any]:
        """Do it to a part of an instance, None for both; returns the instance as it then is."""

    async def set_load(self, rate: float | None, pattern: str | Mapping[str, Any] | None) -> dict[str, Any]:
        """Change the traffic; returns the `load` of the status document."""

    async def logs(self, name: str, part: Part | None, lines: int) -> dict[str, list[str]]:
        """Part -> the last lines that it wrote."""

    def log_paths(self, name: str) -> dict[str, str]:
        """Part -> file of an instance's logs."""

    def draft(self) -> Draft:
        """The topology as it runs now."""

    async def reshape(self, change: Callable[[Draft], Draft]) -> bool:
        """Make the mesh what the changed topology says; False when it is so already."""

    def stop(self) -> None:
        """End the mesh; said again, at once."""


class Observed(Protocol):
    """What the live page needs beside it; nothing here waits, all of it is as of the last look."""

    def status(self) -> dict[str, Any]:
        """The document of `mesh status --json`."""

    def snapshots(self) -> Mapping[str, Mapping[str, Any]]:
        """Instance -> its sidecar's `/snapshot`."""

    def admins(self) -> Mapping[str, str]:
        """Instance -> base URL of its sidecar's admin listener, of those that run."""
