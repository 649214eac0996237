"""Documents in: text or parsed YAML -> validated documents, or every problem at once, each with its field's
path.

Three kinds of wrong keys are told apart: unknown ones (with the nearest known name), ones that Istio knows
and this mesh does not honour (with what to do instead), and wrong values (pydantic's words).
"""

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from .annotations import KNOWN, read_annotation
from .destination_rule import DestinationRule
from .errors import DocumentError, Problem
from .fault_document import FaultDocument
from .fields import Base
from .virtual_service import VirtualService

Document = VirtualService | DestinationRule | FaultDocument
KINDS: Final[dict[str, type[VirtualService] | type[DestinationRule] | type[FaultDocument]]] = {
    "VirtualService": VirtualService,
    "DestinationRule": DestinationRule,
    "Fault": FaultDocument,
}
TEXT_MAX: Final = 1_000_000  # characters of one file
DOCUMENTS_MAX: Final = 200


def read_text(text: str, source: str = "document") -> list[object]:
    """The documents of a YAML (or JSON) text as they stand there; `source` names it in errors."""
    if len(text) > TEXT_MAX:
        raise DocumentError([Problem(source, "", f"has more than {TEXT_MAX} characters")])
    try:
        raw = [entry for entry in yaml.safe_load_all(text) if entry is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark is not None else ""
        raise DocumentError(
            [Problem(source, where, f"is no YAML: {getattr(error, 'problem', error)}")]
        ) from error
    if not raw:
        raise DocumentError([Problem(source, "", "holds no document")])
    if len(raw) > DOCUMENTS_MAX:
        raise DocumentError([Problem(source, "", f"holds more than {DOCUMENTS_MAX} documents")])
    return raw


def parse_text(text: str, source: str = "document") -> list[Document]:
    """All documents of such a text, validated."""
    raw = read_text(text, source)
    found: list[Document] = []
    problems: list[Problem] = []
    for index, entry in enumerate(raw):
        try:
            found.append(parse_document(entry, f"{source}[{index}]" if len(raw) > 1 else source))
        except DocumentError as error:
            problems.extend(error.problems)
    if problems:
        raise DocumentError(problems)
    return found


def parse_document(raw: object, source: str = "document") -> Document:
    """One document from its parsed form (as it also lies in the registry)."""
    if not isinstance(raw, Mapping):
        raise DocumentError([Problem(source, "", f"must be a mapping, not {type(raw).__name__}")])
    kind = raw.get("kind")
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        hint = _near(str(kind), KINDS)
        raise DocumentError(
            [
                Problem(
                    source,
                    "kind",
                    f"{kind!r} is not honoured here{hint}; known are {', '.join(sorted(KINDS))}",
                )
            ]
        )
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    label = f"{kind}/{name}" if isinstance(name, str) else source
    problems = [Problem(label, path, text) for path, text in _check_keys(model, raw, "")]
    document: Document | None = None
    try:
        document = model.model_validate(raw)
    except ValidationError as error:
        problems.extend(_from_pydantic(label, "", error))
    if document is not None:
        problems.extend(_check_annotations(document))
    if problems or document is None:
        raise DocumentError(problems)
    return document


def notes(document: Document) -> dict[str, Any]:
    """The document's `mesh/...` annotations, parsed; right because `parse_document` has checked them."""
    kind = document.kind
    found: dict[str, Any] = {}
    for name, text in document.metadata.annotations.items():
        if _base_name(kind, name) in KNOWN[kind]:
            found[name] = read_annotation(kind, _base_name(kind, name), text)
    return found


def json_schema() -> dict[str, Any]:
    """One JSON Schema for all kinds, for editors."""
    schemas = {kind: model.model_json_schema(ref_template="#/$defs/{model}") for kind, model in KINDS.items()}
    definitions: dict[str, Any] = {}
    for kind, schema in schemas.items():
        definitions.update(schema.pop("$defs", {}))
        definitions[kind] = schema
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Policies of the mesh",
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in KINDS],
        "$defs": definitions,
    }


# ---- keys --------------------------------------------------------------------------------------------


def _check_keys(model: type[BaseModel], raw: object, path: str) -> Iterator[tuple[str, str]]:
    """(path, problem) of every key that the model does not have, however deep."""
    if not isinstance(raw, Mapping):
        return
    refused: Mapping[str, str] = model.not_honoured if issubclass(model, Base) else {}
    for key, value in raw.items():
        here = f"{path}.{key}" if path else str(key)
        field = model.model_fields.get(str(key))
        if field is None:
            if key in refused:
                yield here, f"is known to Istio and not honoured here: {refused[key]}"
            else:
                known = [*model.model_fields, *refused]
                yield (
                    here,
                    f"is unknown{_near(str(key), known) or '; known are ' + ', '.join(model.model_fields)}",
                )
            continue
        for inner, wraps in _models_in(field.annotation):
            yield from _check_below(inner, wraps, value, here)


def _check_below(inner: type[BaseModel], wraps: str, value: object, here: str) -> Iterator[tuple[str, str]]:
    if wraps == "list" and isinstance(value, Sequence) and not isinstance(value, str):
        for index, item in enumerate(value):
            yield from _check_keys(inner, item, f"{here}[{index}]")
    elif wraps == "dict" and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _check_keys(inner, item, f"{here}.{key}")
    elif not wraps:
        yield from _check_keys(inner, value, here)


def _models_in(annotation: Any, wraps: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """(model, 'list' | 'dict' | '') for each model that a field's type holds."""
    origin = get_origin(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, wraps
    elif origin in (list, dict):
        yield from _models_in(get_args(annotation)[-1], origin.__name__)
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _models_in(part, wraps)


def _near(key: str, known: Any) -> str:
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


# ---- values ------------------------------------------------------------------------------------------


def _from_pydantic(label: str, prefix: str, error: ValidationError) -> Iterator[Problem]:
    for entry in error.errors(include_url=False):
        if entry["type"] == "extra_forbidden":
            continue  # told by _check_keys, in better words
        path = prefix
        for part in entry["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        text = entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "missing":
            text = "is missing"
        elif isinstance(entry["input"], str | int | float) and repr(entry["input"]) not in text:
            text = f"{text[0].lower()}{text[1:]}, got {entry['input']!r}"
        yield Problem(label, path, text)


def _base_name(kind: str, name: str) -> str:
    """`mesh/rate-limit.<rule>` is `mesh/rate-limit` for one rule of a VirtualService."""
    if kind == "VirtualService" and name.startswith("mesh/rate-limit."):
        return "mesh/rate-limit"
    return name


def _check_annotations(document: Document) -> Iterator[Problem]:
    kind = document.kind
    for name, text in document.metadata.annotations.items():
        if not name.startswith("mesh/"):
            continue
        path = f"metadata.annotations[{name}]"
        base = _base_name(kind, name)
        if base not in KNOWN[kind]:
            hint = _near(name, KNOWN[kind]) or f"; a {kind} knows {', '.join(sorted(KNOWN[kind])) or 'none'}"
            yield Problem(document.key, path, f"is unknown{hint}")
            continue
        try:
            read_annotation(kind, base, text)
        except ValidationError as error:
            model = KNOWN[kind][base]
            if isinstance(model, type) and issubclass(model, BaseModel):
                raw = yaml.safe_load(text)
                yield from (Problem(document.key, f"{path}.{p}", t) for p, t in _check_keys(model, raw, ""))
            yield from _from_pydantic(document.key, path, error)
        except ValueError as error:
            yield Problem(document.key, path, str(error))
