"""The desks of policies and faults of one mesh, put together for both operators."""

from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from mesh.control.fault_desk import FaultDesk
from mesh.control.operator import Observed
from mesh.control.policy_desk import PolicyDesk, Told
from mesh.policies import PolicyStore


@dataclass(frozen=True, slots=True)
class Desks:
    """What the control API needs for policies, faults and explanations; the caller runs `faults.run`."""

    policies: PolicyDesk
    faults: FaultDesk
    observed: Observed
    session: aiohttp.ClientSession


def make_desks(
    store: PolicyStore,
    observed: Observed,
    session: aiohttp.ClientSession,
    wall_clock: Callable[[], float],
    tell: Told | None = None,
) -> Desks:
    """`tell(by, kind, fields)` keeps an event of what was changed."""
    policies = PolicyDesk(store, observed, session, wall_clock, tell)
    return Desks(policies, FaultDesk(policies, store, observed, wall_clock), observed, session)
