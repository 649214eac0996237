"""What is remembered of callers: they name themselves, with as many names and bytes as they like."""

from __future__ import annotations

from sidecar.observe.lengths import AUTHORITY, NAME
from sidecar.protection import caller_of
from sidecar.wire.limits import DEFAULT_LIMITS
from sidecar.wire.request_parser import RequestParser
from tests.fakes.upstream import OK, ScriptedUpstream, replies

from .harness import Rig


def named(name: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: svc\r\nx-envoy-peer-metadata-id: i~%b~v\r\n\r\n" % name


async def test_long_names_of_callers_are_cut_and_not_remembered() -> None:
    """A label is of some length; a thousand headers of 60 KB would be 60 MB."""
    async with ScriptedUpstream(replies(OK)) as app, Rig(app=app.address) as rig:
        assert rig.inbound is not None
        client = await rig.connect("inbound")
        for name in (b"front", b"n" * 50_000, b"n" * 50_001):
            await client.send(named(name))
            assert (await client.answer()).status == 200
        series = rig.inbound.metrics._series.values()
        labels = {each.labels[1] for each in series if each.labels[0] == "destination"}
        assert labels == {"unknown", "front", "n" * NAME}
        assert [len(source) for source in rig.inbound._sources] == [len(b"i~front~v")]


def test_a_bucket_of_a_caller_has_a_name_of_some_length() -> None:
    """A thousand of them are kept for each rate limit."""
    [head, *_] = RequestParser(DEFAULT_LIMITS).feed(named(b"n" * 50_000))
    assert caller_of(head) == "n" * NAME  # type: ignore[arg-type]  # the first event is the head


async def test_long_hosts_are_not_remembered() -> None:
    """At the edge every host is the default service's."""
    async with (
        ScriptedUpstream(replies(OK)) as up,
        Rig({"svc": [up.address]}, default_service="svc") as rig,
    ):
        client = await rig.connect()
        for host in (b"h" * 15_000, b"h" * 15_001, b"h" * (AUTHORITY + 1), b"short"):
            await client.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
            assert (await client.answer()).status == 200
        assert list(rig.outbound._hosts) == [b"short"]
