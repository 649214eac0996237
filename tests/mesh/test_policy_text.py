"""How policies look on a terminal."""

from typing import Any

import pytest
import yaml

from mesh.policy_text import age, as_yaml, behind, change_line, difference, fault_table, policy_table, taken

DOCUMENT = {"kind": "VirtualService", "metadata": {"name": "a"}, "spec": {"hosts": ["a", "b"], "x": "é"}}


def row(**other: Any) -> dict[str, Any]:
    found = {
        "kind": "VirtualService",
        "name": "a",
        "hosts": ["a", "b"],
        "at": 40.0,
        "problem": "",
        "document": {},
    }
    return found | other


def test_the_table_of_policies() -> None:
    """Three blanks between columns; what sidecars refuse says so; who wrote by hand has no age."""
    rows = [row(), row(kind="Fault", name="longer-name", hosts=[], at=None, problem="is no JSON object")]
    assert policy_table(rows, 100.0) == [
        "KIND             NAME          HOSTS   AGE",
        "VirtualService   a             a,b     1m",
        "Fault            longer-name   -       -   is no JSON object",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (-3.0, "0s"), (0.4, "0s"), (59.9, "59s"), (60.0, "1m"), (7300.0, "2h"), (90_000.0, "1d")],
)
def test_an_age_is_one_number(seconds: float | None, words: str) -> None:
    """As kubectl shows it, in the largest unit that it fills."""
    assert age(seconds) == words


def test_the_table_of_faults() -> None:
    """A fault of one replica is its replica's."""
    common = {"host": "orders", "what": "hang", "which": "all", "ends_in_s": 29.6}
    rows = [{"name": "orders", "instance": None, **common}, {"name": "x", "instance": "orders-1", **common}]
    rows[1]["ends_in_s"] = None
    assert fault_table(rows) == [
        "NAME     TARGET     WHAT   REQUESTS   LEFT",
        "orders   orders     hang   all        30s",
        "x        orders-1   hang   all        -",
    ]


def test_who_acts_on_a_version_and_who_does_not() -> None:
    """One line, and one for each who is behind."""
    sidecars = {
        "version": "0123456789ab",
        "total": 4,
        "current": 1,
        "paused": ["d-1"],
        "behind": [
            {"instance": "a-1", "version": "ba9876543210", "problem": "is wrong"},
            {"instance": "b-1", "version": "ba9876543210", "problem": ""},
            {"instance": "c-1", "version": "", "problem": "does not answer"},
        ],
    }
    assert taken(sidecars) == "1 of 4 sidecars at version 0123456789ab (d-1 paused: when resumed)"
    assert behind(sidecars) == [
        "a-1: at version ba9876543210: is wrong",
        "b-1: at version ba9876543210",
        "c-1: at no version: does not answer",
    ]


def test_a_change_is_a_line_and_a_difference() -> None:
    """Of the YAML; nothing when nothing is different."""
    change = {"kind": "VirtualService", "name": "a", "change": "configured", "before": DOCUMENT}
    change["after"] = {**DOCUMENT, "spec": {"hosts": ["a"], "x": "é"}}
    assert change_line(change) == "virtualservice/a configured"
    assert difference(change) == [
        "--- VirtualService/a (in force)",
        "+++ VirtualService/a (after)",
        "@@ -4,5 +4,4 @@",
        " spec:",
        "   hosts:",
        "   - a",
        "-  - b",
        "   x: é",
    ]
    assert difference({**change, "after": DOCUMENT}) == []
    assert len(difference({**change, "before": None})) == 3 + 7


def test_yaml_is_what_was_written() -> None:
    """Keys in their order, letters as they are."""
    text = as_yaml(DOCUMENT)
    assert text.startswith("kind: VirtualService\nmetadata:\n")
    assert "é" in text
    assert yaml.safe_load(text) == DOCUMENT
