"""Where nobody is led: the mesh's own addresses however they are written, and this machine by a name."""

import pytest

from sidecar.boundary import Boundary, netloc

BOUNDARY = Boundary(lambda: ["127.0.0.1:15000", "consul.lan:8500", "10.0.0.5:4318"])


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::ffff:127.0.0.1", "localhost"]
)
def test_its_own_listener_is_nobodys_endpoint(address: str) -> None:
    """However a document writes this machine; another port of it is the document's business."""
    assert "is the mesh's own" in BOUNDARY.of_document(address, 15000)
    assert BOUNDARY.of_document(address, 9000) == ""


def test_the_registry_by_name_and_address() -> None:
    """As it was given; a name that is asked for counts as well as what it resolves to."""
    assert "is the mesh's own" in BOUNDARY.of_document("Consul.LAN", 8500)
    assert "is the mesh's own" in BOUNDARY.of_name("consul.lan", "10.0.0.9", 8500)
    assert "is the mesh's own" in BOUNDARY.of_name("traces.lan", "10.0.0.5", 4318)
    assert BOUNDARY.of_name("traces.lan", "10.0.0.5", 80) == ""


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1", "this machine"),
        ("::", "this machine"),
        ("::ffff:127.0.0.1", "this machine"),
        ("fe80::1%eth0", "link-local"),
        ("169.254.169.254", "link-local"),
        ("224.0.0.1", "multicast"),
        ("not an address", "this machine"),
    ],
)
def test_no_name_leads_to_this_machine(address: str, words: str) -> None:
    """Nor to a cloud's metadata service; a document may write 127.0.0.1 itself."""
    refused = BOUNDARY.of_name("rebound.example", address, 80)
    assert refused.startswith("rebound.example is ")
    assert words in refused


def test_where_a_url_leads() -> None:
    """With the scheme's port where it says none."""
    assert netloc("http://127.0.0.1:8500/v1") == "127.0.0.1:8500"
    assert netloc("https://consul.lan") == "consul.lan:443"
    assert netloc("consul:8500") == "consul:8500"
