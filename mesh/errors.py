"""What goes wrong on the operator's side, as types that carry the exit code of the command."""


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
