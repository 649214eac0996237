"""Settings: precedence, units, and one line for each mistake."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sidecar.config import Address, parse
from sidecar.errors import ConfigError

MINIMAL = ["--name", "orders-1", "--outbound", "127.0.0.1:0"]


def test_defaults() -> None:
    """A name and a listener are enough; the service is the name without its number."""
    config = parse(MINIMAL, {})
    assert config.service == "orders"
    assert config.version == "v1"
    assert config.outbound == Address("127.0.0.1", 0)
    assert config.upstream_timeout == math.inf
    assert config.inbound is None


def test_flag_beats_environment_beats_file(tmp_path: Path) -> None:
    """The order of precedence, one setting from each place."""
    file = tmp_path / "sidecar.yaml"
    file.write_text("idle-timeout: 7s\nzone: file\nversion: file\n")
    config = parse(
        [*MINIMAL, "--version", "flag", "--config", str(file)],
        {"SIDECAR_VERSION": "env", "SIDECAR_ZONE": "env"},
    )
    assert (config.version, config.zone, config.idle_timeout) == ("flag", "env", 7.0)


def test_upstreams() -> None:
    """Several addresses of one service, IPv6 in brackets, several services from the environment."""
    config = parse([*MINIMAL, "--upstream", "a=127.0.0.1:1,[::1]:2"], {})
    assert config.upstreams == (("a", (Address("127.0.0.1", 1), Address("::1", 2))),)
    config = parse(MINIMAL, {"SIDECAR_UPSTREAM": "a=h:1;b=h:2"})
    assert [name for name, _ in config.upstreams] == ["a", "b"]


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("10s", 10), ("2m", 120), ("1.5h", 5400)])
def test_durations(text: str, seconds: float) -> None:
    """Units as Istio and Consul write them."""
    assert parse([*MINIMAL, "--idle-timeout", text], {}).idle_timeout == seconds


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        ([], {}, "--name is missing"),
        (["--name", "a"], {}, "nothing to listen on"),
        (["--name", "a", "--inbound", "h:1"], {}, "--inbound needs --app"),
        ([*MINIMAL, "--admin", "8080"], {}, "--admin: '8080' is not HOST:PORT"),
        ([*MINIMAL, "--admin", "h:99999"], {}, "--admin: 'h:99999' is not HOST:PORT"),
        ([*MINIMAL, "--default-service", "consul"], {}, "--default-service: 'consul' is the registry itself"),
        ([*MINIMAL, "--tcp", "h:1=Consul"], {}, "--tcp: 'Consul' is the registry itself"),
        (
            [*MINIMAL, "--trusted-hops", "1"],
            {},
            "--trusted-hops is for an ingress: it needs --default-service",
        ),
        ([*MINIMAL, "--trusted-hops", "-1"], {}, "--trusted-hops: '-1' is not a whole number from 0 to 16"),
        (MINIMAL, {"SIDECAR_TRUSTED_HOPS": "1.0"}, "SIDECAR_TRUSTED_HOPS: '1.0' is not a whole number"),
        (MINIMAL, {"SIDECAR_STATUS": "15020"}, "SIDECAR_STATUS: '15020' is not HOST:PORT"),
        ([*MINIMAL, "--workers", "0"], {}, "--workers: '0' is not a whole number from 1 to 128"),
        ([*MINIMAL, "--workers", "1.5"], {}, "--workers: '1.5' is not a whole number"),
        ([*MINIMAL, "--workers", "all"], {}, "--workers: 'all' is not a whole number"),
        (MINIMAL, {"SIDECAR_WORKERS": "129"}, "SIDECAR_WORKERS: '129' is not a whole number"),
        (
            [*MINIMAL, "--workers", "2", "--inbound", "h:1", "--app", "h:2"],
            {},
            "--workers is for an entrypoint",
        ),
        ([*MINIMAL, "--idle-timeout", "5"], {}, "--idle-timeout: '5' is not a duration"),
        ([*MINIMAL, "--idle-timeout", "0s"], {}, "--idle-timeout: '0s' is not a duration"),
        (MINIMAL, {"SIDECAR_DRAIN_TIMEOUT": "x"}, "SIDECAR_DRAIN_TIMEOUT: 'x' is not a duration"),
        ([*MINIMAL, "--upstream", "a"], {}, "--upstream: 'a' is not SERVICE=HOST:PORT"),
        ([*MINIMAL, "--trace-sample", "2"], {}, "--trace-sample: '2' is not a number from 0 to 1"),
        ([*MINIMAL, "--trace-sample", "nan"], {}, "--trace-sample: 'nan' is not a number from 0 to 1"),
        ([*MINIMAL, "--log-level", "loud"], {}, "--log-level: 'loud' is not a level"),
        ([*MINIMAL, "--config", "/nowhere/x"], {}, "--config /nowhere/x: cannot be read"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_place(
    argv: list[str], environ: dict[str, str], message: str
) -> None:
    """Every wrong value names its flag or variable, and fits one line."""
    with pytest.raises(ConfigError) as caught:
        parse(argv, environ)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_trusted_hops_may_be_a_whole_meshs() -> None:
    """As a variable; it means something at an ingress only."""
    environ = {"SIDECAR_TRUSTED_HOPS": "2"}
    assert parse(MINIMAL, environ).trusted_hops == 2
    assert parse([*MINIMAL, "--default-service", "web"], environ).trusted_hops == 2


def test_an_unknown_key_in_the_file_is_named(tmp_path: Path) -> None:
    """A typing error in the file is found, not ignored."""
    file = tmp_path / "sidecar.yaml"
    file.write_text("outbond: 127.0.0.1:1\n")
    with pytest.raises(ConfigError, match="outbond: no such setting"):
        parse(["--config", str(file)], {})


def test_what_is_advertised() -> None:
    """A host alone or with a port; what nobody can reach, or what has no listener, is refused by name."""
    served = [*MINIMAL, "--inbound", "0.0.0.0:15006", "--app", "127.0.0.1:9000"]
    assert parse([*served, "--advertise", "orders-1"], {}).advertise == "orders-1"
    assert parse(served, {"SIDECAR_ADVERTISE": "orders-1:80"}).advertise == "orders-1:80"
    assert parse([*served, "--advertise", "[fd00::1]"], {}).advertise == "[fd00::1]"
    with pytest.raises(ConfigError, match=r"--advertise: '0\.0\.0\.0' is nowhere for a caller"):
        parse([*served, "--advertise", "0.0.0.0"], {})
    with pytest.raises(ConfigError, match="--advertise needs --inbound"):
        parse([*MINIMAL, "--advertise", "orders-1"], {})


def test_tokens_come_from_the_environment_or_from_files(tmp_path: Path) -> None:
    """A file may be written later; the environment wins; a configuration shows none."""
    file = tmp_path / "token"
    file.write_text("filed\n")
    file.chmod(0o600)
    config = parse([*MINIMAL, "--registry-token-file", str(file), "--admin-token-file", str(file)], {})
    assert (config.registry_token, config.registry_token_file) == (None, file)
    assert (config.admin_token, config.admin_token_file) == ("", file)
    given = {"SIDECAR_REGISTRY_TOKEN": "given", "SIDECAR_ADMIN_TOKEN": "given-too"}
    config = parse([*MINIMAL, "--registry-token-file", str(file)], given)
    assert (config.registry_token, config.admin_token) == ("given", "given-too")
    assert "given" not in repr(config)
    later = tmp_path / "later"
    assert parse(MINIMAL, {"SIDECAR_ADMIN_TOKEN_FILE": str(later)}).admin_token_file == later
    assert parse(MINIMAL, {"SIDECAR_REGISTRY_TOKEN_FILE": str(later)}).registry_token_file == later
    assert parse(MINIMAL, {}).registry_token is None


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        (["--registry-token", "secret"], {}, "--registry-token: every user of this machine reads the arg"),
        (["--registry-token-file", "FILE"], {}, "--registry-token-file: FILE: others may use it: chmod 600"),
        (["--admin-token-file", "FILE"], {}, "--admin-token-file: FILE: others may use it: chmod 600 FILE"),
        ([], {"SIDECAR_ADMIN_TOKEN": "two words"}, "SIDECAR_ADMIN_TOKEN: the token: is not one word"),
        (["--config", "YAML"], {}, "YAML: registry_token: no such setting"),
    ],
)
def test_a_token_where_others_read_it_is_refused(
    tmp_path: Path, argv: list[str], environ: dict[str, str], message: str
) -> None:
    """In one line, without the token."""
    paths = {"FILE": tmp_path / "token", "YAML": tmp_path / "sidecar.yaml"}
    paths["FILE"].write_text("secret\n")
    paths["FILE"].chmod(0o644)
    paths["YAML"].write_text("registry-token: secret\n")
    with pytest.raises(ConfigError) as refused:
        parse([*MINIMAL, *(str(paths.get(word, word)) for word in argv)], environ)
    for name, path in paths.items():
        message = message.replace(name, str(path))
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--outbound", "127.0.0.1:" + "9" * 5000),
        ("--outbound", "127.0.0.1:²"),
        ("--workers", "9" * 5000),
        ("--header-timeout", "9" * 400 + "s"),
        ("--max-body-bytes", "9" * 5000),
        ("--trace-sample", "nan"),
        ("--name", "a\nb"),
        ("--name", "a b"),
        ("--name", "a~b"),
        ("--service", "a\0b"),
        ("--version", "v1\r\nx: y"),
        ("--version", "é"),
        ("--zone", "a,b"),
        ("--registry", "http://127.0.0.1:" + "9" * 5000),
        ("--registry", "ftp://x"),
        ("--otlp", "http://["),
    ],
)
def test_what_no_message_can_say_and_no_number_can_be_is_refused(flag: str, value: str) -> None:
    """They stand in fields of messages, or are counted with."""
    flags = {"--name": "orders-1", "--outbound": "127.0.0.1:0", flag: value}
    with pytest.raises(ConfigError, match=f"^{flag}: "):
        parse([word for pair in flags.items() for word in pair], {})


def test_a_file_of_settings_is_bounded(tmp_path: Path) -> None:
    """Aliases of aliases, and depths."""
    file = tmp_path / "sidecar.yaml"
    for text in ("a: &a [*a]", "[" * 100_000, "name: " + "9" * 5000, "name: .inf", "a: 1\n---\nb: 2"):
        file.write_text(text)
        with pytest.raises(ConfigError, match=f"^--config {file}: "):
            parse(["--config", str(file)], {})


def test_hosts_that_nobody_knows() -> None:
    """Refused unless it is said; an ingress never passes a stranger's host on."""
    flags = ["--name", "a-1", "--outbound", "127.0.0.1:0"]
    assert parse(flags, {}).outbound_traffic_policy == "REGISTRY_ONLY"
    assert (
        parse(flags, {"SIDECAR_OUTBOUND_TRAFFIC_POLICY": "ALLOW_ANY"}).outbound_traffic_policy == "ALLOW_ANY"
    )
    with pytest.raises(ConfigError, match="use REGISTRY_ONLY or ALLOW_ANY"):
        parse([*flags, "--outbound-traffic-policy", "any"], {})
    with pytest.raises(ConfigError, match="an ingress passes no stranger's host on"):
        parse([*flags, "--outbound-traffic-policy", "ALLOW_ANY", "--default-service", "web"], {})
