"""Rows of the model as JSON objects and back: only what differs from the default, bytes as base64.

Read back, each field must have its type and each key must be its row's own: a checksum says that a line is as
it was written, not that we wrote it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, Final

from registry.codec.prepared import prepared
from registry.errors import RegistryError
from registry.model import Check, CheckDefinition, Document, KVEntry, LocalCheck, Node, Service, Session
from registry.store.documents import INTENTION, QUERY
from registry.store.state import TABLES, Key

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
_IDENTITY: Final[dict[str, Callable[[Any], Key]]] = {
    "nodes": lambda row: row.name,
    "services": lambda row: (row.node, row.id),
    "checks": lambda row: (row.node, row.check_id),
    "kvs": lambda row: row.key,
    "sessions": lambda row: row.id,
    "local_services": lambda row: row.id,
    "local_checks": lambda row: row.check_id,
    "documents": lambda row: (row.family, row.name),
}
_PAIRS: Final = frozenset({"services", "checks", "documents"})

MAX_SECONDS: Final = 1e10
"""Longer than what Consul can say, 292 years; timers of the loop take no more."""

MAX_DEPTH: Final = 500
"""Of JSON that is kept as it came: half of what can be written down again."""

MAX_INDEX: Final = 2**63
"""Consul's indexes are 64 bits wide, and clients may read them as signed."""


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


def row_from_json(entry: Any) -> tuple[str, Key, Any]:
    """(table, key, row) of `[table, key, row]`; row None = removed. ValueError when it is none of ours."""
    if not isinstance(entry, list) or len(entry) != 3 or entry[0] not in TABLES:
        raise ValueError("it is no row of a table")
    table, key, value = entry
    if table in _PAIRS:
        if not isinstance(key, list) or len(key) != 2 or not all(isinstance(one, str) for one in key):
            raise ValueError(f"{table}: the key is no pair of names")
        key = (key[0], key[1])
    elif not isinstance(key, str):
        raise ValueError(f"{table}: the key is no name")
    if value is None:
        return table, key, None
    if table == "tombstones":
        return table, key, index_from_json(value)
    row = _row(ROWS[table], value)
    if _IDENTITY[table](row) != key:
        raise ValueError(f"{table}: the key is another row's")
    if isinstance(row, Document):
        _check_document(row)
    return table, key, row


def index_from_json(value: Any) -> int:
    """An index; ValueError when it is none."""
    if type(value) is not int or not 0 <= value < MAX_INDEX:
        raise ValueError("an index is no whole number from 0 on")
    return value


def _check_document(row: Document) -> None:
    """What the endpoints of its family take for granted; they checked it before it was kept."""
    if row.family == QUERY:
        try:
            prepared(row.body)
        except RegistryError as bad:
            raise ValueError(f"documents: no query: {bad}") from bad
    elif row.family == INTENTION:
        for name in ("SourceName", "DestinationName"):
            _text(row.body.get(name))


def _row(row_type: type, value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"a {row_type.__name__} is no object")
    known = _FIELDS[row_type]
    row: dict[str, Any] = {}
    for name, one in value.items():
        if name not in known:
            raise ValueError(f"{row_type.__name__} has no field {name[:40]!r}")
        try:
            row[name] = _reader(row_type, name)(one)
        except ValueError as bad:
            raise ValueError(f"{row_type.__name__}.{name}: {bad}") from bad
    for name, default in known.items():
        if default is MISSING and name not in row:
            raise ValueError(f"{row_type.__name__} has no {name}")
    return row_type(**row)


# One reader for each type of the model's annotations: the value as the row has it, or ValueError.


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("no whole number")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not -MAX_SECONDS <= value <= MAX_SECONDS:
        raise ValueError("no number of seconds")
    number: float = value
    return number


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _bytes(value: Any) -> bytes:
    return base64.b64decode(_text(value), validate=True)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("no list")
    return tuple(_text(one) for one in value)


def _object(value: Any) -> dict[str, Any]:
    """Free JSON; names are texts, as JSON has no others."""
    if not isinstance(value, dict):
        raise ValueError("no object")
    level: list[dict[str, Any] | list[Any]] = [value]
    for _ in range(MAX_DEPTH):
        if not level:
            return value
        level = [
            each
            for one in level
            for each in (one.values() if isinstance(one, dict) else one)
            if isinstance(each, dict | list)
        ]
    raise ValueError(f"nested deeper than {MAX_DEPTH}")


def _text_map(value: Any) -> dict[str, str] | None:
    return None if value is None else {name: _text(one) for name, one in _object(value).items()}


def _addresses(value: Any) -> dict[str, dict[str, Any]] | None:
    if value is None:
        return None
    read: dict[str, dict[str, Any]] = {}
    for name, one in _object(value).items():
        address = _object(one)
        read[name] = {"Address": _text(address.get("Address")), "Port": _whole(address.get("Port"))}
    return read


def _header(value: Any) -> dict[str, tuple[str, ...]] | None:
    return None if value is None else {name: _texts(one) for name, one in _object(value).items()}


def _extra(value: Any) -> dict[str, Any]:
    return {name: _text(one) if name == "Kind" else _object(one) for name, one in _object(value).items()}


def _definition(value: Any) -> CheckDefinition:
    definition: CheckDefinition = _row(CheckDefinition, value)
    return definition


_BY_TYPE: Final[dict[str, Callable[[Any], Any]]] = {
    "str": _text,
    "int": _whole,
    "float": _number,
    "bool": _flag,
    "bytes": _bytes,
    "tuple[str, ...]": _texts,
    "Mapping[str, Any]": _object,
    "Mapping[str, str] | None": _text_map,
    "Mapping[str, Mapping[str, Any]] | None": _addresses,
    "Mapping[str, tuple[str, ...]] | None": _header,
    "CheckDefinition": _definition,
}
_READERS: Final[Mapping[type, dict[str, Callable[[Any], Any]]]] = {
    row_type: {field.name: _BY_TYPE[str(field.type)] for field in fields(row_type)} for row_type in _FIELDS
}


def _reader(row_type: type, name: str) -> Callable[[Any], Any]:
    if row_type is Service and name == "extra":
        return _extra
    if name in ("create_index", "modify_index"):
        return index_from_json
    return _READERS[row_type][name]


def key_to_json(key: Key) -> Any:
    """A key, pairs as lists."""
    return list(key) if isinstance(key, tuple) else key
