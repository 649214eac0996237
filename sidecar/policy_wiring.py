"""Where a set of policy documents goes in this sidecar: destinations, outbound routes, inbound policies."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from .config import Config
from .discovery import Destinations
from .inbound import Inbound
from .observe.events import EventLog
from .outbound import Outbound
from .policies import Policies, read_files
from .policy.settings import ConnectionPolicy, UpstreamPolicy
from .routing.compiled import Compiled, Identity, nothing

if TYPE_CHECKING:
    from .routing.documents import Document


def make_policies(
    config: Config,
    connection: ConnectionPolicy,
    destinations: Destinations,
    inbound: Inbound | None,
    outbound: Outbound | None,
    events: EventLog,
    wall_clock: Callable[[], float],
    rng: random.Random,
) -> Policies:
    """The policies of a sidecar, with those of its command line already in force.

    Raises:
        ConfigError: when a file of `--policy` cannot be used.
    """
    service = config.service if config.app is not None else ""  # without an app: the ingress
    identity = Identity(service, config.name, config.version, config.zone, dict(config.labels))
    base = UpstreamPolicy(connection=connection)

    def known(name: str) -> bool:
        # before the registry's first answer a name may be anything; but an ingress is called by any name
        return destinations.knows(name) or (destinations.names is None and config.default_service is None)

    def compile(documents: list[Document]) -> Compiled:
        if not documents:
            return nothing(base, config.default_service, known, rng)
        from .routing.compile import compile_documents  # see routing/compiled.py

        return compile_documents(documents, identity, base, config.default_service, known, rng)

    def apply(compiled: Compiled) -> None:
        destinations.apply(compiled)
        if outbound is not None:
            outbound.apply(compiled.table)
        if inbound is not None:
            inbound.apply(compiled.inbound)

    return Policies(read_files(config.policies), compile, apply, events, wall_clock)
