"""`make images`: asks the registries which digest each image's tag has now, and writes it down.

    python -m mesh.export.renew          in the project's folder; the Docker engine asks, so it has to run

Writes images.lock and the Dockerfile's base; `mesh export compose` then takes them over into compose.yaml.
All or nothing: when one registry does not answer, every file stays as it was.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import docker
import docker.errors
import requests.exceptions

from mesh import console
from mesh.errors import MeshError
from mesh.export import images

# The line of the Dockerfile that names what it is built on.
BASE = re.compile(r"^ARG PYTHON=\S+$", re.MULTILINE)
TIMEOUT_S = 60


def renew(digest_of: Callable[[str], str], lock: Path, dockerfile: Path) -> list[str]:
    """Ask for every image and write both files; returns one line for each image.

    Raises:
        MeshError: when one cannot be had; then nothing is written.
    """
    before = images.read_lock(lock.read_text(encoding="utf-8"), str(lock))
    now = {image: digest_of(image) for image in images.THEIRS}
    text = dockerfile.read_text(encoding="utf-8")
    if not BASE.search(text):
        raise MeshError(f"{dockerfile}: has no line ARG PYTHON=IMAGE, which names what it is built on")
    lock.write_text(images.lock_text(now), encoding="utf-8")
    base = f"ARG PYTHON={images.PYTHON}@{now[images.PYTHON]}"
    dockerfile.write_text(BASE.sub(base, text), encoding="utf-8")
    return [f"{image} {now[image]} {_news(before.get(image), now[image])}" for image in images.THEIRS]


def _news(before: str | None, now: str) -> str:
    if before is None:
        return "(new)"
    return "(as before)" if before == now else f"(was {before})"


def ask_registry(image: str) -> str:
    """A tag's digest, for all systems together: the Docker engine asks the image's registry."""
    try:
        client = docker.DockerClient.from_env(timeout=TIMEOUT_S)
        digest = str(client.images.get_registry_data(image).id)
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        words = " ".join(str(getattr(error, "explanation", None) or error).split())[:300]
        raise MeshError(f"{image}: its registry cannot be asked for the digest: {words}") from error
    if not images.DIGEST.fullmatch(digest):
        raise MeshError(f"{image}: its registry says {digest[:80]!r}, which is no digest")
    return digest


def main() -> int:
    """0, or 1 with one line."""
    try:
        for line in renew(ask_registry, images.LOCK, Path("Dockerfile")):
            console.print_line(line)
    except (MeshError, OSError) as error:
        console.print_error(f"make images: {error}; nothing was changed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
