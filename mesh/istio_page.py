"""docs/istio.md: what becomes of each kind and field of Istio's documents, made from the models.

    python -m mesh.istio_page docs/istio.md        (make docs)

Pure but for the last lines. A test holds the page to the models.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from sidecar.routing.annotations import KNOWN, model_of
from sidecar.routing.documents import KINDS, models_in_fields
from sidecar.routing.fields import Base, Metadata
from sidecar.routing.foreign import ISTIO
from sidecar.routing.kubernetes import LISTS, SERVER_KEEPS

Row = tuple[str, str, str]

HONOURED: Final = "honoured"
NO_EFFECT: Final = "no effect here"
REFUSED: Final = "refused"
ENUM_MAX: Final = 12

INTRO: Final = """\
# Istio's documents

What becomes of each kind and field. The page is made from the models that read the documents (`make docs`),
and a test holds it to them; another holds the models to Istio's own schemas, so that no field of Istio's is
unknown.

- **honoured**: acts as in Istio.
- **no effect here**: taken, changes nothing, and `mesh apply` and `mesh validate` warn of it.
- **refused**: the document is refused by file, line and field, with the reason that stands here. A set with a
  refused document is refused whole; exit code 2.

`mesh validate FOLDER` says what would become of each document, and `n taken, m with warnings, k refused`.

## Several documents

- **Files** hold any number of documents. A `List`, as `kubectl get -o yaml` prints it, is its items, and what
  Kubernetes' server adds to a document is left out where it is read.
- **Order of arrival does not matter.** A route to a host or a subset that is not there (yet) is a warning,
  and its requests are answered 503 (flag NC) until it is. Documents may be deleted in any order.
- **Order of creation does**, as in Istio: `metadata.creationTimestamp`, in seconds; of one second, the name.
  A document without one gets the time when it is first applied, one from a cluster keeps its own.
- **DestinationRules of one host** are one: the subsets of all (of two of one name the older), and the
  `trafficPolicy` of the oldest that has one. A host may be a pattern (`*.local`), which holds for services
  that no rule names.
- **VirtualServices of one host**: at the sidecars the oldest alone acts; at the ingress those that name a
  gateway are put together in order, and rules that take every request come last. A host may be a
  pattern here, too, of the full names (`*.default.svc.cluster.local`).
- **ServiceEntries of one host** have the ports of all; at a port of several the endpoints add up where they
  are written (STATIC), else the oldest alone acts. `sidecar/boundary.py` has what is never reached through
  them: the registry, the mesh's own listeners, and this machine unless a document writes its address.
- **Namespaces**: the mesh's services and sidecars are in `default`. In a document of another namespace a
  short name is that namespace's: `orders` in `prod` is `orders.prod.svc.cluster.local`, the registry's
  service `orders.prod`. A caller takes DestinationRules of `default`, else of the service's namespace, else
  of `istio-system`. `exportTo` decides whether the sidecars see a document. For documents of a cluster that
  has these services in `shop`, `mesh apply --home shop` takes that namespace for the mesh's own.
- **Other kinds** in a folder are refused, all at once, or listed and left out with `--skip-unknown`.

## Kinds

| kind | here | |
| --- | --- | --- |
"""


ANNOTATIONS: Final = """\
## Annotations

What Istio's fields cannot say, as YAML in the value of an annotation.

| annotation | of | |
| --- | --- | --- |
"""


def page() -> str:
    """The whole text."""
    kinds: dict[str, type[BaseModel]] = {**KINDS}
    lists = ", ".join(f"`{each}`" for each in sorted(LISTS))
    lines = [
        INTRO.rstrip("\n"),
        *(
            f"| [`{kind}`](#{kinds[kind].__name__.lower()}) | {HONOURED} | {_about(kinds[kind])} |"
            for kind in kinds
        ),
        f"| {lists} | {HONOURED} | each item is a document |",
        *(f"| `{kind}` | {REFUSED} | {why} |" for kind, why in ISTIO.items() if kind not in kinds),
    ]
    seen: dict[type[BaseModel], None] = {}
    for model in kinds.values():
        _collect(model, seen)
    for model in seen:
        lines += ["", *_section(model)]
    notes: dict[type[BaseModel], None] = {}
    lines += ["", *ANNOTATIONS.splitlines(), *_annotations(notes)]
    for model in (each for each in notes if each not in seen):
        lines += ["", *_section(model)]
    return "\n".join(lines) + "\n"


def _annotations(notes: dict[type[BaseModel], None]) -> Iterator[str]:
    """A row for each; the models of their values are put into `notes`."""
    for kind, names in KNOWN.items():
        for name in names:
            note = model_of(kind, name)
            if note is not None:
                _collect(note, notes)
            yield f"| `{name}` | {kind} | {'one value' if note is None else _link(note)} |"


def rows_of(model: type[BaseModel]) -> Iterator[Row]:
    """(field, what becomes of it, words) of one model, in its order."""
    schema = model.model_json_schema()["properties"] if model.model_fields else {}
    for key, field in model.model_fields.items():
        name = field.alias or key
        inside = models_in_fields(model)[name]
        shape = {"list": "a list of ", "dict": "by name: "}.get(inside[0][1], "") if inside else ""
        words = shape + " or ".join(_link(inner) for inner, _ in inside) if inside else _type(schema[name])
        words += "; must be given" if field.is_required() else ""
        yield name, HONOURED, words + (f"; {field.description}" if field.description else "")
    if model is Metadata or "metadata" in model.model_fields:
        part = "metadata" if model is Metadata else ""
        yield from ((name, NO_EFFECT, "Kubernetes' server's own; no warning") for name in SERVER_KEEPS[part])
    if issubclass(model, Base):
        yield from ((name, NO_EFFECT, why) for name, why in model.no_effect.items())
        yield from ((name, REFUSED, why) for name, why in model.not_honoured.items())


def _section(model: type[BaseModel]) -> list[str]:
    lines = [f"## {model.__name__}", "", _about(model), "", "| field | here | |", "| --- | --- | --- |"]
    return lines + [f"| `{name}` | {fate} | {_cell(words)} |" for name, fate, words in rows_of(model)]


def _collect(model: type[BaseModel], seen: dict[type[BaseModel], None]) -> None:
    if model in seen:
        return
    seen[model] = None
    for inside in models_in_fields(model).values():
        for inner, _ in inside:
            _collect(inner, seen)


def _type(schema: Mapping[str, Any]) -> str:
    """What may stand there, in words."""
    if "anyOf" in schema:
        found = [_type(each) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(found))
    if "const" in schema:
        return f"only `{_word(schema['const'])}`"
    if "enum" in schema:
        words = [f"`{_word(each)}`" for each in schema["enum"]][:ENUM_MAX]
        return "one of " + ", ".join(words)
    kind = schema.get("type")
    if kind == "array":
        return f"a list of {_type(schema['items'])}" if schema.get("items") else "a list"
    if kind == "object":
        values = [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]
        return "by name: " + _type(next(filter(None, values), {}))
    if schema.get("examples"):
        return f"like `{schema['examples'][0]}`"
    bounds = [schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")]
    if kind in ("integer", "number") and None not in bounds:
        return "{:,} to {:,}".format(*(int(bound) if bound == int(bound) else bound for bound in bounds))
    names = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
    return names.get(str(kind), "a value")


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _about(model: type[BaseModel]) -> str:
    return _cell(re.sub(r"\s+", " ", model.__doc__ or "").strip())


def _link(model: type[BaseModel]) -> str:
    return f"[{model.__name__}](#{model.__name__.lower()})"


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
