"""The images of other projects: each by its tag, and by the digest that images.lock has for it.

A tag may be moved to other content, a digest cannot. `make images` (mesh/export/renew.py) asks the registries
and writes the digests down; an image that the lock does not have is taken by its tag.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from mesh.errors import UsageError

CONSUL = "hashicorp/consul:1.22"
PROMETHEUS = "prom/prometheus:v3.7.3"
# the newest patch of the line that grafana-foundation-sdk's types are of (pyproject.toml)
GRAFANA = "grafana/grafana:11.6.16"
JAEGER = "jaegertracing/jaeger:2.13.0"
# what our own is built on (Dockerfile)
PYTHON = "python:3.13-slim"
THEIRS = (CONSUL, PROMETHEUS, GRAFANA, JAEGER, PYTHON)

# ours, built by `docker compose up` from the Dockerfile beside compose.yaml
OURS = "local-mesh"

LOCK = Path(__file__).with_name("images.lock")
HEADER = "# The digest of each image's tag, as its registry said; `make images` asks again.\n"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def read_lock(text: str, source: str) -> dict[str, str]:
    """Image -> digest, of lines `NAME:TAG DIGEST`.

    Raises:
        UsageError: with the line that is none.
    """
    digests = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not DIGEST.fullmatch(words[1]):
            raise UsageError(f"{source}:{number}: is not NAME:TAG sha256:…; make images writes it anew")
        digests[words[0]] = words[1]
    return digests


def lock_text(digests: Mapping[str, str]) -> str:
    """What `read_lock` reads."""
    return HEADER + "".join(f"{image} {digests[image]}\n" for image in sorted(digests))


DIGESTS = read_lock(LOCK.read_text(encoding="utf-8"), str(LOCK))


def pinned(image: str) -> str:
    """The image as compose.yaml and the Dockerfile name it."""
    digest = DIGESTS.get(image)
    return f"{image}@{digest}" if digest else image
