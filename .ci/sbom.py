"""`make sbom`: what the image holds of other projects, as CycloneDX: `python .ci/sbom.py > sbom.cdx.json`.

Names, versions and hashes are those of requirements.lock; licences are what the installed packages say of
themselves, so that a package which is for another system has none here. The same lock gives the same file.
"""

import importlib.metadata
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]

_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^ ;\\]+)")
# A licence's name; some packages put its whole text there.
MAX_NAME = 80


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of the lock, and who wants it: packages, or this project."""

    name: str
    version: str
    hashes: tuple[str, ...]
    wanted_by: tuple[str, ...]


def pins(lock: str) -> Iterator[Pin]:
    """The packages of a lock as `uv pip compile --generate-hashes` writes it."""
    for block in re.split(r"\n(?=[A-Za-z0-9])", lock):
        pin = _PIN.match(block)
        if pin is not None:
            wanted_by = re.findall(r"^    #(?: via)?\s+([A-Za-z0-9._-]+)", block, re.MULTILINE)
            hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", block)
            yield Pin(pin[1], pin[2], tuple(hashes), tuple(each for each in wanted_by if each != "via"))


def bill(lock: str, project: Mapping[str, str]) -> str:
    """The document's text; `project` has a name, a version and a licence."""
    root = Component(
        name=project["name"],
        version=project["version"],
        type=ComponentType.APPLICATION,
        bom_ref=project["name"],
        licenses=[LicenseFactory().make_from_string(project["license"])],
    )
    found = {pin.name: pin for pin in pins(lock)}
    components = {name: _component(pin) for name, pin in found.items()}
    bom = Bom(components=components.values())
    bom.metadata.component = root
    known = {root.name: root, **components}
    for name, wanted in known.items():
        bom.register_dependency(
            wanted, [components[pin.name] for pin in found.values() if name in pin.wanted_by]
        )
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    # neither a number of its own nor the time of day: the same lock, the same text
    del document["serialNumber"], document["metadata"]["timestamp"]
    return json.dumps(document, indent=2) + "\n"


def _component(pin: Pin) -> Component:
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(f"https://pypi.org/project/{pin.name}/{pin.version}/#files"),
        comment="one of these files is installed, by system",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in pin.hashes],
    )
    return Component(
        name=pin.name,
        version=pin.version,
        bom_ref=f"{pin.name}=={pin.version}",
        purl=PackageURL("pypi", None, pin.name, pin.version),
        licenses=_licences(pin.name),
        external_references=[files],
    )


def _licences(name: str) -> Iterable[License]:
    try:
        about = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return []
    make = LicenseFactory()
    named = next((about[key].strip() for key in ("License-Expression", "License") if key in about), "")
    if named and "\n" not in named and len(named) <= MAX_NAME:
        return [make.make_from_string(named)]
    classes = [each for each in about.get_all("Classifier") or () if each.startswith("License :: ")]
    return [make.make_with_name(each.rpartition(" :: ")[2]) for each in classes]


if __name__ == "__main__":
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sys.stdout.write(bill((ROOT / "requirements.lock").read_text(encoding="utf-8"), about))
