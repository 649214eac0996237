"""The boards: what is committed is what the code makes, and every panel says what it shows."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from grafana.boards.__main__ import BOARDS, FOLDER, text


def panels(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in document["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels") or ()
        else:
            yield panel


@pytest.mark.parametrize("name", BOARDS)
def test_the_committed_board_is_what_the_code_makes(name: str) -> None:
    """Else: python -m grafana.boards."""
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == text(name)


def test_there_is_no_other_board() -> None:
    """A renamed board leaves no file behind."""
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_has_unit_description_empty_state_and_queries(name: str) -> None:
    """What a person needs to read it, also when it is empty; titles stand once on a board."""
    document = json.loads(text(name))
    found = list(panels(document))
    assert len(found) >= 8
    assert len({panel["title"] for panel in found}) == len(found)
    for panel in found:
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"], panel["title"]
        assert defaults["noValue"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
        assert [target["expr"] for target in panel["targets"]], panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_faults_are_marked_on_every_board(name: str) -> None:
    """What was done, and what the breakers made of it, as vertical lines with words."""
    marks = json.loads(text(name))["annotations"]["list"]
    assert {mark["name"] for mark in marks} == {"Actions", "Breakers opened"}
    assert all(mark["expr"] and mark["titleFormat"] for mark in marks)
