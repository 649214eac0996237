"""The models held to Istio's own schemas: each field that those know is honoured, taken with a warning, or
refused by name with a reason; none is unknown.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sidecar.routing.documents import KINDS, models_in_fields, parse_document
from sidecar.routing.errors import DocumentError
from sidecar.routing.fields import Base
from sidecar.routing.foreign import ISTIO, SKIP, refusal

FIELDS: dict[str, list[str]] = json.loads(
    (Path(__file__).parents[2] / "data" / "istio_fields.json").read_text(encoding="utf-8")
)
TAKEN = sorted(set(FIELDS) & set(KINDS))
OF_OLD = {"websocketUpgrade"}
"""Fields of versions before."""


def fate(model: type[BaseModel], path: str) -> str:
    """What becomes of a field: "honoured", or why it changes nothing or is refused; "" = it is unknown."""
    for step in path.replace("[]", "").replace("{}", "").split("."):
        assert issubclass(model, Base)
        if step in model.no_effect:
            return model.no_effect[step]
        if step in model.not_honoured:
            return model.not_honoured[step]
        if step not in models_in_fields(model):
            return ""
        inside = models_in_fields(model)[step]
        if not inside:
            return "honoured"  # what stands below is the value itself
        ((model, _),) = inside
    return "honoured"


@pytest.mark.parametrize("kind", TAKEN)
def test_no_field_that_istio_knows_is_unknown(kind: str) -> None:
    """Of every version of the kind."""
    unknown = [path for path in FIELDS[kind] if not fate(KINDS[kind], path)]
    assert unknown == []


def models_below(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[Base]]:
    if model in seen or not issubclass(model, Base):
        return
    seen.add(model)
    yield model
    for inside in models_in_fields(model).values():
        for inner, _ in inside:
            yield from models_below(inner, seen)


@pytest.mark.parametrize("kind", TAKEN)
def test_what_is_refused_or_changes_nothing_is_istios(kind: str) -> None:
    """By a name that it knows, so that no list keeps what was honoured since or never was; with a reason."""
    names = {step.strip("[]{}") for path in FIELDS[kind] for step in path.split(".")}
    for model in models_below(KINDS[kind], set()):
        for name, reason in (*model.not_honoured.items(), *model.no_effect.items()):
            assert name in names | OF_OLD, f"{model.__name__}.{name}"
            assert name not in models_in_fields(model), f"{model.__name__}.{name}"
            assert reason.strip(), f"{model.__name__}.{name}"


def document(kind: str, path: str) -> dict[str, Any]:
    """A document that has one field, and nothing that it would need besides."""
    value: Any = "x"
    for step in reversed(path.split(".")):
        value = [value] if step.endswith("[]") else {"key": value} if step.endswith("{}") else value
        value = {step.strip("[]{}"): value}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "a"},
        **value,
    }


def problems_of(raw: dict[str, Any]) -> list[str]:
    try:
        parse_document(raw)
    except DocumentError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize("kind", TAKEN)
def test_what_is_refused_says_so_at_its_place(kind: str) -> None:
    """The document itself, not only the model; never "is unknown"."""
    for path in FIELDS[kind]:
        reason = fate(KINDS[kind], path)
        problems = problems_of(document(kind, path))
        assert not [problem for problem in problems if "is unknown" in problem], path
        refused = [problem for problem in problems if "is known to Istio and not honoured here; " in problem]
        assert all(reason in problem for problem in refused), path


@pytest.mark.parametrize("kind", sorted(set(FIELDS) - set(KINDS)))
def test_every_other_kind_of_istios_is_refused_with_a_reason(kind: str) -> None:
    """And with the way to leave it out."""
    words = refusal({"apiVersion": "networking.istio.io/v1", "kind": kind}, KINDS)
    assert ISTIO[kind] in words
    assert SKIP in words
