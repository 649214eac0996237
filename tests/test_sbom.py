"""`make sbom`: CycloneDX by its schema, with name, version, files and licence of every locked package."""

import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def bom() -> dict[str, Any]:
    made = subprocess.run(
        [sys.executable, ROOT / ".ci" / "sbom.py"], capture_output=True, text=True, check=True, cwd="/"
    )
    document: dict[str, Any] = json.loads(made.stdout)
    return document


def schema(address: str) -> Any:
    """The library's copy of one of CycloneDX's schemas; they name each other by address."""
    return json.loads(files("cyclonedx.schema._res").joinpath(address.rpartition("/")[2]).read_text())


def test_it_is_cyclonedx(bom: dict[str, Any]) -> None:
    """By the schema, which a component without a name would break."""
    validator = jsonschema_rs.validator_for(schema("bom-1.6.SNAPSHOT.schema.json"), retriever=schema)
    validator.validate(bom)
    assert not validator.is_valid(bom | {"components": [{"type": "library"}]})


def test_every_locked_package_is_in_it_with_its_files(bom: dict[str, Any]) -> None:
    """Also those for other systems; nothing else."""
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, re.MULTILINE))
    assert {each["name"]: each["version"] for each in bom["components"]} == locked
    assert len(locked) > 40
    hashes = []
    for each in bom["components"]:
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
        (distribution,) = each["externalReferences"]
        assert distribution["hashes"], each["name"]
        hashes += [one["content"] for one in distribution["hashes"]]
    assert sorted(hashes) == sorted(re.findall(r"--hash=sha256:(\w+)", LOCK))


def test_licences_and_who_wants_what(bom: dict[str, Any]) -> None:
    """A licence of all that is installed here; the dependencies reach every package from the project."""
    nameless = {each["name"] for each in bom["components"] if not each.get("licenses")}
    elsewhere = set(re.findall(r"^([a-z0-9-]+)==\S+ ; sys_platform == 'win32'", LOCK, re.MULTILINE))
    assert nameless <= elsewhere
    wants = {each["ref"]: each.get("dependsOn", []) for each in bom["dependencies"]}
    reached, left = set(), ["local-mesh"]
    while left:
        ref = left.pop()
        if ref not in reached:
            reached.add(ref)
            left += wants[ref]
    assert reached == {"local-mesh", *(each["bom-ref"] for each in bom["components"])}
