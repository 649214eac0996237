"""Policy documents, changed in the ways in which somebody would try them: a value in the wrong place, too
large, too deep, of the wrong kind, or text that ends a line. Made from a seed, so that what was found can be
found again.
"""

import copy
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sidecar.routing.plain import read_yaml

CORPUS = [document for document in read_yaml(Path(__file__).with_name("corpus.yaml").read_text()) if document]

NUMBERS = [
    0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 1e308, -0.0, 1e-320,
    math.inf, -math.inf, math.nan, True, False,
]  # fmt: skip
WORDS = [
    "", " ", "\r\nx: y", "\n", "\0", "a b", "\ud800", "\udfff", "é", "日本", "\u2028", "\x7f", "\x85",
    "\x1b[31m",
    "%0d%0a", "..", "*", "~", "|", "/", "?", "a" * 300, "/" * 10_000, "inf", "nan", "1e400", "9" * 400,
    "9" * 5000 + "s", "1" * 40_000, "Infinity", "true", "null", "-1s", "1e9h", "²", "٣s", "{{", "[" * 1000,
    "&a [*a]", "{a: &a {<<: *a}}", "mesh", "v2", "orders", "orders|v1", "GET", "host", "transfer-encoding",
    "[::1]:80", "a:99999", "a@b",
]  # fmt: skip
EXPRESSIONS = [
    "(", "[", "*", "a**", "(?u)x", "(?=a)", "(?!)", "\\Z", "\\z", "\\C", "\\8", "(?P<n", "[[:alpha:]]+",
    "\\pN",
    "\\pX", "([a-z0-9]+[._-]?)+@example", "(a+)+b", "(a|a)*b", "(.*)*", "a{1001}", "(a{100}){100}", "\\1",
    "\\",
    "(?:\\pL{60})", "(?:\\pL{999})", "x" * 1024, "x" * 1025, "(" * 500, "\xff", "é+", "(|a)*", "^*", "a\0b",
    "(?s).*", "(?i)É",
]  # fmt: skip
KEYS = [
    "",
    " ",
    "a\r\nb",
    "\0",
    "\ud800",
    "spec",
    "metadata",
    "x" * 300,
    "é",
    "host",
    "__class__",
    "1",
    "[key]",
]

Place = tuple[Any, Any]  # container, key


def mutated(rng: random.Random) -> tuple[int, Any]:
    """One document of the corpus, by its number, changed in one to three places."""
    number = rng.randrange(len(CORPUS))
    document = copy.deepcopy(CORPUS[number])
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        document = _change(document, rng)
    return number, document


def _change(document: Any, rng: random.Random) -> Any:
    places = list(_places(document))
    if not places or rng.random() < 0.01:
        return _value(rng)
    container, key = rng.choice(places)
    draw = rng.random()
    if draw < 0.08:
        del container[key]
    elif draw < 0.16 and isinstance(container, dict):
        container[rng.choice(KEYS)] = container.pop(key)
    elif draw < 0.2:
        container[key] = _deep(container[key], rng)
    elif draw < 0.25 and isinstance(container, list):
        container.extend([container[key]] * rng.choice((1, 3, 300)))
    elif draw < 0.45:
        container[key] = copy.deepcopy(rng.choice(rng.choice(CORPUS_PLACES)))
    elif isinstance(container[key], str) and draw < 0.75:
        container[key] = _text(container[key], rng)
    else:
        container[key] = _value(rng)
    return document


def _places(value: Any, depth: int = 0) -> Iterator[Place]:
    if depth > 20:  # it was made deeper already
        return
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key], depth + 1)


def _text(text: str, rng: random.Random) -> str:
    at = rng.randint(0, len(text))
    return text[:at] + rng.choice((rng.choice(WORDS), rng.choice(EXPRESSIONS))) + text[at:]


def _value(rng: random.Random) -> Any:
    kind = rng.randrange(7)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1:
        return rng.choice(WORDS)
    if kind == 2:
        return rng.choice(EXPRESSIONS)
    if kind == 3:
        return {rng.choice(KEYS): _value(rng)}
    if kind == 4:
        return [_value(rng) for _ in range(rng.choice((0, 1, 2)))]
    return rng.choice((None, {}, [], b"bytes", (1, 2), {1: 2}, {None: "x"}, object))


def _deep(value: Any, rng: random.Random) -> Any:
    for _ in range(rng.choice((5, 45, 500, 5000))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


CORPUS_PLACES = [[container[key] for container, key in _places(document)] for document in CORPUS]


def mutated_text(rng: random.Random) -> str:
    """A document of the corpus as JSON, which is YAML too, with its text changed."""
    text = json.dumps(rng.choice(CORPUS), ensure_ascii=rng.random() < 0.5)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(text) + 1)
        draw = rng.random()
        if draw < 0.3:
            text = text[:at] + text[at + rng.choice((1, 1, 10, 100)) :]
        elif draw < 0.6:
            piece = rng.choice(
                ('"', "{", "}", "[", "]", ",", ":", "\\", "\\ud800", "\\u0000", "\n", "\t", "\0", "1e999")
            )
            text = text[:at] + piece + text[at:]
        elif draw < 0.7:
            text = (
                text[:at]
                + rng.choice(("NaN", "-Infinity", "9" * 5000, "1e400", "0x1f", "!!binary aGk=", "&a ", "*a"))
                + text[at:]
            )
        elif draw < 0.75:
            text = text[:at] + rng.choice(("[", '{"a":')) * rng.choice((10, 100, 20_000)) + text[at:]
        else:
            text = text[:at] + rng.choice(WORDS) + text[at:]
    return text
