"""The tutorials: their documents are sound, their links lead somewhere."""

import re
from pathlib import Path

import pytest
import yaml

from services.script import load_topology
from sidecar.routing.compile import compile_documents
from sidecar.routing.compiled import Identity
from sidecar.routing.documents import parse_text

TUTORIALS = sorted((Path(__file__).parents[1] / "docs" / "tutorials").glob("*.md"))
TASKS = {
    "circuit-breaking",
    "fault-injection",
    "mirroring",
    "outbound-calls",
    "request-routing",
    "timeouts",
    "traffic-shifting",
}


def blocks(page: Path) -> list[str]:
    return re.findall(r"(?ms)^```yaml\n(.*?)^```$", page.read_text())


def test_each_task_has_a_page() -> None:
    assert {page.stem for page in TUTORIALS} == TASKS | {"README"}


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_documents_and_links(page: Path) -> None:
    """Every document compiles, is applied by its name, and speaks of services that bookinfo has."""
    bookinfo = {service.name for service in load_topology("bookinfo").services}
    text = page.read_text()
    for block in blocks(page):
        name = block.split("\n", 1)[0].removeprefix("# ")
        assert page.stem == "README" or f"-f {name}" in text
        compile_documents(parse_text(block), Identity())
        for document in yaml.safe_load_all(block):
            spec = document["spec"]
            for host in spec.get("hosts", [spec.get("host")]):
                assert host in bookinfo or "." in host
    for link in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (page.parent / link).exists(), link
