"""Reading JSON as Consul's decoder does."""

import re
from typing import Any

import pytest

from registry.codec.decode import catalog_registration, check_definition, registration
from registry.codec.fields import MAX_DEPTH, DecodeError, loads


@pytest.mark.parametrize("body", [b"", b"  ", b"{", b"[1", b"xx", b"{'a':1}", b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        loads(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("NaN", "invalid character 'N' looking for beginning of value"),
        ("[-Infinity]", "invalid character 'I' in numeric literal"),
        ('{"a": 1e400}', "cannot unmarshal number 1e400 into Go value of type float64"),
        ("9" * 5000, f"cannot unmarshal number {'9' * 40}… into Go value of type float64"),
        ("1" + "0" * 350, "into Go value of type float64"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "exceeded max depth"),
        ('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), "exceeded max depth"),
    ],
)
def test_numbers_without_end_and_depths_are_refused_in_gos_words(body: str, words: str) -> None:
    """Python's reader takes them; what was kept of them could not be written again."""
    with pytest.raises(DecodeError, match=re.escape(words)):
        loads(body.encode())


def test_half_of_a_surrogate_pair_is_replaced_as_in_go() -> None:
    """No answer could be written with it."""
    value = loads(b'{"a\\ud800": ["x\\udfff", "\\ud83d\\ude00"], "b": "\\\\ud800"}')
    assert value == {"a\ufffd": ["x\ufffd", "\U0001f600"], "b": "\\ud800"}
    assert loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


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
        ({"Name": "x", "Port": 2**63}, "number 9223372036854775808 into Go struct field .Port of type int"),
        ({"Name": "x", "Check": {"TTL": 2**64}}, "Duration"),
        ({"Name": "x", "Check": {"TTL": "9999999h"}}, 'time: invalid duration "9999999h"'),
        ({"Name": "x", "Kind": 5}, "of type string"),
        ({"Name": "x", "Proxy": [1]}, "Go struct field .Proxy of type object"),
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


def test_checks_that_are_no_list_are_refused() -> None:
    with pytest.raises(DecodeError, match="Checks"):
        catalog_registration({"Node": "n", "Checks": 5}, "dc1")


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
