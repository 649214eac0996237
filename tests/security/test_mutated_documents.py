"""No document gets further than a refusal, and none that is taken fails when it is used."""

import random
from contextlib import suppress

import pytest
from pydantic import BaseModel

from sidecar.routing.annotations import KNOWN
from sidecar.routing.compile import compile_documents
from sidecar.routing.documents import KINDS, Document, parse_document, parse_text
from sidecar.routing.errors import DocumentError
from sidecar.routing.lint import lint
from sidecar.routing.plain import NotPlain, read_json
from tests.security.mutate import CORPUS, mutated, mutated_text
from tests.security.use import use

PARSED = [parse_document(document) for document in CORPUS]
SHARES, OBJECTS, TEXTS = 100, 600, 400  # 100,000 documents, in shares for several cores


def taken(documents: list[Document]) -> None:
    """As the control API checks a set, then as a sidecar acts on it: what the one takes the other must."""
    compile_documents(documents, None)
    lint(documents, {"orders": 2})
    try:
        use(documents)
    except DocumentError as error:
        raise AssertionError(f"a sidecar refuses what the check takes: {error}") from error


def one_line(error: DocumentError) -> None:
    for problem in error.problems:
        assert str(problem).isprintable(), str(problem)
        assert len(str(problem)) < 2000


def test_the_corpus_is_right_and_whole() -> None:
    """Each field of each kind stands in it, so that each is changed."""
    taken([parse_document(document) for document in CORPUS])
    text = repr(CORPUS)
    models = [*KINDS.values(), *(note for kind in KNOWN.values() for note in kind.values())]
    seen: set[type[BaseModel]] = set()
    while models:
        model = models.pop()
        if isinstance(model, type) and issubclass(model, BaseModel) and model not in seen:
            seen.add(model)
            for name, field in model.model_fields.items():
                assert (field.alias or name) in text, f"{model.__name__}.{name}"
                models += _models_in(field.annotation)
    assert len(seen) > 40


def _models_in(annotation: object) -> list[type]:
    arguments = getattr(annotation, "__args__", ())
    found = [annotation] if isinstance(annotation, type) else []
    return found + [inner for argument in arguments for inner in _models_in(argument)]


@pytest.mark.parametrize("seed", range(SHARES))
def test_no_document_gets_further_than_a_refusal(seed: int) -> None:
    rng = random.Random(seed)
    refused = 0
    for _ in range(OBJECTS):
        number, document = mutated(rng)
        try:
            taken([*PARSED[:number], parse_document(document, "document"), *PARSED[number + 1 :]])
        except DocumentError as error:
            one_line(error)
            refused += 1
    assert OBJECTS // 4 < refused < OBJECTS * 0.98


@pytest.mark.parametrize("seed", range(SHARES))
def test_no_text_gets_further_than_a_refusal(seed: int) -> None:
    """The same as JSON of the registry, and as a file of YAML."""
    rng = random.Random(seed)
    for _ in range(TEXTS // 2):
        text = mutated_text(rng)
        with suppress(NotPlain, DocumentError):
            parse_document(read_json(text.encode("utf-8", "surrogatepass")), "document")
        try:
            parse_text(text, "file.yaml")
        except DocumentError as error:
            one_line(error)
