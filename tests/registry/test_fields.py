"""Reading JSON as Consul's decoder does."""

from typing import Any

import pytest

from registry.codec.decode import catalog_registration, check_definition, registration
from registry.codec.fields import DecodeError, loads


@pytest.mark.parametrize("body", [b"", b"  ", b"{", b"[1", b"xx", b"{'a':1}", b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        loads(body)


def test_names_in_any_case_and_in_snake_case() -> None:
    """py-consul sends lower case, and `tagged_addresses`."""
    wanted = registration(
        {
            "name": "web",
            "id": "w1",
            "tagged_addresses": {"lan": {"address": "1.2.3.4", "port": 5}},
            "enabletagoverride": True,
            "checks": [{"http": "http://x", "interval": "1s", "DEREGISTERCRITICALSERVICEAFTER": "1m"}],
        },
        "n1",
    )
    assert wanted.service.id == "w1"
    assert wanted.service.tagged_addresses == {"lan": {"Address": "1.2.3.4", "Port": 5}}
    assert wanted.service.enable_tag_override
    ((check, _),) = wanted.checks
    assert (check.interval, check.deregister_critical_after) == (1, 60)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"Name": "x", "Bogus": 1}, 'unknown field "Bogus"'),
        ({"Name": 5}, "cannot unmarshal number into Go struct field .Name of type string"),
        ({"Name": "x", "Port": "80"}, "into Go struct field .Port of type int"),
        ({"Name": "x", "Port": True}, "cannot unmarshal bool"),
        ({"Name": "x", "Tags": "a"}, r"of type \[\]string"),
        ({"Name": "x", "Tags": [1]}, "cannot unmarshal number"),
        ({"Name": "x", "Meta": {"a": 1}}, "of type string"),
        ({"Name": "x", "Check": {"TTL": "5"}}, "missing unit"),
        ({"Name": "x", "Check": {"TTL": [5]}}, "Duration"),
        ({"Name": "x", "Check": {"Args": ["sh"]}}, 'check field "Args"'),
        ({"Name": "x", "Checks": {}}, "Checks"),
        ({"Name": "x", "TaggedAddresses": []}, None),
        ([], "cannot unmarshal array"),
        ("x", "cannot unmarshal string"),
        (None, "cannot unmarshal null"),
    ],
)
def test_what_does_not_fit_is_refused(value: Any, words: str | None) -> None:
    if words is None:
        assert registration(value, "n1").service.tagged_addresses is None
        return
    with pytest.raises(DecodeError, match=words):
        registration(value, "n1")


def test_a_number_is_nanoseconds() -> None:
    assert check_definition({"Name": "c", "TTL": 5_000_000_000})[0].ttl == 5


def test_a_catalog_registration_defaults() -> None:
    wanted = catalog_registration(
        {"Node": "n", "Address": "a", "Service": {"Service": "s"}, "Checks": [{"Name": "c"}]}, "dc1"
    )
    assert wanted.node.datacenter == "dc1"
    assert wanted.service is not None
    assert (wanted.service.id, wanted.service.node) == ("s", "n")
    assert (wanted.checks[0].check_id, wanted.checks[0].status) == ("c", "critical")
