"""Hosts of copies; the forms of a target are tested with the parser."""

import pytest

from sidecar.wire.target import shadow_host


@pytest.mark.parametrize(
    ("host", "marked"),
    [
        (b"web", b"web-shadow"),
        (b"web:8080", b"web-shadow:8080"),
        (b"[::1]", b"[::1]-shadow"),
        (b"[::1]:80", b"[::1]-shadow:80"),
    ],
)
def test_a_copy_is_marked_by_its_host(host: bytes, marked: bytes) -> None:
    """Before the port, as in Envoy."""
    assert shadow_host(host) == marked
