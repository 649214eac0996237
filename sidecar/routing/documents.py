"""Documents in: text or parsed YAML -> validated documents, or every problem at once, each with its field's
path.

Keys that a model does not have are told apart: unknown ones (with the nearest known name), ones that Istio
knows and this mesh refuses (with what to do instead), and ones that change nothing here (with a warning).
Wrong values are told in pydantic's words.
"""

import difflib
import functools
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .annotations import KNOWN, model_of, read_annotation, read_note
from .destination_rule import DestinationRule
from .entries import Entry, read_entries
from .errors import DocumentError, Problem
from .fault_document import FaultDocument
from .fields import HOME, Base, Budget
from .foreign import refusal
from .kubernetes import without_server_fields
from .names import qualified, qualified_note
from .plain import NotPlain, check
from .service_entry import ServiceEntry
from .virtual_service import VirtualService
from .words import NAME_MAX

Document = VirtualService | DestinationRule | ServiceEntry | FaultDocument
KINDS: Final[dict[str, type[Document]]] = {
    "VirtualService": VirtualService,
    "DestinationRule": DestinationRule,
    "ServiceEntry": ServiceEntry,
    "Fault": FaultDocument,
}
SET_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of all documents of a mesh together, as the registry keeps them: 12,000 routes. Each sidecar reads them
anew after every change, in two seconds.
"""

PROBLEMS_MAX: Final = 50  # of one document: who wrote more of them reads no further either
ERRORS_MAX: Final = 1000  # wrong values of one document, beyond which none is named
SHOWN_MAX: Final = 80  # characters of a value, in a line about it


def parse_text(text: str, source: str = "document") -> list[Document]:
    """All documents of a YAML (or JSON) text, validated; `source` names it in errors, before the line."""
    budget = Budget()
    found: list[Document] = []
    problems: list[Problem] = []
    for entry in read_entries(text, source):
        try:
            found.append(parse_entry(entry, budget))
        except DocumentError as error:
            problems.extend(error.problems)
    if problems:
        raise DocumentError(problems)
    return found


def parse_entry(entry: Entry, budget: Budget) -> Document:
    """One document of a text; problems know their line."""
    try:
        return parse_document(entry.raw, "", budget)
    except DocumentError as error:
        raise DocumentError([entry.placed(problem) for problem in error.problems]) from None


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
    label = label_of(raw) or source or str(kind)[:SHOWN_MAX]
    if model is None:
        raise DocumentError([Problem(label, "kind", refusal(raw, KINDS))])
    plain = without_server_fields(raw)
    metadata = plain.get("metadata")
    unheeded: list[Unheeded] = []
    found = _check_keys(model, plain, "", unheeded)
    problems = [Problem(label, path, text) for path, text in islice(found, PROBLEMS_MAX)]
    if unheeded:
        plain = _without(plain, {(id(each.holder), each.key) for each in unheeded})
    namespace = metadata.get("namespace") if isinstance(metadata, Mapping) else None
    if isinstance(namespace, str) and namespace != HOME:
        plain = qualified(plain, namespace)
    budget = budget or Budget()
    before = budget.left
    document: Document | None = None
    try:
        document = model.model_validate(plain, context=budget)
    except ValidationError as error:
        problems.extend(islice(_from_pydantic(label, "", error), PROBLEMS_MAX))
    if document is not None:
        document._programs = before - budget.left
        document._unheeded = tuple((each.path, each.why) for each in unheeded)
        problems.extend(islice(_read_annotations(document), PROBLEMS_MAX))
    if problems or document is None:
        raise DocumentError(problems)
    return document


def label_of(raw: object) -> str:
    """`Kind/name` of whatever may be a document; "" for what has no name."""
    if not isinstance(raw, Mapping):
        return ""
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    kind, name, namespace = raw.get("kind"), metadata.get("name"), metadata.get("namespace")
    words = [kind, name] if namespace in (None, HOME) else [kind, namespace, name]
    plain = all(isinstance(word, str) and word.isprintable() and 0 < len(word) <= NAME_MAX for word in words)
    return "/".join(map(str, words)) if plain else ""


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


class Unheeded(NamedTuple):
    """A field that is taken and changes nothing: in which mapping it stands, and why."""

    holder: object
    key: str
    path: str
    why: str


def _check_keys(
    model: type[BaseModel], raw: object, path: str, unheeded: list[Unheeded]
) -> Iterator[tuple[str, str]]:
    """(path, problem) of every key that the model does not have, however deep."""
    if not isinstance(raw, Mapping):
        return
    refused: Mapping[str, str] = model.not_honoured if issubclass(model, Base) else {}
    for key, value in raw.items():
        here = f"{path}.{str(key)[:SHOWN_MAX]}".removeprefix(".")
        inside = models_in_fields(model).get(str(key))
        if inside is None:
            if key in refused:
                yield here, f"is known to Istio and not honoured here; {refused[key]}"
            elif issubclass(model, Base) and key in model.no_effect:
                unheeded.append(Unheeded(raw, key, here, model.no_effect[key]))
            else:
                fields = list(models_in_fields(model))
                known = [*fields, *refused]
                yield (
                    here,
                    f"is unknown{_near(str(key), known) or '; known are ' + ', '.join(fields)}",
                )
            continue
        for inner, wraps in inside:
            yield from _check_below(inner, wraps, value, here, unheeded)


def _check_below(
    inner: type[BaseModel], wraps: str, value: object, here: str, unheeded: list[Unheeded]
) -> Iterator[tuple[str, str]]:
    if wraps == "list" and isinstance(value, Sequence) and not isinstance(value, str):
        for index, item in enumerate(value):
            yield from _check_keys(inner, item, f"{here}[{index}]", unheeded)
    elif wraps == "dict" and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _check_keys(inner, item, f"{here}.{str(key)[:SHOWN_MAX]}", unheeded)
    elif not wraps:
        yield from _check_keys(inner, value, here, unheeded)


def _without(raw: Any, gone: Collection[tuple[int, str]]) -> Any:
    """A copy without some keys, each by its mapping's id; what has none of them in it is shared."""
    if isinstance(raw, Mapping):
        return {key: _without(item, gone) for key, item in raw.items() if (id(raw), key) not in gone}
    return [_without(item, gone) for item in raw] if isinstance(raw, list) else raw


@functools.cache
def models_in_fields(model: type[BaseModel]) -> dict[str, tuple[tuple[type[BaseModel], str], ...]]:
    """Field, by its name in documents -> (model, 'list' | 'dict' | '') of each model that it holds."""
    return {
        field.alias or name: tuple(_models_in(field.annotation)) for name, field in model.model_fields.items()
    }


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
        text = entry["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
        if entry["type"] in _REMEDIES:
            text = _REMEDIES[entry["type"]]
        elif isinstance(entry["input"], str | int | float) and _shown(entry["input"]) not in text:
            text = f"{text[0].lower()}{text[1:]}, got {_shown(entry['input'])}"
        yield Problem(label, path, text)


_REMEDIES: Final = {
    "missing": "is missing; write it",
    "list_type": "must be a list, like [a, b]",
    "dict_type": "must be a mapping, like {key: value}",
    "model_type": "must be a mapping, like {key: value}",
    "model_attributes_type": "must be a mapping, like {key: value}",
    "string_type": "must be text; write it in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}


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
            note = read_annotation(kind, base, text)
            document._notes[name] = qualified_note(note, document.metadata.namespace)
        except ValidationError as error:
            model = model_of(kind, base)
            if model is not None:
                raw = read_note(kind, base, text)
                yield from (
                    Problem(document.key, f"{path}.{p}", t) for p, t in _check_keys(model, raw, "", [])
                )
            yield from _from_pydantic(document.key, path, error)
        except ValueError as error:
            yield Problem(document.key, path, str(error))
