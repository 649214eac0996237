"""The name in a TLS client's first bytes, as Python's own TLS writes them, whole and in pieces."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.wire.client_hello import HELLO_MAX, Incomplete, server_name


def hello(name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What a client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = hello("Db.Example.com")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_name_of_a_real_hello(version: ssl.TLSVersion) -> None:
    """In lower case; none is none."""
    assert server_name(hello("Db.Example.com", version)) == "db.example.com"
    assert server_name(hello(None, version)) == ""


def test_in_pieces_it_is_incomplete_until_it_is_whole() -> None:
    for end in range(len(HELLO)):
        with pytest.raises(Incomplete):
            server_name(HELLO[:end])
    assert server_name(HELLO + b"more") == "db.example.com"


def test_in_several_records() -> None:
    """RFC 8446 section 5.1 allows it, and clients with long hellos do it."""
    body = HELLO[5:]
    parts = [body[at : at + 7] for at in range(0, len(body), 7)]
    records = b"".join(HELLO[:3] + len(part).to_bytes(2, "big") + part for part in parts)
    assert server_name(records) == "db.example.com"
    with pytest.raises(Incomplete):
        server_name(records[:-1])


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x02\x00",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01" + (HELLO_MAX + 1).to_bytes(3, "big"),
        b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03ab",
    ],
    ids=["http", "ssl2", "empty", "no hello", "too long", "cut short"],
)
def test_what_is_no_hello(data: bytes) -> None:
    assert server_name(data) is None


@given(st.binary(max_size=200), st.integers(0, len(HELLO) - 1))
def test_whatever_comes_it_says_something(junk: bytes, at: int) -> None:
    """No bytes raise anything else."""
    for data in (junk, b"\x16\x03\x01" + junk, HELLO[:at] + junk + HELLO[at:]):
        try:
            found = server_name(data)
        except Incomplete:
            continue
        assert found is None or isinstance(found, str)
