"""Where the pages of an external Jaeger are, as the environment says; a link of the page leads there."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from mesh.errors import UsageError

VARIABLE = "MESH_JAEGER"


def jaeger_url(environ: Mapping[str, str]) -> str | None:
    """MESH_JAEGER as a base URL, None when it is not set; raises UsageError."""
    text = environ.get(VARIABLE, "").rstrip("/")
    if not text:
        return None
    parts = urlsplit(text)
    # it becomes a link on a page: nothing but http may stand there
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{VARIABLE}: {text[:80]!r} is not a URL such as http://127.0.0.1:16686")
    return text
