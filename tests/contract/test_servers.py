"""The suite's own promise: a proof that cannot be made is a reasoned skip here and a failure in CI."""

import pytest

from tests.contract import servers


def test_a_missing_proof_is_a_skip_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="a Thing is not on this machine: get it"):
        servers.missing("a Thing", "get it")


def test_a_missing_proof_is_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="a Thing is not on this machine: get it"):
        servers.missing("a Thing", "get it")


def test_the_named_binary_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_BIN", "/some/consul")
    servers.consul_binary.cache_clear()
    try:
        assert servers.consul_binary() == "/some/consul"
    finally:
        monkeypatch.undo()
        servers.consul_binary.cache_clear()
