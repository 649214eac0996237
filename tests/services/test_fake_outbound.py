"""The fake outbound listener is a proxy: absolute-form targets, and the service by its name."""

import aiohttp

from tests.services.fake_outbound import FakeOutbound


async def test_it_records_what_came_and_answers_by_name() -> None:
    async with FakeOutbound() as outbound, aiohttp.ClientSession() as session:
        response = await session.post("http://users/x?y=1", data=b"abc", proxy=f"http://{outbound.address}")
        assert (await response.json())["service"] == "users"
    (seen,) = outbound.seen
    assert (seen.method, seen.target, seen.service, seen.body) == (
        "POST",
        "http://users/x?y=1",
        "users",
        b"abc",
    )
    assert outbound.connections == 1
