"""How long the data path waits for what, where a request does not say it."""

from __future__ import annotations

import dataclasses

from .pool import CONNECT_TIMEOUT_S
from .tunnel import TUNNEL_IDLE_S


@dataclasses.dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    connect: float = CONNECT_TIMEOUT_S
    # Between two pieces of a request body (nginx' client_body_timeout).
    upload_idle: float = 60.0
    # Between two pieces of an answer, and for a client to take one (Envoy's stream_idle_timeout).
    stream_idle: float = 300.0
    tunnel_idle: float = TUNNEL_IDLE_S


DEFAULT_TIMEOUTS = Timeouts()
