"""The topology file: read, checked as a whole, and turned into a `Topology`.

    load_topology("shop")            a topology that ships with this package
    load_topology("my/shop.yaml")    a file
    parse_topology(text, "my.yaml")  its text
    read_document(text, "my.yaml")   its text as plain values, for one who changes them

All raise TopologyError, whose `str()` is one line with file, line, field, problem and remedy; `.more`
holds the further faults of the file. This module is all that the rest of the mesh imports from here:
it is pure (no asyncio, sockets, clock or logging) but for reading the file.
"""

import os
from collections.abc import Iterable
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from services.build import build_topology
from services.checks import faults_of_the_whole
from services.document import TopologyDocument
from services.errors import Fault, FieldError, Path, TopologyError, suggest
from services.fields import kind_of
from services.topology import Call, Concurrent, Health, Instance, Load, Service, Sleep, Step, Topology
from services.yaml_lines import MAX_FILE_BYTES, Lines, field_name, read_yaml

__all__ = [
    "Call",
    "Concurrent",
    "Health",
    "Instance",
    "Load",
    "Service",
    "Sleep",
    "Step",
    "Topology",
    "TopologyError",
    "load_topology",
    "parse_topology",
    "read_document",
    "shipped_topologies",
]

_SHIPPED = FilePath(__file__).parent / "topologies"


def shipped_topologies() -> tuple[str, ...]:
    """The names that `load_topology` knows without a file."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.yaml")))


def load_topology(path_or_name: str) -> Topology:
    """The topology of that file, or the one of that name that ships; TopologyError says what is wrong."""
    file = _find(path_or_name)
    try:
        with open(file, "rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise TopologyError(file, None, "", problem, "name a file you may read") from error
    if len(data) > MAX_FILE_BYTES:
        raise TopologyError(
            file, None, "", "the file is larger than 1 MiB", "name a topology, not a data file"
        )
    try:
        text = data.decode("utf-8")  # YAML itself skips a byte order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TopologyError(file, line, "", "not UTF-8 text", "save the file as UTF-8") from error
    return parse_topology(text, file)


def parse_topology(text: str, file: str) -> Topology:
    """The topology of that text; `file` is its name in messages."""
    value, lines = read_yaml(text, file)
    try:
        document = TopologyDocument.model_validate(value)
    except ValidationError as error:
        raise _first(map(_translated, error.errors(include_url=False)), file, lines) from error
    faults = list(faults_of_the_whole(document, lines))
    if faults:
        raise _first(faults, file, lines)
    return build_topology(document, file, lines)


def read_document(text: str, file: str) -> dict[str, Any]:
    """The text of a valid topology as it was written, aliases followed: mappings, lists and plain values."""
    parse_topology(text, file)
    value, _ = read_yaml(text, file)
    assert isinstance(value, dict)  # or it would not be valid
    return value


def _find(path_or_name: str) -> str:
    """The file's path. A bare name is one that ships; a file of that name is meant by `./name`."""
    if os.sep in path_or_name or FilePath(path_or_name).suffix:
        if not os.path.exists(path_or_name):
            shipped = ", ".join(shipped_topologies())
            raise TopologyError(
                path_or_name, None, "", "no such file", f"these ship with the mesh: {shipped}"
            )
        return path_or_name
    if path_or_name not in shipped_topologies():
        remedy = f"{suggest(path_or_name, shipped_topologies(), 'topologies')}; a file is named by its path"
        raise TopologyError(path_or_name, None, "", "no topology of that name ships with the mesh", remedy)
    return str(_SHIPPED / f"{path_or_name}.yaml")


def _first(faults: Iterable[Fault], file: str, lines: Lines) -> TopologyError:
    """The first fault in the file's order, with the others behind it."""
    errors = []
    for fault in faults:
        place = lines.known(fault.place)
        errors.append(TopologyError(file, lines.at(place), field_name(place), fault.problem, fault.remedy))
    first, *more = sorted(errors, key=lambda error: error.line or 0)
    first.more = tuple(more)
    return first


def _translated(fault: Any) -> Fault:
    """A fault as pydantic reports it, in our words."""
    path: Path = tuple(part for part in fault["loc"] if not str(part).startswith("<"))
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, FieldError):
        return Fault(path if cause.key is None else (*path, cause.key), cause.problem, cause.remedy)
    if fault["type"] == "missing":
        return Fault(path[:-1], f'"{path[-1]}" is missing', "add it")
    wanted = {"tuple_type": "a list", "dict_type": "a mapping"}[fault["type"]]
    return Fault(path, f"{kind_of(fault['input'])} stands where {wanted} belongs", f"write {wanted}")
