"""Where the control API of a mesh of containers is, and its token: for `mesh` on the host or in control.

In this order: MESH_CONTROL (and MESH_TOKEN) from the environment; the token file, inside the container
`control`; the running Compose project of the current folder, asked through Docker.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from mesh.tokens import kept_token

TOKEN_FILE = Path("/run/mesh/token")
IN_CONTAINER = "http://127.0.0.1:4200"
# Where it is published, for a browser on the host.
PUBLISHED_PORT = "MESH_PUBLISHED_PORT"
COMPOSE_FILES = ("compose.yaml", "compose.yml")


def locate(
    folder: Path, environ: Mapping[str, str] = os.environ, token_file: Path = TOKEN_FILE
) -> tuple[str, str | None] | None:
    """(URL, token) of the control API, or None when no mesh of containers is to be found from here."""
    url = environ.get("MESH_CONTROL")
    if url:
        return (url if "://" in url else f"http://{url}").rstrip("/"), environ.get("MESH_TOKEN") or None
    if token_file.is_file():
        return IN_CONTAINER, kept_token(token_file)
    if any((folder / name).is_file() for name in COMPOSE_FILES):
        return _of_project(folder)
    return None


def published(url: str, environ: Mapping[str, str] = os.environ) -> str:
    """The control API as a browser on the host reaches it."""
    port = environ.get(PUBLISHED_PORT)
    return f"http://127.0.0.1:{port}" if port and url == IN_CONTAINER else url


def _of_project(folder: Path) -> tuple[str, str] | None:
    # only now: importing Docker's SDK takes a tenth of a second, and most meshes are processes
    import docker
    import docker.errors
    import requests.exceptions

    wanted = ["mesh.role=control", f"com.docker.compose.project.working_dir={folder.resolve()}"]
    try:
        client = docker.DockerClient.from_env(timeout=5)
        for container in client.containers.list(filters={"label": wanted}):
            published = container.ports.get("4200/tcp")
            code, token = container.exec_run(["cat", str(TOKEN_FILE)])
            if published and code == 0:
                text = bytes(token).decode("utf-8", "replace")  # type: ignore[arg-type]  # bytes, as it is no stream
                return f"http://127.0.0.1:{published[0]['HostPort']}", text.strip()
    except (docker.errors.DockerException, requests.exceptions.RequestException):
        return None  # no Docker here: then no mesh of containers runs here either
    return None
