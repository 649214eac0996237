"""What several families of routes read from a request: its JSON, who sent it, how long to wait."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from mesh.errors import UsageError
from sidecar.routing.plain import NotPlain, read_json

# Who acts says so, for the journal; it is a label, not a proof.
CLIENT_HEADER = "X-Mesh-Client"
CLIENTS = frozenset({"page", "cli"})

MAX_DIGITS = 20

# Sidecars take a change in milliseconds; who is not there after this long has a reason.
DEFAULT_WAIT_S, MAX_WAIT_S = 5.0, 10.0


def client(request: web.Request) -> str:
    """page, cli or api."""
    name = request.headers.get(CLIENT_HEADER, "")
    return name if name in CLIENTS else "api"


async def json_body(request: web.Request) -> Any:
    """Whatever JSON it is, with nothing in it that cannot be passed on; raises UsageError."""
    try:
        return read_json(await request.read())
    except NotPlain as error:
        raise UsageError(f"the body is not JSON that can be used: {error}") from None


async def json_object(request: web.Request) -> dict[str, Any]:
    """Raises UsageError when the body is anything else."""
    body = await json_body(request)
    if not isinstance(body, dict):
        raise UsageError("the body is not a JSON object")
    return body


def wait_s(query: Mapping[str, str]) -> float:
    """`?wait=2`: seconds for the sidecars to take a change."""
    word = query.get("wait")
    if word is None:
        return DEFAULT_WAIT_S
    seconds = whole(word, int(MAX_WAIT_S))
    if seconds is None:
        raise UsageError(f"wait: write whole seconds from 0 to {MAX_WAIT_S:g}")
    return float(seconds)


def whole(word: str, most: int) -> int | None:
    """The number that these digits are, None if it is none from 0 to `most`."""
    # a number has as many digits as whoever asks likes; Python gives up beyond 4300
    if not word.isascii() or not word.isdigit() or len(word) > MAX_DIGITS or int(word) > most:
        return None
    return int(word)


def flag(query: Mapping[str, str], name: str) -> bool:
    """`?dry_run=true`."""
    word = query.get(name, "false")
    if word not in ("true", "false"):
        raise UsageError(f"{name}: write true or false")
    return word == "true"
