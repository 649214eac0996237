"""Rows of the model as JSON objects and back: only what differs from the default, bytes as base64."""

from __future__ import annotations

import base64
from dataclasses import MISSING, fields
from typing import Any, Final

from registry.model import Check, CheckDefinition, Document, KVEntry, LocalCheck, Node, Service, Session
from registry.store.state import Key

ROWS: Final[dict[str, type]] = {
    "nodes": Node,
    "services": Service,
    "checks": Check,
    "kvs": KVEntry,
    "sessions": Session,
    "local_services": Service,
    "local_checks": LocalCheck,
    "documents": Document,
}
_TUPLES: Final = frozenset({"tags", "service_tags", "node_checks", "service_checks"})


def _defaults(row_type: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(row_type):
        if field.default is not MISSING:
            found[field.name] = field.default
        elif field.default_factory is not MISSING:
            found[field.name] = field.default_factory()
        else:
            found[field.name] = MISSING
    return found


_FIELDS: Final = {row_type: _defaults(row_type) for row_type in (*ROWS.values(), CheckDefinition)}


def to_json(row: Any) -> Any:
    """One row; a tombstone is a plain number and stays one."""
    known = _FIELDS.get(type(row))
    if known is None:
        return row
    answer: dict[str, Any] = {}
    for name, default in known.items():
        value = getattr(row, name)
        if value == default and default is not MISSING:
            continue
        if isinstance(value, bytes):
            value = base64.b64encode(value).decode()
        elif isinstance(value, CheckDefinition):
            value = to_json(value)
        answer[name] = value
    return answer


def from_json(table: str, value: Any) -> Any:
    """One row of this table; None stays None (removed). TypeError, KeyError or ValueError when it is none."""
    row_type = ROWS.get(table)
    if row_type is None or value is None:
        return value
    return _row(row_type, value)


def _row(row_type: type, value: dict[str, Any]) -> Any:
    return row_type(**{name: _read(row_type, name, one) for name, one in value.items()})


def _read(row_type: type, name: str, value: Any) -> Any:
    """One field, back in the type that JSON took from it."""
    if name in _TUPLES:
        return tuple(value)
    if row_type is KVEntry and name == "value":
        return base64.b64decode(value, validate=True)
    if row_type is LocalCheck and name == "definition":
        return _row(CheckDefinition, value)
    if row_type is CheckDefinition and name == "header":
        return {key: tuple(texts) for key, texts in value.items()}
    return value


def key_to_json(key: Key) -> Any:
    """A key, pairs as lists."""
    return list(key) if isinstance(key, tuple) else key


def key_from_json(key: Any) -> Key:
    """A key, lists as pairs."""
    return (key[0], key[1]) if isinstance(key, list) else str(key)
