"""Keeping the catalog true to the agent: what somebody else changed or removed there comes back.

The agent's own rows are the truth about its services and checks. A pass over all of them begins each
`PERIOD`, some at each tick, so that 5,000 instances never hold up a request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from registry.model import Check, LocalCheck, Service
from registry.store import Store, Write
from registry.store.catalog import delete_check, delete_node, delete_service, ensure_check, ensure_service

PERIOD: Final = 60.0
"""Seconds between passes: Consul's interval for small clusters."""

SERF_HEALTH: Final = "serfHealth"
OWN_SERVICE: Final = "consul"
"""What a Consul server has on its own node without an agent's registration."""

BATCH: Final = 100
"""Rows per tick: half a millisecond of comparing."""


class AntiEntropy:
    """Passes over the agent's rows, batch by batch."""

    def __init__(self, store: Store, node: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._node = node
        self._clock = clock
        self._next_pass = clock() + PERIOD
        self._services: list[str] = []
        self._checks: list[str] = []

    def tick(self) -> None:
        """Go on with the pass, or begin the next one when it is due."""
        state = self._store.state
        if not self._services and not self._checks:
            if self._clock() < self._next_pass:
                return
            self._next_pass = self._clock() + PERIOD
            self._services, self._checks = list(state.local_services), list(state.local_checks)
            with self._store.write() as write:
                drop_strangers(write, self._node)
        with self._store.write() as write:
            # All services before any check: a check needs the row of its service.
            for _ in range(min(BATCH, len(self._services))):
                service = state.local_services.get(self._services.pop())
                if service is not None:
                    put_service(write, self._node, service)
            if not self._services:
                for _ in range(min(BATCH, len(self._checks))):
                    check = state.local_checks.get(self._checks.pop())
                    if check is not None:
                        put_check(write, self._node, check)


def drop_strangers(write: Write, node: str) -> None:
    """Remove what stands on this node in the catalog without the agent, as Consul's agent does."""
    state = write.state
    for _, service_id in list(state.services_on.get(node, ())):
        if service_id not in state.local_services and service_id != OWN_SERVICE:
            delete_service(write, node, service_id)
    for _, check_id in list(state.checks_on.get(node, ())):
        if check_id not in state.local_checks and check_id != SERF_HEALTH:
            delete_check(write, node, check_id)


def put_service(write: Write, node: str, service: Service) -> None:
    """The catalog's row as the agent has it; with EnableTagOverride the catalog's tags win, on both sides."""
    row = write.state.services.get((node, service.id))
    if row is not None and service.enable_tag_override and row.tags != service.tags:
        service = replace(service, tags=row.tags)
        write.put("local_services", service.id, service)
    ensure_service(write, service)


def put_check(write: Write, node: str, check: LocalCheck) -> None:
    """The catalog's row as the agent has it; an output that changed alone waits for its own time."""
    owner = write.state.local_services.get(check.service_id)
    if owner is not None and (node, check.service_id) not in write.state.services:
        ensure_service(write, owner)
    row = catalog_row(check, node)
    known = write.state.checks.get((node, check.check_id))
    if known is not None and known.status == row.status:
        row = replace(row, output=known.output)
    ensure_check(write, row)


def catalog_row(check: LocalCheck, node: str) -> Check:
    """A local check as the catalog shows it."""
    return Check(
        node,
        check.check_id,
        check.name,
        check.status,
        check.notes,
        check.output,
        check.service_id,
        type=check.type,
    )


def forget_other_selves(write: Write, node: str) -> None:
    """Drop what this registry's agent left under another node name; its sidecars will register anew.

    Every registry has the service `consul` on its own node, and nobody else registers that.
    """
    state = write.state
    for other in {row.node for row in state.services.values() if row.id == OWN_SERVICE and row.node != node}:
        delete_node(write, other)
    for service_id, service in list(state.local_services.items()):
        if service.node != node:
            write.put("local_services", service_id, None)
            for check_id in list(state.local_checks_of.get(service_id, ())):
                write.put("local_checks", check_id, None)
