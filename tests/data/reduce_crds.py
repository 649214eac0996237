"""Istio's custom resource definitions -> the paths of their fields, which tests hold the models to.

    python -m tests.data.reduce_crds crd-all.gen.yaml > tests/data/istio_fields.json

`crd-all.gen.yaml` is `kubernetes/customresourcedefinitions.gen.yaml` of istio/api (Apache-2.0); what stands
here was made from b8f8791d. `[]` is an item of a list, `{}` a value of a mapping.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml


def fields_of(text: str) -> dict[str, list[str]]:
    """Kind -> the paths of all fields of its spec, in all of its versions."""
    found: dict[str, set[str]] = {}
    for definition in yaml.safe_load_all(text):
        if not definition:
            continue
        paths = found.setdefault(definition["spec"]["names"]["kind"], set())
        for version in definition["spec"]["versions"]:
            paths.update(_paths(version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec"))
    return {kind: sorted(paths) for kind, paths in sorted(found.items())}


def _paths(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, inner in (schema.get("properties") or {}).items():
        here = f"{path}.{name}"
        while True:
            if "items" in inner:
                here, inner = f"{here}[]", inner["items"]
            elif isinstance(inner.get("additionalProperties"), Mapping):
                here, inner = f"{here}{{}}", inner["additionalProperties"]
            else:
                break
        yield here
        yield from _paths(inner, here)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(fields_of(Path(sys.argv[1]).read_text(encoding="utf-8")), indent=0) + "\n")
