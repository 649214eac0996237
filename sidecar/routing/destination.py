"""Where a rule leads, whatever kind of rule it is."""

from .fields import Base, Port
from .words import HostName, Name


class Destination(Base):
    """A service, or a subset of it that a DestinationRule defines."""

    host: HostName
    subset: Name | None = None
    port: Port | None = None
