"""Our own kind `Fault` (mesh/v1): what `mesh fault` writes, beyond what a VirtualService's fault can say."""

from typing import Literal

from pydantic import Field, model_validator

from .direct_response import Status
from .fields import HOME, Base, Duration, Metadata, Share, Whole
from .virtual_service import HTTPMatchRequest
from .words import HostName, Name


class DelaySpec(Base):
    """A delay with a distribution around its mean."""

    duration: Duration
    shape: Literal["fixed", "uniform", "exponential", "lognormal"] = "fixed"
    percentage: Share = 100.0


class FaultSpec(Base):
    """What `mesh fault` writes: everything that a VirtualService's fault cannot say."""

    host: HostName
    labels: dict[Name, Name] = Field(default_factory=dict)
    instance: Name | None = None
    match: list[HTTPMatchRequest] = Field(default_factory=list)
    delay: DelaySpec | None = None
    action: Literal["none", "abort", "reset", "hang", "truncate", "slow-body", "fail-first"] = "none"
    percentage: Share = 100.0
    status: Status = 503
    afterBytes: int = Field(default=0, ge=0, le=2**53)
    bytesPerSecond: float = Field(default=1024.0, ge=1.0, le=1e12)
    count: int = Field(default=1, ge=1, le=1000)
    ttl: Duration = 300.0
    maxActive: int = Field(default=100, ge=1, le=100_000)
    generation: int = Field(
        default=0, ge=0, le=2**53, description="counts up to begin the time of the same fault anew"
    )


class FaultDocument(Whole):
    """Our own kind."""

    apiVersion: Literal["mesh/v1"]
    kind: Literal["Fault"]
    metadata: Metadata
    spec: FaultSpec

    @model_validator(mode="after")
    def _of_this_mesh(self) -> "FaultDocument":
        if self.metadata.namespace != HOME:
            raise ValueError("a fault is at a service of this mesh; leave metadata.namespace out")
        return self

    @property
    def key(self) -> str:
        """Kind/name; Kind/namespace/name from another namespace than the mesh's."""
        return self.metadata.key(self.kind)
