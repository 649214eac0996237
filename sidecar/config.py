"""The sidecar's settings: flags, environment variables and a file, in that order of precedence."""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from guard.token import Token, TokenError

from .config_limits import LIMIT_FLAGS, add_flags, take_limits, take_timeouts
from .discovery import is_registry
from .errors import ConfigError
from .holding import MAX_LATE_UPLOADS
from .io.listener import MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, MIN_UPLOAD_RATE
from .io.timeouts import DEFAULT_TIMEOUTS, Timeouts
from .routing.plain import NotPlain, read_yaml
from .wire.limits import DEFAULT_LIMITS, Limits

# Kubernetes' terminationGracePeriodSeconds: what may finish there may finish here.
DRAIN_TIMEOUT_S = 30.0
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
# These go into fields of messages as they are, set apart by "~" and ",".
_WORD = re.compile(r"[!-+\--}]{0,253}")
_LABEL = re.compile(r"([A-Za-z0-9][A-Za-z0-9./_-]{0,316})=([A-Za-z0-9._-]{0,63})")
_WORDS = ("name", "service", "version", "zone", "default_service")
# More than one for each core gains nothing, and each is a Python process.
MAX_WORKERS = 128
# A CDN, a cloud's load balancer, a firewall, one more of each: past this it is a typing error.
MAX_TRUSTED_HOPS = 16
# Istio's outboundTrafficPolicy.mode: what becomes of a host that neither the registry nor a document has.
REGISTRY_ONLY, ALLOW_ANY = "REGISTRY_ONLY", "ALLOW_ANY"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

EXAMPLE = """\
example:
  python -m sidecar --name orders-1 --inbound 127.0.0.1:15006 --app 127.0.0.1:9000 \\
      --outbound 127.0.0.1:15001 --registry http://127.0.0.1:8500
  HTTP_PROXY=http://127.0.0.1:15001 curl http://payments/
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """HOST:PORT."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether it can only be on this machine."""
        return self.host == "localhost" or self.host == "::1" or self.host.startswith("127.")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """What one sidecar does; None = it does not."""

    name: str
    service: str
    version: str = "v1"
    zone: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    inbound: Address | None = None
    advertise: str | None = None
    app: Address | None = None
    app_health: str | None = None
    app_health_interval: float = 1.0
    inbound_protocol: str = "http"
    outbound: Address | None = None
    tcp: tuple[tuple[str, Address], ...] = ()
    admin: Address | None = None
    status: Address | None = None
    admin_token: str = dataclasses.field(default="", repr=False)
    admin_token_file: Path | None = None
    registry: str | None = None
    registry_token: str | None = dataclasses.field(default=None, repr=False)
    registry_token_file: Path | None = None
    upstreams: tuple[tuple[str, tuple[Address, ...]], ...] = ()
    default_service: str | None = None
    trusted_hops: int = 0
    outbound_traffic_policy: str = REGISTRY_ONLY
    policies: tuple[Path, ...] = ()
    otlp: str | None = None
    trace_sample: float = 1.0
    access_log: str | None = None
    header_timeout: float = 10.0
    idle_timeout: float = 60.0
    upstream_timeout: float = math.inf
    drain_timeout: float = DRAIN_TIMEOUT_S
    limits: Limits = DEFAULT_LIMITS
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    max_connections: int = MAX_CONNECTIONS
    max_connections_per_client: int = MAX_CONNECTIONS_PER_ADDRESS
    min_upload_rate: int = MIN_UPLOAD_RATE
    max_late_uploads: int = MAX_LATE_UPLOADS
    log_level: str = "info"
    workers: int = 1
    protected: tuple[
        Address, ...
    ] = ()  # of a worker: where its manager listens, as far as it is known before
    worker: int = 0  # the number of this one, set by who starts it; 0 = the only one


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """Read flags, then `SIDECAR_…` variables, then `--config FILE` for what neither names.

    Raises:
        ConfigError: with one line that names the flag, variable or key.
    """
    parser = _parser()
    given = vars(parser.parse_args(argv))
    file: dict[str, object] = {}
    if given.pop("registry_token") is not None:
        raise ConfigError(
            "--registry-token: every user of this machine reads the arguments: use "
            "--registry-token-file FILE or SIDECAR_REGISTRY_TOKEN"
        )
    path = given.pop("config") or environ.get("SIDECAR_CONFIG")
    if path:
        file = _read_file(path, set(given))
    values: dict[str, object] = {}
    for key, flag_value in given.items():
        variable = f"SIDECAR_{key.upper()}"
        if flag_value is not None:
            values[key], source = flag_value, "--" + key.replace("_", "-")
        elif variable in environ:
            values[key], source = environ[variable], variable
            if key in ("upstream", "tcp", "policy", "label"):
                values[key] = environ[variable].split(";")
        elif key in file:
            values[key], source = file[key], f"{path}: {key}"
        else:
            continue
        values[key] = _convert(key, values[key], source)
    _take_tokens(values, environ)
    if not values.get("name"):
        raise ConfigError(
            "--name is missing: which instance is this the sidecar of? For example --name orders-1"
        )
    if values.get("inbound") and not values.get("app"):
        raise ConfigError("--inbound needs --app HOST:PORT, the program that it stands in front of")
    if not (values.get("inbound") or values.get("outbound") or values.get("tcp")):
        raise ConfigError("nothing to listen on: name --inbound HOST:PORT, --outbound HOST:PORT or both")
    if values.get("advertise") and not values.get("inbound"):
        raise ConfigError("--advertise needs --inbound HOST:PORT, the listener that callers reach there")
    if values.get("workers", 1) != 1 and (values.get("inbound") or values.get("app")):
        raise ConfigError(
            "--workers is for an entrypoint: callers need one registration and one concurrency limit "
            "for what is behind --inbound; start more replicas instead"
        )
    # the variable may be a whole mesh's
    if given["trusted_hops"] is not None and not values.get("default_service"):
        raise ConfigError("--trusted-hops is for an ingress: it needs --default-service SERVICE")
    if values.get("outbound_traffic_policy") == ALLOW_ANY and values.get("default_service"):
        raise ConfigError(
            "--outbound-traffic-policy: an ingress passes no stranger's host on: leave ALLOW_ANY out, or "
            "--default-service"
        )
    name = str(values["name"])
    values.setdefault("service", re.sub(r"-\d+$", "", name))
    values["upstreams"] = values.pop("upstream", ())
    values["policies"] = values.pop("policy", ())
    values["labels"] = values.pop("label", ())
    limits, timeouts = take_limits(values), take_timeouts(values)
    return Config(limits=limits, timeouts=timeouts, **values)  # type: ignore[arg-type]  # converted above


def _take_tokens(values: dict[str, object], environ: Mapping[str, str]) -> None:
    """Of the environment, or each from its file, which may be written later."""
    for key in ("registry_token", "admin_token"):
        source, file = f"SIDECAR_{key.upper()}", values.get(f"{key}_file")
        try:
            if given := environ.get(source):
                Token(given)
                values[key] = given
            elif isinstance(file, Path):
                source = f"--{key.replace('_', '-')}-file"
                Token(file=file).check()
        except TokenError as error:
            raise ConfigError(f"{source}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sidecar",
        description="The proxy beside one service replica. Prints one line of JSON with its addresses.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--name", help="the instance, e.g. orders-1")
    add("--service", help="its service (default: the name without -N)")
    add("--version", help="its version (default: v1)")
    add("--zone", help="where it runs: ZONE, or REGION/ZONE/SUBZONE as Istio's localities are written")
    add(
        "--label",
        metavar="KEY=VALUE",
        action="append",
        help="one more label, for subsets and sourceLabels; may be repeated",
    )
    add("--inbound", metavar="HOST:PORT", help="listen here for requests to the app")
    add(
        "--advertise",
        metavar="HOST[:PORT]",
        help="where callers reach --inbound, for the registry (default: the bound address)",
    )
    add("--app", metavar="HOST:PORT", help="the program behind --inbound")
    add("--app-health", metavar="PATH", help="ask the app's health there (default: a TCP connect)")
    add("--app-health-interval", metavar="TIME", help="how often (default: 1s)")
    add("--inbound-protocol", metavar="http|tcp", help="what the app speaks (default: http)")
    add(
        "--tcp",
        metavar="HOST:PORT=SERVICE",
        action="append",
        help="listen here for TCP connections to a service, e.g. 127.0.0.1:6379=redis; may be repeated",
    )
    add("--outbound", metavar="HOST:PORT", help="listen here for the app's own calls (HTTP_PROXY)")
    add("--admin", metavar="HOST:PORT", help="listen here for /metrics, /snapshot, /ready, …")
    add(
        "--status",
        metavar="HOST:PORT",
        help="listen here, too, for other machines: /ready, /metrics and the app's as /app/metrics",
    )
    add(
        "--admin-token-file",
        metavar="FILE",
        help="holds the token of --admin (0600, may come or change later); or SIDECAR_ADMIN_TOKEN. With one "
        "a POST needs it; other machines need it for all but /ready, /metrics and /stats",
    )
    add("--registry", metavar="URL", help="Consul's HTTP API")
    add(
        "--registry-token-file",
        metavar="FILE",
        help="holds its ACL token (0600, may come or change later); or SIDECAR_REGISTRY_TOKEN",
    )
    add("--registry-token", help=argparse.SUPPRESS)
    add(
        "--upstream",
        metavar="SERVICE=HOST:PORT[,…]",
        action="append",
        help="static endpoints; may be repeated",
    )
    add(
        "--default-service",
        metavar="SERVICE",
        help="takes every request, whatever its Host, unless a VirtualService with `gateways` says "
        "otherwise; makes --outbound an ingress, which believes no header of the mesh",
    )
    add(
        "--trusted-hops",
        metavar="N",
        help="proxies in front of the ingress whose x-forwarded-* is believed (default: 0, nobody's); as "
        "Envoy's xff_num_trusted_hops, the client is the Nth address of x-forwarded-for from the right",
    )
    add(
        "--outbound-traffic-policy",
        metavar="MODE",
        help="REGISTRY_ONLY (default): a host that neither the registry nor a ServiceEntry has is refused; "
        "ALLOW_ANY: it is asked as it is, by plain HTTP, as the service PassthroughCluster",
    )
    add(
        "--policy",
        metavar="FILE",
        action="append",
        help="a VirtualService, DestinationRule, ServiceEntry or Fault, besides those of the registry "
        "(may be repeated)",
    )
    add("--otlp", metavar="URL", help="export traces there by OTLP over HTTP")
    add("--trace-sample", metavar="RATIO", help="share of new traces that are sampled (default: 1)")
    add("--access-log", metavar="FILE", help="JSON lines, in three files of 10 MB; - is standard error")
    add("--header-timeout", metavar="TIME", help="for a request head to arrive (default: 10s)")
    add("--idle-timeout", metavar="TIME", help="of an idle client connection (default: 60s)")
    add(
        "--upstream-timeout",
        metavar="TIME",
        help="for an answer to begin, all tries together (default: 0s, no limit)",
    )
    add(
        "--drain-timeout",
        metavar="TIME",
        help="for requests under way to end, from the begin of a drain (SIGTERM at the latest; default: 30s)",
    )
    add(
        "--workers",
        metavar="N",
        help="processes that share the listeners of a sidecar without --inbound (default: 1); each has its "
        "own limits, pools and retry budget, the admin listener answers for all; "
        "macOS does not spread connections evenly",
    )
    add_flags(parser)
    add("--log-level", metavar="LEVEL", help="debug, info, warning or error (default: info)")
    add("--config", metavar="FILE", help="YAML with the same names as the flags")
    return parser


def _read_file(path: str, known: set[str]) -> dict[str, object]:
    try:
        documents = read_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, NotPlain) as error:
        line = getattr(error, "line", None)
        where = "" if line is None else f"line {line}: "
        words = " ".join(str(error).split())
        raise ConfigError(f"--config {path}: cannot be read: {where}{words}") from error
    document = documents[0] if len(documents) == 1 else None
    if not isinstance(document, dict):
        raise ConfigError(f"--config {path}: must be a mapping of flag names to values")
    values = {str(key).replace("-", "_"): value for key, value in document.items()}
    for key in values:
        if key not in known:
            raise ConfigError(f"--config {path}: {key}: no such setting; see python -m sidecar --help")
    return values


def _convert(key: str, value: object, source: str) -> object:
    text = str(value)
    if key in ("inbound", "outbound", "app", "admin", "status"):
        return parse_address(text, source)
    if key == "advertise":
        return str(parse_advertised(text, source)).removesuffix(":0")
    if key in ("registry", "otlp"):
        return _parse_url(text, source)
    if key in _WORDS and not _WORD.fullmatch(text):
        raise ConfigError(f"{source}: {text[:60]!r} cannot stand in a header: write letters, digits, . and -")
    if key == "workers":
        return _whole(text, source, 1, MAX_WORKERS)
    if key in LIMIT_FLAGS:
        return int(_number(text, source, LIMIT_FLAGS[key].low, LIMIT_FLAGS[key].high))
    if key == "tcp":
        return tuple(_parse_tcp(str(item), source) for item in _as_list(value))
    if key == "inbound_protocol" and text not in ("http", "tcp"):
        raise ConfigError(f"{source}: {text!r} is not a protocol; use http or tcp")
    if key == "upstream_timeout" and text in ("0", "0s"):  # as in Envoy
        return math.inf
    if key.endswith(("_timeout", "_interval")):
        return parse_duration(text, source)
    if key.endswith("_token_file"):
        return Path(text)
    if key == "label":
        return tuple(parse_label(str(item), source) for item in _as_list(value))
    if key == "policy":
        return tuple(Path(str(item)) for item in _as_list(value))
    if key == "upstream":
        return tuple(_parse_upstream(str(item), source) for item in _as_list(value))
    if key == "default_service":
        _not_the_registry(text, source)
    if key == "outbound_traffic_policy" and text not in (REGISTRY_ONLY, ALLOW_ANY):
        raise ConfigError(f"{source}: {text[:40]!r} is no mode; use {REGISTRY_ONLY} or {ALLOW_ANY}")
    if key == "trusted_hops":
        return _whole(text, source, 0, MAX_TRUSTED_HOPS)
    if key == "trace_sample":
        return _number(text, source, 0.0, 1.0)
    if key == "log_level" and text.lower() not in ("debug", "info", "warning", "error"):
        raise ConfigError(f"{source}: {text!r} is not a level; use debug, info, warning or error")
    return text


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]


def _number(text: str, source: str, low: float, high: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise ConfigError(f"{source}: {text!r} is not a number from {low:g} to {high:g}")
    return number


def _whole(text: str, source: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise ConfigError(f"{source}: {text!r} is not a whole number from {low} to {high}")
    return int(text)


def parse_address(text: str, source: str) -> Address:
    """HOST:PORT, where an IPv6 host stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ConfigError(f"{source}: {text!r} is not HOST:PORT, for example 127.0.0.1:15001")
    return Address(host.strip("[]"), int(port))


def parse_advertised(text: str, source: str) -> Address:
    """HOST or HOST:PORT, port 0 when not said; one that means "everywhere" is none that anybody can reach."""
    bare = ":" not in text or (text.startswith("[") and text.endswith("]"))
    address = Address(text.strip("[]"), 0) if bare and text else parse_address(text, source)
    if address.host in ("0.0.0.0", "::", ""):
        raise ConfigError(f"{source}: {text!r} is nowhere for a caller; name this machine, as in orders-1")
    return address


def parse_label(text: str, source: str) -> tuple[str, str]:
    """KEY=VALUE, in Kubernetes' characters."""
    found = _LABEL.fullmatch(text)
    if found is None:
        raise ConfigError(f"{source}: {text[:80]!r} is not KEY=VALUE, for example tier=gold")
    return found.group(1), found.group(2)


def parse_duration(text: str, source: str) -> float:
    """Seconds of a duration with a unit, as Istio and Consul write them."""
    match = _DURATION.fullmatch(text)
    if match is None or float(match.group(1)) <= 0:
        raise ConfigError(f"{source}: {text!r} is not a duration; write for example 500ms, 10s or 2m")
    return float(match.group(1)) * _UNITS[match.group(2)]


def _parse_url(text: str, source: str) -> str:
    """http(s)://HOST[:PORT], as it is; a registry may also be HOST:PORT."""
    try:
        parts = urlsplit(text if "//" in text else f"http://{text}")
        port = parts.port
    except ValueError:  # brackets, or a port that is none
        port = -1
    if port == -1 or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{source}: {text[:80]!r} is no URL, for example http://127.0.0.1:8500")
    return text


def _parse_upstream(text: str, source: str) -> tuple[str, tuple[Address, ...]]:
    name, equals, addresses = text.partition("=")
    if not equals or not name or not addresses:
        raise ConfigError(f"{source}: {text!r} is not SERVICE=HOST:PORT[,HOST:PORT…]")
    return name, tuple(parse_address(item, source) for item in addresses.split(","))


def _parse_tcp(text: str, source: str) -> tuple[str, Address]:
    address, equals, name = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"{source}: {text!r} is not HOST:PORT=SERVICE, for example 127.0.0.1:6379=redis")
    _not_the_registry(name, source)
    return name, parse_address(address, source)


def _not_the_registry(service: str, source: str) -> None:
    if is_registry(service):
        raise ConfigError(
            f"{source}: {service!r} is the registry itself, and no sidecar leads there; name a service"
        )
