"""The secrets of one run of a mesh: its operators' token, and those of its parts, which are made from it.

Who knows a part's token learns nothing of the others: a program that takes the port of a part which is down
is told the token of that part at most.
"""

import hmac
import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from guard.token import TokenError, read_token
from mesh.errors import MeshError

TOKEN_BYTES = 24


class Scope(StrEnum):
    """What a token opens."""

    CONTROL = "control"  # the control API, and so all of the mesh
    REGISTRY = "registry"  # writes to the embedded registry
    ADMIN = "admin"  # changes at the sidecars' admin listeners and at the load generator
    SPANS = "spans"  # the control API as the receiver of spans, and nothing else of it


@dataclass(frozen=True, slots=True)
class Tokens:
    """All of one run; `control` is the one that the others are made from."""

    control: str = field(repr=False)

    @classmethod
    def fresh(cls) -> "Tokens":
        """Of a new run."""
        return cls(secrets.token_urlsafe(TOKEN_BYTES))

    def of(self, scope: Scope) -> str:
        """One of them."""
        if scope is Scope.CONTROL:
            return self.control
        digest = hmac.digest(self.control.encode(), scope.encode(), "sha256")
        return urlsafe_b64encode(digest[:TOKEN_BYTES]).decode()

    def sidecar_environment(self, *, own_registry: bool) -> dict[str, str]:
        """For `python -m sidecar`; somebody else's registry is not told of ours."""
        found = {"SIDECAR_ADMIN_TOKEN": self.of(Scope.ADMIN), **self.spans_environment()}
        return found | {"SIDECAR_REGISTRY_TOKEN": self.of(Scope.REGISTRY)} if own_registry else found

    def spans_environment(self) -> dict[str, str]:
        """For whoever sends spans, in OpenTelemetry's own variable."""
        return {"OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"authorization=Bearer%20{self.of(Scope.SPANS)}"}

    def link(self, control_url: str) -> str:
        """Opens the live page: what stands in the fragment is sent to nobody."""
        return f"{control_url}/#token={quote(self.control, safe='')}"


def authorization(token: str) -> Mapping[str, str]:
    """The header that a token travels in."""
    return {"Authorization": f"Bearer {token}"}


def keep_token(path: Path, token: str) -> None:
    """Write it where nobody else reads it, in the place of an earlier one; raises MeshError."""
    try:
        path.unlink(missing_ok=True)
        # a file that is there all the same is somebody else's, and so is where a link leads
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            os.fchmod(fd, 0o600)  # whatever the umask says
            file.write(token + "\n")
    except OSError as error:
        raise MeshError(f"cannot write the token to {path}: {error.strerror}") from error


def kept_token(path: Path) -> str:
    """What `keep_token` wrote; raises MeshError."""
    try:
        return read_token(path).decode("utf-8", "surrogateescape")
    except TokenError as error:
        raise MeshError(f"the token of the mesh: {error}") from error
