"""What goes wrong on the operator's side, as types that carry the exit code of the command."""

from collections.abc import Sequence


class MeshError(Exception):
    """The command could not be carried out (exit code 1); `str()` is one line for the person who typed it."""

    exit_code = 1


class UsageError(MeshError):
    """What was asked for is wrong in itself (exit code 2): a bad name, file, field or port."""

    exit_code = 2


class AlreadyRunning(MeshError):
    """A mesh already runs from this directory."""


class NotRunning(MeshError):
    """No mesh runs from this directory."""


class SpawnFailed(MeshError):
    """The fork server could not start a process."""


class ForkServerLost(MeshError):
    """The fork server is gone, and with it the parent of every process of the mesh."""


class DocumentsRefused(UsageError):
    """Policy documents that are wrong; `problems` are one line each: document, field, what and what to do."""

    def __init__(self, problems: Sequence[str]) -> None:
        lines = [" ".join(problem.split()) for problem in problems]
        more = len(lines) - 1
        super().__init__(lines[0] + (f" (and {more} more problem{'s' * (more > 1)})" if more else ""))
        self.problems = tuple(lines)


class ActionRefused(MeshError):
    """The mesh, or the instance, is not in a state in which this can be done."""


class StateRefused(MeshError):
    """The state directory, or a file in it, is not as we make it, so nothing in it is believed."""
