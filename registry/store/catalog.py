"""Nodes, service instances and checks: the writes Consul's catalog knows, with its index rules.

Index names: "nodes", "services", "checks" (whole tables), "service/NAME" (instances of one service and
everything a health answer about them shows), "extinction" (the last time a service lost its last
instance). Topics without an index: "node/NAME", "node-checks/NAME", "service-checks/NAME".
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from registry.errors import RegistryError
from registry.model import CRITICAL, Check, Node, Service
from registry.store.documents import COORDINATE, delete_document
from registry.store.sessions import invalidate_of_check, invalidate_of_node
from registry.store.state import NodeKey, State, Write

_Row = TypeVar("_Row", Node, Service, Check)


class CatalogError(RegistryError):
    """A write that the catalog refuses, in Consul's words."""


def service_index(name: str) -> str:
    """The index name of one service."""
    return f"service/{name}"


def _stamped(write: Write, row: _Row, old: _Row | None) -> _Row | None:
    """The row with the indexes to keep it with; None when it is there already as it is."""
    if old is None:
        return replace(row, create_index=write.index, modify_index=write.index)
    if replace(row, create_index=old.create_index, modify_index=old.modify_index) == old:
        return None
    return replace(row, create_index=old.create_index, modify_index=write.index)


def ensure_node(write: Write, node: Node) -> None:
    """Insert or update a node; the same node again changes nothing."""
    row = _stamped(write, node, write.state.nodes.get(node.name))
    if row is None:
        return
    write.put("nodes", node.name, row)
    write.touch("nodes")
    write.wake(f"node/{node.name}")
    _touch_services_on(write, node.name)


def ensure_service(write: Write, service: Service) -> None:
    """Insert or update an instance; the node must exist."""
    state = write.state
    if service.node not in state.nodes:
        raise CatalogError("Missing node registration")
    key = (service.node, service.id)
    old = state.services.get(key)
    row = _stamped(write, service, old)
    if row is None:
        return
    write.put("services", key, row)
    if old is not None and old.name != service.name:
        _service_left(write, old.name)
    write.touch("services", service_index(service.name))
    write.wake(f"node/{service.node}")
    if old is not None and (old.name, old.tags) != (service.name, service.tags):
        # A check's row repeats its service's name and tags.
        for check_key in list(state.checks_of.get(key, ())):
            check = state.checks[check_key]
            ensure_check(write, replace(check, service_name=service.name, service_tags=service.tags))


def delete_service(write: Write, node: str, service_id: str) -> bool:
    """Remove an instance with its checks; False when there was none."""
    state = write.state
    key = (node, service_id)
    service = state.services.get(key)
    if service is None:
        return False
    for _, check_id in list(state.checks_of.get(key, ())):
        delete_check(write, node, check_id)
    write.put("services", key, None)
    _service_left(write, service.name)
    write.touch("services")
    write.wake(f"node/{node}")
    return True


def _service_left(write: Write, name: str) -> None:
    if write.state.by_name.get(name):
        write.touch(service_index(name))
    else:
        write.forget(service_index(name))
        write.touch("extinction")


def ensure_check(write: Write, check: Check) -> None:
    """Insert or update a check; one that turns critical invalidates the sessions that rest on it."""
    state = write.state
    if check.node not in state.nodes:
        raise CatalogError("Missing node registration")
    if check.service_id:
        service = state.services.get((check.node, check.service_id))
        if service is None:
            raise CatalogError(f'Missing service registration on node "{check.node}"')
        check = replace(check, service_name=service.name, service_tags=service.tags)
    key = (check.node, check.check_id)
    old = state.checks.get(key)
    row = _stamped(write, check, old)
    if row is None:
        return
    write.put("checks", key, row)
    _check_changed(write, check)
    if old is not None and old.service_name and old.service_name != check.service_name:
        write.wake(f"service-checks/{old.service_name}")
    if check.status == CRITICAL:
        invalidate_of_check(write, check.node, check.check_id)


def delete_check(write: Write, node: str, check_id: str) -> bool:
    """Remove a check and the sessions that rest on it; False when there was none."""
    check = write.state.checks.get((node, check_id))
    if check is None:
        return False
    write.put("checks", (node, check_id), None)
    _check_changed(write, check)
    invalidate_of_check(write, node, check_id)
    return True


def _check_changed(write: Write, check: Check) -> None:
    write.touch("checks")
    write.wake(f"node-checks/{check.node}")
    if check.service_id:
        write.touch(service_index(check.service_name))
        write.wake(f"service-checks/{check.service_name}")
    else:
        _touch_services_on(write, check.node)


def delete_node(write: Write, name: str) -> bool:
    """Remove a node with all that stands on it; False when there was none."""
    state = write.state
    if name not in state.nodes:
        return False
    for _, service_id in list(state.services_on.get(name, ())):
        delete_service(write, name, service_id)
    for _, check_id in list(state.checks_on.get(name, ())):
        delete_check(write, name, check_id)
    invalidate_of_node(write, name)
    delete_document(write, COORDINATE, name)
    write.put("nodes", name, None)
    write.touch("nodes")
    write.wake(f"node/{name}")
    return True


def _touch_services_on(write: Write, node: str) -> None:
    state = write.state
    write.touch(*{service_index(state.services[key].name) for key in state.services_on.get(node, ())})


def service_answer_index(state: State, name: str, *, checks: bool) -> int:
    """The index an answer about this service carries.

    A service that is gone answers with the last extinction, so that a watcher of it sees its end and
    then blocks; one that never was, while none ever went, answers with the tables' index.
    """
    own = state.indexes.get(service_index(name))
    if own is not None:
        return own
    gone = state.indexes.get("extinction")
    if gone is not None:
        return gone
    return state.index_of("nodes", "services", "checks") if checks else state.index_of("nodes", "services")


def instances(state: State, name: str) -> list[Service]:
    """The instances of a service, ordered by node and id as Consul orders them."""
    return [state.services[key] for key in sorted(state.by_name.get(name, ()))]


def checks_of(state: State, service: Service) -> list[Check]:
    """The checks that decide about this instance: its node's, then its own."""
    keys: list[NodeKey] = sorted(state.checks_of.get((service.node, ""), ()))
    keys += sorted(state.checks_of.get((service.node, service.id), ()))
    return [state.checks[key] for key in keys]
