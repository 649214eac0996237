"""What control reads from the mesh's processes: within a size, and nothing that JSON does not have."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mesh.answers import json_of, strict_json


@pytest.mark.parametrize(
    "text", ["NaN", '{"a": Infinity}', "[-Infinity]", "1e999", '{"a": [1, -1e400]}', "{"]
)
def test_numbers_that_no_browser_reads_are_refused(text: str) -> None:
    """Python's own parser takes them, and what is made of them ends the page."""
    with pytest.raises(ValueError, match=r"."):
        strict_json(text)


def test_json_is_json() -> None:
    """With all its numbers."""
    assert strict_json('{"a": [1, 2.5, 1e3, null, "NaN"]}') == {"a": [1, 2.5, 1000.0, None, "NaN"]}


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(int(request.query["pieces"])):
                await response.write(
                    b"[" + b" " * 1022 + b"]" if request.query["pieces"] == "1" else b"[" * 1024
                )
        except ConnectionResetError:
            pass  # not all of it was wanted
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app) as running:
        yield running


@pytest.mark.parametrize(
    ("pieces", "words"), [(5, "more than"), (10**9, "more than"), (4, "too deep|Expecting|recursion")]
)
async def test_an_answer_is_read_up_to_its_size(server: TestServer, pieces: int, words: str) -> None:
    """One without end too; and one that is too deep is an error like the others."""
    async with aiohttp.ClientSession() as session:
        async with session.get(server.make_url("/?pieces=1")) as answer:
            assert await json_of(answer, 4096) == []
        async with session.get(server.make_url(f"/?pieces={pieces}")) as answer:
            with pytest.raises(ValueError, match=words):
                await json_of(answer, 4096)
