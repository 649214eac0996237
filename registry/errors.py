"""What may go wrong between a client and a registry, as types: callers test the type, never the text."""

from __future__ import annotations


class RegistryError(Exception):
    """The registry answered, and the answer is no; `status` is its HTTP status or None."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RegistryUnavailable(RegistryError):
    """Nothing usable came back: refused, cut, timed out, or a 5xx that says so. Trying again may help."""


class NotFound(RegistryError):
    """The registry does not know what was named (a check, a service, a session)."""


class PermissionDenied(RegistryError):
    """The token is missing, or has no right to this."""


class BadRequest(RegistryError):
    """The registry refuses what was sent; sending it again will not help."""
