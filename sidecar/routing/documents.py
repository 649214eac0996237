"""Documents in: text or parsed YAML -> validated documents, or every problem at once, each with its field's
path.

Three kinds of wrong keys are told apart: unknown ones (with the nearest known name), ones that Istio knows
and this mesh does not honour (with what to do instead), and wrong values (pydantic's words).
"""

import difflib
import functools
import types
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .annotations import KNOWN, model_of, read_annotation, read_note
from .destination_rule import DestinationRule
from .errors import DocumentError, Problem
from .fault_document import FaultDocument
from .fields import Base, Budget
from .plain import NotPlain, check, read_yaml
from .virtual_service import VirtualService
from .words import NAME_MAX

Document = VirtualService | DestinationRule | FaultDocument
KINDS: Final[dict[str, type[VirtualService] | type[DestinationRule] | type[FaultDocument]]] = {
    "VirtualService": VirtualService,
    "DestinationRule": DestinationRule,
    "Fault": FaultDocument,
}
SET_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of all documents of a mesh together, as the registry keeps them: 12,000 routes. Each sidecar reads them
anew after every change, in two seconds.
"""

DOCUMENTS_MAX: Final = 200
PROBLEMS_MAX: Final = 50  # of one document: who wrote more of them reads no further either
ERRORS_MAX: Final = 1000  # wrong values of one document, beyond which none is named
SHOWN_MAX: Final = 80  # characters of a value, in a line about it


def read_text(text: str, source: str = "document") -> list[object]:
    """The documents of a YAML (or JSON) text as they stand there; `source` names it in errors."""
    try:
        raw = [entry for entry in read_yaml(text) if entry is not None]
    except NotPlain as error:
        where = error.path if error.line is None else f"line {error.line}"
        raise DocumentError([Problem(source, where, error.problem)]) from None
    if not raw:
        raise DocumentError([Problem(source, "", "holds no document")])
    if len(raw) > DOCUMENTS_MAX:
        raise DocumentError([Problem(source, "", f"holds more than {DOCUMENTS_MAX} documents")])
    return raw


def parse_text(text: str, source: str = "document") -> list[Document]:
    """All documents of such a text, validated."""
    raw = read_text(text, source)
    budget = Budget()
    found: list[Document] = []
    problems: list[Problem] = []
    for index, entry in enumerate(raw):
        try:
            found.append(parse_document(entry, f"{source}[{index}]" if len(raw) > 1 else source, budget))
        except DocumentError as error:
            problems.extend(error.problems)
    if problems:
        raise DocumentError(problems)
    return found


def parse_document(raw: object, source: str = "document", budget: Budget | None = None) -> Document:
    """One document from its parsed form (as it also lies in the registry), at the expense of its set's
    budget.
    """
    try:
        check(raw)
    except NotPlain as error:
        raise DocumentError([Problem(source, error.path, error.problem)]) from None
    if not isinstance(raw, Mapping):
        raise DocumentError([Problem(source, "", f"must be a mapping, not {type(raw).__name__}")])
    kind = raw.get("kind")
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        shown = _shown(kind)
        hint = _near(shown, KINDS)
        known = ", ".join(sorted(KINDS))
        raise DocumentError(
            [Problem(source, "kind", f"{shown} is not honoured here{hint}; known are {known}")]
        )
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    named = isinstance(name, str) and name.isprintable() and len(name) <= NAME_MAX
    label = f"{kind}/{name}" if named else source
    found = _check_keys(model, raw, "")
    problems = [Problem(label, path, text) for path, text in islice(found, PROBLEMS_MAX)]
    budget = budget or Budget()
    before = budget.left
    document: Document | None = None
    try:
        document = model.model_validate(raw, context=budget)
    except ValidationError as error:
        problems.extend(islice(_from_pydantic(label, "", error), PROBLEMS_MAX))
    if document is not None:
        document._programs = before - budget.left
        problems.extend(islice(_read_annotations(document), PROBLEMS_MAX))
    if problems or document is None:
        raise DocumentError(problems)
    return document


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
        here = f"{path}.{str(key)[:SHOWN_MAX]}".removeprefix(".")
        inside = _models_of(model).get(str(key))
        if inside is None:
            if key in refused:
                yield here, f"is known to Istio and not honoured here: {refused[key]}"
            else:
                known = [*model.model_fields, *refused]
                yield (
                    here,
                    f"is unknown{_near(str(key), known) or '; known are ' + ', '.join(model.model_fields)}",
                )
            continue
        for inner, wraps in inside:
            yield from _check_below(inner, wraps, value, here)


def _check_below(inner: type[BaseModel], wraps: str, value: object, here: str) -> Iterator[tuple[str, str]]:
    if wraps == "list" and isinstance(value, Sequence) and not isinstance(value, str):
        for index, item in enumerate(value):
            yield from _check_keys(inner, item, f"{here}[{index}]")
    elif wraps == "dict" and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _check_keys(inner, item, f"{here}.{str(key)[:SHOWN_MAX]}")
    elif not wraps:
        yield from _check_keys(inner, value, here)


@functools.cache
def _models_of(model: type[BaseModel]) -> dict[str, tuple[tuple[type[BaseModel], str], ...]]:
    return {name: tuple(_models_in(field.annotation)) for name, field in model.model_fields.items()}


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


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def _near(key: str, known: Any) -> str:
    if len(key) > SHOWN_MAX:
        return ""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


# ---- values ------------------------------------------------------------------------------------------


def _from_pydantic(label: str, prefix: str, error: ValidationError) -> Iterator[Problem]:
    if error.error_count() > ERRORS_MAX:  # to list them all would take longer than to find them
        yield Problem(label, prefix, f"has {error.error_count()} wrong values; is it a policy?")
        return
    for entry in error.errors(include_url=False):
        if entry["type"] == "extra_forbidden":
            continue  # told by _check_keys, in better words
        path = prefix
        for part in entry["loc"]:
            if part == "[key]":
                continue  # the key itself stands before it
            path += (
                f"[{part}]" if isinstance(part, int) else f".{part[:SHOWN_MAX]}" if path else part[:SHOWN_MAX]
            )
        text = entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "missing":
            text = "is missing"
        elif isinstance(entry["input"], str | int | float) and _shown(entry["input"]) not in text:
            text = f"{text[0].lower()}{text[1:]}, got {_shown(entry['input'])}"
        yield Problem(label, path, text)


def _base_name(kind: str, name: str) -> str:
    """`mesh/rate-limit.<rule>` is `mesh/rate-limit` for one rule of a VirtualService."""
    if kind == "VirtualService" and name.startswith("mesh/rate-limit."):
        return "mesh/rate-limit"
    return name


def _read_annotations(document: Document) -> Iterator[Problem]:
    """Reads them into its `notes`."""
    kind = document.kind
    for name, text in document.metadata.annotations.items():
        if not name.startswith("mesh/"):
            continue
        path = f"metadata.annotations[{name[:SHOWN_MAX]}]"
        base = _base_name(kind, name)
        if base not in KNOWN[kind]:
            hint = _near(name, KNOWN[kind]) or f"; a {kind} knows {', '.join(sorted(KNOWN[kind])) or 'none'}"
            yield Problem(document.key, path, f"is unknown{hint}")
            continue
        try:
            document._notes[name] = read_annotation(kind, base, text)
        except ValidationError as error:
            model = model_of(kind, base)
            if model is not None:
                raw = read_note(kind, base, text)
                yield from (Problem(document.key, f"{path}.{p}", t) for p, t in _check_keys(model, raw, ""))
            yield from _from_pydantic(document.key, path, error)
        except ValueError as error:
            yield Problem(document.key, path, str(error))
