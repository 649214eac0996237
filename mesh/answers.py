"""What the mesh's own processes answer: read up to a size, and only with numbers that a page can show."""

import json
import math
from typing import Any

import aiohttp

# A snapshot of a sidecar that knows 5,000 endpoints is 3 MB, a config dump of 1,500 routes as much.
MAX_ANSWER_BYTES = 8 * 1024 * 1024


async def json_of(answer: aiohttp.ClientResponse, most: int = MAX_ANSWER_BYTES) -> Any:
    """The body as JSON; ValueError for what is none, is longer, or holds NaN or a number without end."""
    body = bytearray()
    async for piece in answer.content.iter_chunked(64 * 1024):
        body += piece
        if len(body) > most:
            answer.close()  # what follows is not waited for
            raise ValueError(f"it answers more than {most >> 20} MiB")
    try:
        return strict_json(body)
    except RecursionError:
        raise ValueError("it answers JSON that is too deep") from None


def strict_json(text: str | bytes | bytearray) -> Any:
    """As JSON has it: `json.loads` takes NaN and 1e999 too, which no browser reads when they go on to one."""
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no number")
    return value
