"""Limits and timeouts as flags and environment variables; each checked, each reaching its place."""

from __future__ import annotations

import pytest

from sidecar.config import Address, parse
from sidecar.config_limits import LIMIT_FLAGS, TIMEOUT_FLAGS
from sidecar.errors import ConfigError
from sidecar.io.timeouts import DEFAULT_TIMEOUTS
from sidecar.wire.limits import DEFAULT_LIMITS

MINIMAL = ["--name", "orders-1", "--outbound", "127.0.0.1:0"]


def test_without_flags_the_defaults_hold() -> None:
    """One place says each of them."""
    config = parse(MINIMAL, {})
    assert config.limits == DEFAULT_LIMITS
    assert config.timeouts == DEFAULT_TIMEOUTS


@pytest.mark.parametrize("key", [key for key, flag in LIMIT_FLAGS.items() if flag.field])
def test_each_limit_reaches_its_field(key: str) -> None:
    """From a flag and from the environment."""
    flag = LIMIT_FLAGS[key]
    for config in (
        parse([*MINIMAL, "--" + key.replace("_", "-"), "4096"], {}),
        parse(MINIMAL, {f"SIDECAR_{key.upper()}": "4096"}),
    ):
        assert getattr(config.limits, flag.field) == 4096


@pytest.mark.parametrize("key", TIMEOUT_FLAGS)
def test_each_timeout_reaches_its_field(key: str) -> None:
    """With its unit."""
    config = parse([*MINIMAL, "--" + key.replace("_", "-"), "250ms"], {})
    assert getattr(config.timeouts, TIMEOUT_FLAGS[key][0]) == 0.25


def test_numbers_of_connections() -> None:
    """In all and of one client."""
    config = parse([*MINIMAL, "--max-connections", "10", "--max-connections-per-client", "3"], {})
    assert (config.max_connections, config.max_connections_per_client) == (10, 3)


def test_what_slow_uploads_may_take() -> None:
    """Both can be switched off; the environment has them too."""
    config = parse(MINIMAL, {"SIDECAR_MIN_UPLOAD_RATE": "0", "SIDECAR_MAX_LATE_UPLOADS": "0"})
    assert (config.min_upload_rate, config.max_late_uploads) == (0, 0)
    config = parse([*MINIMAL, "--min-upload-rate", "64", "--max-late-uploads", "9"], {})
    assert (config.min_upload_rate, config.max_late_uploads) == (64, 9)


def test_tcp_services() -> None:
    """Several listeners; one alone is enough to serve."""
    config = parse(["--name", "a-1", "--tcp", "127.0.0.1:6379=redis", "--tcp", "[::1]:5432=db"], {})
    assert config.tcp == (("redis", Address("127.0.0.1", 6379)), ("db", Address("::1", 5432)))
    config = parse(["--name", "a-1"], {"SIDECAR_TCP": "h:1=a;h:2=b"})
    assert [name for name, _ in config.tcp] == ["a", "b"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--max-head-bytes", "10"], "--max-head-bytes: '10' is not a number from 1024"),
        (["--max-body-bytes", "-1"], "--max-body-bytes: '-1' is not a number"),
        (["--max-connections", "many"], "--max-connections: 'many' is not a number"),
        (["--tunnel-idle-timeout", "5"], "--tunnel-idle-timeout: '5' is not a duration"),
        (["--inbound-protocol", "udp"], "--inbound-protocol: 'udp' is not a protocol; use http or tcp"),
        (["--tcp", "127.0.0.1:6379"], "--tcp: '127.0.0.1:6379' is not HOST:PORT=SERVICE"),
        (["--tcp", "6379=redis"], "--tcp: '6379' is not HOST:PORT"),
    ],
)
def test_mistakes_are_one_line(argv: list[str], message: str) -> None:
    """That names the flag and what it takes."""
    with pytest.raises(ConfigError) as caught:
        parse([*MINIMAL, *argv], {})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
