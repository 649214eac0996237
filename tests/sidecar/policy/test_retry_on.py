"""The words of retryOn and x-envoy-retry-on."""

import pytest

from sidecar.policy.retry_on import read_retry_on


def test_words_and_statuses() -> None:
    read = read_retry_on(" 5xx, connect-failure ,503,,404")
    assert read.conditions == {"5xx", "connect-failure", "retriable-status-codes"}
    assert read.statuses == {404, 503}
    assert read.wrong == ()


def test_istio_s_default_is_taken() -> None:
    """The words about gRPC look at a status that an answer of plain HTTP does not have."""
    read = read_retry_on("connect-failure,refused-stream,unavailable,cancelled")
    assert read.conditions == {"connect-failure", "refused-stream"}
    assert read.wrong == ()


def test_envoy_s_other_names() -> None:
    assert read_retry_on("retriable-4xx").statuses == {409}
    assert "rate-limited" in read_retry_on("429").conditions
    assert "rate-limited" in read_retry_on("envoy-ratelimited").conditions


@pytest.mark.parametrize(
    ("word", "words"),
    [("gateway-eror", "is unknown"), ("200", "no failure"), ("retriable-headers", "is not honoured")],
)
def test_what_means_nothing_is_told(word: str, words: str) -> None:
    read = read_retry_on(word)
    assert not read.conditions
    assert words in read.wrong[0]
