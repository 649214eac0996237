"""What all requests together may take of memory: bodies while they are read, answers until they are."""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mesh.control.guard import refusal

# Of bodies at the same time: three of the largest, or the batches of spans of some hundred sidecars.
MAX_BODIES_BYTES = 12 * 1024 * 1024
# From this size on an answer counts. What the page asks for is less; the largest trace is a few megabytes.
LARGE_BYTES = 1024 * 1024
# Of large answers that their clients have not read yet; one may be larger when it is alone.
MAX_UNREAD_BYTES = 32 * 1024 * 1024


def bounded(max_body: int) -> Middleware:
    """A middleware that answers 503 to what would be too much at once; no body is longer than `max_body`."""
    bodies = 0
    readers: set[asyncio.Transport] = set()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal bodies
        size = _body_size(request, max_body)
        if bodies + size > MAX_BODIES_BYTES:
            return _busy("too many large requests at the same time: send it again")
        bodies += size
        try:
            answer = await handler(request)
        finally:
            bodies -= size
        if isinstance(answer, web.Response) and (length := answer.content_length or 0) > LARGE_BYTES:
            unread = _unread(readers)
            if unread and unread + length > MAX_UNREAD_BYTES:
                return _busy("too many large answers wait to be read: ask again")
            if request.transport is not None:
                readers.add(request.transport)
        return answer

    return check


def _body_size(request: web.Request, most: int) -> int:
    """What the body will take: as it says, or the most when it does not say, or says it of what is packed."""
    if not request.body_exists:
        return 0
    length = request.content_length
    if length is None or "Content-Encoding" in request.headers:
        return most
    return min(length, most)  # a longer one is refused once it is read that far


def _unread(readers: set[asyncio.Transport]) -> int:
    sizes = {each: 0 if each.is_closing() else each.get_write_buffer_size() for each in readers}
    readers.intersection_update(each for each, size in sizes.items() if size)
    return sum(sizes.values())


def _busy(words: str) -> web.Response:
    answer = refusal(503, words)
    answer.headers["Retry-After"] = "1"
    return answer
