"""Who the client is, by what trusted proxies say: Envoy's own examples, and what is not believed."""

from __future__ import annotations

import pytest

from sidecar.wire.events import RequestHead
from sidecar.wire.forwarded import told, vouched

from .feed import requests

CHAIN = b"203.0.113.128, 203.0.113.10, 203.0.113.1"


def request(*fields: bytes) -> RequestHead:
    head = requests(b"\r\n".join([b"GET / HTTP/1.1", b"Host: x", *fields, b"", b""]))[0]
    assert isinstance(head, RequestHead), head
    return head


@pytest.mark.parametrize(
    ("hops", "client"),
    [(0, b""), (1, b"203.0.113.1"), (2, b"203.0.113.10"), (3, b"203.0.113.128"), (4, b"")],
)
def test_the_client_is_the_nth_from_the_right(hops: int, client: bytes) -> None:
    """What stands left of it is the client's own story; with fewer entries nobody vouches for any."""
    chain = vouched(request(b"X-Forwarded-For: " + CHAIN), hops)
    assert (chain[0] if chain else b"") == client
    assert len(chain) == (hops if client else 0)


@pytest.mark.parametrize("entry", [b"unknown", b"", b"1.2.3.4:80", b"1.2.3", b"<b>", b"\xd9\xa1.1.1.1"])
def test_what_is_no_address_is_no_client(entry: bytes) -> None:
    """Then the one who is connected is."""
    assert vouched(request(b"X-Forwarded-For: 9.9.9.9, " + entry), 1) == []


def test_a_chain_in_several_fields_is_one() -> None:
    """RFC 9110 section 5.3; also for addresses of version 6."""
    head = request(b"X-Forwarded-For: 6.6.6.6", b"x-forwarded-for: 2001:db8::1")
    assert vouched(head, 1) == [b"2001:db8::1"]
    assert vouched(head, 2) == [b"6.6.6.6", b"2001:db8::1"]


def test_what_a_trusted_proxy_tells_besides() -> None:
    """Not the chain, which is written anew, no certificate, no other spelling, and nothing of its own hop."""
    head = request(
        *(b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Proto: https", b"x-forwarded-port: 443"),
        *(b"X-Forwarded-Client-Cert: By=x", b"X_Forwarded_Host: evil", b"X-Forwarded-Host: shop"),
        b"Connection: X-Forwarded-Port",
    )
    assert [(low, value) for _, low, value in told(head)] == [
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"shop"),
    ]
