"""This node's agent: its services, its checks and their state, and what of it goes to the catalog.

The agent is ahead of the catalog: a new output without a new status shows here at once and there
when it is due (`OUTPUT_SYNC`). Pure but for the store it writes to; time comes from the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from registry.antientropy import (
    OWN_SERVICE,
    SERF_HEALTH,
    AntiEntropy,
    catalog_row,
    forget_other_selves,
    put_check,
    put_service,
)
from registry.checks import CriticalSince, Deadlines, Ttls, alias_status, clip_output
from registry.errors import BadRequest, NotFound, RegistryError
from registry.model import (
    CONSUL_VERSION,
    CRITICAL,
    PASSING,
    Check,
    CheckDefinition,
    LocalCheck,
    Node,
    Service,
    worst,
)
from registry.store import Store, Write
from registry.store.catalog import delete_check, delete_service, ensure_check, ensure_node, ensure_service
from registry.validation import normalise_service, validate_check, validate_service

NODE_MAINTENANCE = "_node_maintenance"
SERVICE_MAINTENANCE = "_service_maintenance:"
DEFAULT_REASON = (
    "Maintenance mode is enabled for this {what}, but no reason was provided. This is a default message."
)
OUTPUT_SYNC = 300.0
"""Seconds until an output that changed alone reaches the catalog: Consul's CheckUpdateInterval."""

RETRY = 1.0
"""Seconds until an expiry that could not be written down is tried again."""


class UnknownTtl(RegistryError):
    """An update for a check that is no TTL check of this agent."""


class Agent:
    """Registers, updates and expires what lives on this node."""

    def __init__(self, store: Store, node: Node, clock: Callable[[], float]) -> None:
        self.store = store
        self.node = node
        self._clock = clock
        self._ttls = Ttls()
        self._critical = CriticalSince()
        self._outputs = Deadlines()
        self._aliases: dict[str, None] = {}
        self._anti_entropy = AntiEntropy(store, node.name, clock)
        self._probe_changed: Callable[[str], None] = lambda check_id: None

    def on_probe_change(self, listener: Callable[[str], None]) -> None:
        """Called with a check's id when an HTTP or TCP check came, changed or went."""
        self._probe_changed = listener

    def start(self, server_port: int) -> None:
        """Put this node into the catalog and pick up the checks a journal brought back.

        Their TTLs begin anew: while the registry was down nobody could report, so nobody is late.
        """
        name = self.node.name
        with self.store.write() as write:
            forget_other_selves(write, name)
            ensure_node(write, self.node)
            alive = "Agent alive and reachable"
            ensure_check(write, Check(name, SERF_HEALTH, "Serf Health Status", PASSING, output=alive))
            consul = Service(
                name, OWN_SERVICE, OWN_SERVICE, port=server_port, meta={"version": CONSUL_VERSION}
            )
            ensure_service(write, consul)
        for check in list(self.store.state.local_checks.values()):
            self._follow(check)

    # What is here

    def service(self, service_id: str) -> Service | None:
        """A service of this agent; one that only stands in the catalog is not."""
        return self.store.state.local_services.get(service_id)

    def services(self) -> list[Service]:
        """All services of this agent, by id."""
        return [service for _, service in sorted(self.store.state.local_services.items())]

    def checks(self) -> list[LocalCheck]:
        """All checks of this agent, by id."""
        return [check for _, check in sorted(self.store.state.local_checks.items())]

    def health(self, service_id: str) -> tuple[str, list[LocalCheck]]:
        """The aggregate over a service's checks and the node's, and those checks. "maintenance" wins."""
        state = self.store.state
        ids = [*state.local_checks_of.get("", ()), *state.local_checks_of.get(service_id, ())]
        checks = [state.local_checks[check_id] for check_id in sorted(ids)]
        if any(c.check_id == NODE_MAINTENANCE or c.check_id.startswith(SERVICE_MAINTENANCE) for c in checks):
            return "maintenance", checks
        return worst([check.status for check in checks]), checks

    # Services

    def register_service(
        self, service: Service, checks: Sequence[tuple[CheckDefinition, str]], *, replace_checks: bool
    ) -> None:
        """Add or update an instance with its checks; a check that is known keeps its status."""
        validate_service(service)
        for definition, _ in checks:
            validate_check(definition)
        service = normalise_service(service)
        kept: set[str] = set()
        followed: list[LocalCheck] = []
        with self.store.write() as write:
            if self.store.state.local_services.get(service.id) != service:
                write.put("local_services", service.id, service)
            put_service(write, self.node.name, service)
            for number, (definition, _) in enumerate(checks, 1):
                fallback = f"service:{service.id}" + (f":{number}" if len(checks) > 1 else "")
                name = definition.name or f"Service '{service.name}' check"
                local = self._put_check(write, definition, definition.check_id or fallback, name, service.id)
                kept.add(local.check_id)
                followed.append(local)
            gone = (
                set(self.store.state.local_checks_of.get(service.id, ())) - kept if replace_checks else set()
            )
            for check_id in gone:
                self._delete_check(write, check_id)
        self._unfollow(gone)
        for local in followed:
            self._follow(local)
        self._refresh_aliases()

    def deregister_service(self, service_id: str) -> bool:
        """Remove an instance with its checks; False when this agent has none of that id."""
        if service_id not in self.store.state.local_services:
            return False
        checks = list(self.store.state.local_checks_of.get(service_id, ()))
        with self.store.write() as write:
            for check_id in checks:
                self._delete_check(write, check_id)
            write.put("local_services", service_id, None)
            delete_service(write, self.node.name, service_id)
        self._unfollow(checks)
        self._refresh_aliases()
        return True

    # Checks

    def register_check(self, definition: CheckDefinition, service_id: str) -> None:
        """Add or update one check of a service, or of the node when `service_id` is empty."""
        if not definition.name:
            raise BadRequest("Missing check name", status=400)
        validate_check(definition)
        if service_id and self.service(service_id) is None:
            raise RegistryError(f'ServiceID "{service_id}" does not exist', status=500)
        with self.store.write() as write:
            check_id = definition.check_id or definition.name
            local = self._put_check(write, definition, check_id, definition.name, service_id)
        self._follow(local)
        self._refresh_aliases()

    def deregister_check(self, check_id: str) -> bool:
        """Remove one check; False when this agent has none of that id."""
        if check_id not in self.store.state.local_checks:
            return False
        with self.store.write() as write:
            self._delete_check(write, check_id)
        self._unfollow([check_id])
        self._refresh_aliases()
        return True

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """A TTL check reports; UnknownTtl when there is none of that id."""
        if not self._ttls.heard(check_id, self._clock()):
            raise UnknownTtl(f'CheckID "{check_id}" does not have associated TTL', status=500)
        self.set_status(check_id, status, output)

    def set_status(self, check_id: str, status: str, output: str) -> None:
        """The state of a check as a run, a report or an expiry found it. Unknown ids are ignored."""
        state = self.store.state
        check = state.local_checks.get(check_id)
        if check is None or (check.status, check.output) == (status, output):
            return
        now = self._clock()
        after = replace(check, status=status, output=clip_output(output))
        if check.status == status:
            # Not a write: it moves no index and wakes nobody, and after a crash the old words do.
            state.put("local_checks", check_id, after)
            if check_id not in self._outputs:
                self._outputs.set(check_id, now + OUTPUT_SYNC)
            return
        with self.store.write() as write:
            write.put("local_checks", check_id, after)
            put_check(write, self.node.name, after)
        self._outputs.drop(check_id)
        self._critical.status(check_id, status, now)
        self._refresh_aliases()

    def maintenance(self, enable: bool, reason: str, service_id: str | None = None) -> None:
        """Put the node, or one service, into maintenance (a critical check) or take it out."""
        if service_id is None:
            check_id, name, what = NODE_MAINTENANCE, "Node Maintenance Mode", "node"
        else:
            if self.service(service_id) is None:
                raise NotFound(f'No service registered with ID "{service_id}"', status=404)
            check_id, name, what = SERVICE_MAINTENANCE + service_id, "Service Maintenance Mode", "service"
        known = check_id in self.store.state.local_checks
        if enable == known:
            return
        with self.store.write() as write:
            if enable:
                local = LocalCheck(
                    check_id,
                    name,
                    CheckDefinition(check_id=check_id, name=name),
                    service_id or "",
                    notes=reason or DEFAULT_REASON.format(what=what),
                    type="maintenance",
                )
                write.put("local_checks", check_id, local)
                put_check(write, self.node.name, local)
            else:
                self._delete_check(write, check_id)
        self._refresh_aliases()

    def tick(self) -> None:
        """Expire what is due; call it a few times a second. RegistryError when that could not be kept."""
        now = self._clock()
        state = self.store.state
        failed: RegistryError | None = None
        for check_id in self._ttls.expired(now):
            last = state.local_checks[check_id].output if check_id in state.local_checks else ""
            said = f" (last output before timeout follows): {last}" if last else ""
            try:
                self.set_status(check_id, CRITICAL, f"TTL expired{said}")
            except RegistryError as bad:
                self._ttls.retry(check_id, now + RETRY)
                failed = bad
        if failed is not None:
            raise failed
        for check_id in self._critical.overdue(now):
            check = state.local_checks.get(check_id)
            if check is not None and check.service_id:
                self.deregister_service(check.service_id)
        due = [
            state.local_checks[check_id]
            for check_id in self._outputs.expired(now)
            if check_id in state.local_checks
        ]
        if due:
            with self.store.write() as write:
                for check in due:
                    ensure_check(write, catalog_row(check, self.node.name))
        self._anti_entropy.tick()

    # Inside

    def _put_check(
        self, write: Write, definition: CheckDefinition, check_id: str, name: str, service_id: str
    ) -> LocalCheck:
        known = self.store.state.local_checks.get(check_id)
        status = definition.status or CRITICAL
        local = LocalCheck(
            check_id,
            name,
            definition,
            service_id,
            status=known.status if known else status,
            output=known.output if known else "",
            notes=definition.notes,
            type=definition.kind,
        )
        if local != known:
            write.put("local_checks", check_id, local)
        put_check(write, self.node.name, local)
        return local

    def _delete_check(self, write: Write, check_id: str) -> None:
        write.put("local_checks", check_id, None)
        delete_check(write, self.node.name, check_id)

    def _follow(self, check: LocalCheck) -> None:
        """Begin what the definition asks for: a TTL to count, a probe to run, a deregistration to watch."""
        now = self._clock()
        definition = check.definition
        self._unfollow([check.check_id])
        if definition.kind == "alias":
            self._aliases[check.check_id] = None
        if definition.kind == "ttl":
            self._ttls.start(check.check_id, definition.ttl, now)
        if check.service_id:
            self._critical.watch(check.check_id, definition.deregister_critical_after)
            self._critical.status(check.check_id, check.status, now)
        self._probe_changed(check.check_id)

    def _unfollow(self, check_ids: Sequence[str] | set[str]) -> None:
        for check_id in check_ids:
            self._ttls.stop(check_id)
            self._critical.stop(check_id)
            self._outputs.drop(check_id)
            self._aliases.pop(check_id, None)
            self._probe_changed(check_id)

    def _refresh_aliases(self) -> None:
        """Let every alias say what its target says now.

        An alias of an alias settles because `set_status` comes back here; it ends because a status
        only follows its targets' statuses, and an output alone does not come back.
        """
        for check_id in list(self._aliases):
            alias = self.store.state.local_checks.get(check_id)
            if alias is not None:
                self.set_status(check_id, *alias_status(self._alias_targets(alias.definition)))

    def _alias_targets(self, definition: CheckDefinition) -> list[Check]:
        state = self.store.state
        node = definition.alias_node or self.node.name
        keys = sorted(state.checks_of.get((node, ""), ()))
        if definition.alias_service:
            keys += sorted(state.checks_of.get((node, definition.alias_service), ()))
        return [state.checks[key] for key in keys]
