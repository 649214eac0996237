"""Header values with operators (`routing/header_format.py`), as one request has them: Envoy's words for it.

Operators that Envoy cannot answer while it sends the request (the answer's status, the connection to the
backend) are empty there, as in Envoy; and a header whose value comes out empty is not sent, nor replaced.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from .errors import Flag
from .routing.header_format import HeaderFormat, Operator
from .routing.headers import HeaderOps
from .routing.match import parse_query
from .wire.headers import is_safe_value

if TYPE_CHECKING:
    from .exchange_state import ExchangeState

# As much as a whole head may have: what a few operators make of a long header is not sent.
VALUE_MAX: Final = 64 * 1024
_ISO: Final = "%Y-%m-%dT%H:%M:%S.%3fZ"
_FRACTION: Final = re.compile(r"%%|%([1-9]?)f|%s")
_LONG_FLAGS: Final = {
    "UH": "NoHealthyUpstream", "UF": "UpstreamConnectionFailure", "UO": "UpstreamOverflow",
    "NR": "NoRouteFound", "URX": "UpstreamRetryLimitExceeded", "NC": "NoClusterFound",
    "DT": "DurationTimeout", "DC": "DownstreamConnectionTermination", "UT": "UpstreamRequestTimeout",
    "LR": "LocalReset", "UC": "UpstreamConnectionTermination", "DI": "DelayInjected", "FI": "FaultInjected",
    "RL": "RateLimited", "SI": "StreamIdleTimeout", "DPE": "DownstreamProtocolError",
    "UPE": "UpstreamProtocolError", "OM": "OverloadManagerTerminated",
}  # fmt: skip


class Answered(NamedTuple):
    """The answer whose headers are written: `details` as Envoy names where it comes from."""

    status: int
    fields: Sequence[tuple[bytes, bytes]]
    details: str
    flag: Flag | None = None


def resolved(operations: HeaderOps, exchange: ExchangeState, answer: Answered | None) -> HeaderOps:
    """The operations for one request (`answer` None) or its answer; as they are if nothing is to be filled
    in.
    """
    if not operations.formatted:
        return operations
    setting, adding = list(operations.set), list(operations.add)
    facts = _Facts(exchange, answer)
    for entry in operations.formatted:
        value = facts.value_of(entry.format)
        if value:
            (setting if entry.replaces else adding).append((entry.name, value))
    return HeaderOps(tuple(setting), tuple(adding), operations.remove)


def asked(
    operations: HeaderOps, exchange: ExchangeState, status: int, flag: Flag, details: str
) -> tuple[tuple[bytes, bytes], ...]:
    """What a route's headers add to an answer of the proxy's own."""
    made = resolved(operations, exchange, Answered(status, (), details, flag))
    return (*made.set, *made.add)


class _Facts:
    """What the operators ask, of one request."""

    __slots__ = ("answer", "exchange", "head")

    def __init__(self, exchange: ExchangeState, answer: Answered | None) -> None:
        self.exchange = exchange
        self.head = exchange.head
        self.answer = answer

    def value_of(self, form: HeaderFormat) -> bytes:
        """The text; empty if it would be none that a header may have."""
        pieces = [part if isinstance(part, bytes) else self.of(part) for part in form.parts]
        value = b"".join(pieces)
        return value if len(value) <= VALUE_MAX and is_safe_value(value) else b""

    def of(self, operator: Operator) -> bytes:
        if operator.inner:
            value = next(filter(None, map(self.of, operator.inner)), b"")
        else:
            found = _PLAIN.get(operator.name)
            value = found(self) if found is not None else _TAKING[operator.name](self, operator.arguments)
        return value if operator.limit is None else value[: operator.limit]

    # -- ends of connections -----------------------------------------------------------------------

    def downstream(self, end: str) -> tuple[str, int] | None:
        return self.exchange.client_end(end)

    def client(self) -> tuple[str, int] | None:
        """Who asks: behind trusted proxies who they say it is, and of that no port is known."""
        exchange = self.exchange
        return (exchange.peer, 0) if exchange.peer != exchange.remote else self.downstream("peername")

    def upstream(self, end: str) -> tuple[str, int] | None:
        return None if self.answer is None else self.exchange.upstream_end(end)

    def endpoint(self) -> tuple[str, int] | None:
        attempts = self.exchange.attempts
        return (attempts[-1].endpoint.host, attempts[-1].endpoint.port) if attempts else None

    def attempted(self, *, port: bool) -> bytes:
        made = [attempt.endpoint for attempt in self.exchange.attempts]
        return ",".join(each.address if port else each.host for each in made).encode()

    # -- time --------------------------------------------------------------------------------------

    def elapsed(self) -> bytes:
        return b"%d" % ((self.exchange.proxy.clock() - self.exchange.started) * 1000)

    def first_byte(self) -> bytes:
        exchange = self.exchange
        if self.answer is None or not exchange.upstream_s:
            return b""
        since = exchange.attempts[-1].started + exchange.upstream_s - exchange.started
        return b"%d" % (since * 1000)

    def moment(self, arguments: tuple[str, ...], *, start: bool, local: bool) -> bytes:
        proxy = self.exchange.proxy
        at = proxy.wall_clock() - (proxy.clock() - self.exchange.started if start else 0.0)
        return format_time(at, arguments[0] if arguments else _ISO, local=local).encode()

    # -- the messages ------------------------------------------------------------------------------

    def request_header(self, names: tuple[str, ...]) -> bytes:
        return next(filter(None, map(self._request_header, names)), b"")

    def _request_header(self, name: str) -> bytes:
        pseudo = {":authority": self.head.host, ":method": self.head.method, ":scheme": b"http"}
        if name.startswith(":"):
            return self.path() if name == ":path" else pseudo.get(name, b"")
        wanted = name.encode()
        if wanted == b"host":
            return self.head.host
        given = self.exchange.proxy.believed(self.head)
        own = (line.partition(b": ") for line in self.exchange.proxy.request_fields(self.exchange))
        told = [*((key, value.removesuffix(b"\r\n")) for key, _, value in own), *given]
        return next((value for key, value in told if key.lower() == wanted), b"")

    def response_header(self, names: tuple[str, ...]) -> bytes:
        if self.answer is None:
            return b""
        for name in names:
            wanted = name.encode()
            if name == ":status":
                return b"%d" % self.answer.status
            found = next((value for key, value in self.answer.fields if key.lower() == wanted), b"")
            if found:
                return found
        return b""

    def path(self) -> bytes:
        """As it is sent on: rewritten, once it has been."""
        rewrite = None if self.exchange.route is None else self.exchange.route.rewrite
        target = self.head.target
        return target if self.answer is None or rewrite is None else rewrite.target(target)

    def path_of(self, arguments: tuple[str, ...]) -> bytes:
        query, source = (*arguments, "")[:2]
        path = self.path()
        if source == "ORIG":
            path = self.head.target if path != self.head.target else b""
        elif source != "PATH":
            path = self.head.target
        return path.partition(b"?")[0] if query == "NQ" else path

    def queries(self, arguments: tuple[str, ...]) -> bytes:
        query = self.path().partition(b"?")[2]
        return unquote_to_bytes(query) if "DECODED" in arguments else query

    def query(self, arguments: tuple[str, ...]) -> bytes:
        return parse_query(self.path().partition(b"?")[2]).get(arguments[0].encode(), b"")

    def details(self, arguments: tuple[str, ...]) -> bytes:
        text = "" if self.answer is None else self.answer.details
        return (text if "ALLOW_WHITESPACES" in arguments else "_".join(text.split())).encode(
            "latin-1", "replace"
        )

    def route_name(self) -> bytes:
        """As Istio names it: an http block's own name; one without a name has none."""
        name = self.exchange.route_name
        document, _, rule = name.partition("/")
        return b"default" if document == "default" else b"" if rule.isdecimal() else rule.encode()

    def unique(self) -> bytes:
        return str(uuid.UUID(int=self.exchange.proxy.rng.getrandbits(128), version=4)).encode()


def format_time(at: float, form: str, *, local: bool = False) -> str:
    """`form` as strftime has it, with %s and fractions of a second (%3f)."""
    nanoseconds = round(at * 1e9)
    seconds, rest = divmod(nanoseconds, 10**9)

    def fill(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%%"
        return str(seconds) if found[0] == "%s" else f"{rest:09d}"[: int(found[1] or 9)]

    moment = datetime.fromtimestamp(seconds, UTC)
    if local:
        moment = moment.astimezone()
    return moment.strftime(_FRACTION.sub(fill, form))


def _address(end: tuple[str, int] | None) -> bytes:
    if end is None:
        return b""
    host, port = end
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()


def _port(end: tuple[str, int] | None) -> bytes:
    return b"" if end is None else b"%d" % end[1]


def _host(end: tuple[str, int] | None, arguments: tuple[str, ...] = ()) -> bytes:
    if end is None or not arguments:
        return b"" if end is None else end[0].encode()
    try:
        return str(ipaddress.ip_network(f"{end[0]}/{arguments[0]}", strict=False)).encode()
    except ValueError:  # no address, or more bits than it has
        return b""


_ENDS: Final[dict[str, Callable[[_Facts], tuple[str, int] | None]]] = {
    "DOWNSTREAM_REMOTE": _Facts.client,
    "DOWNSTREAM_DIRECT_REMOTE": lambda facts: facts.downstream("peername"),
    "DOWNSTREAM_LOCAL": lambda facts: facts.downstream("sockname"),
    "DOWNSTREAM_DIRECT_LOCAL": lambda facts: facts.downstream("sockname"),
    "UPSTREAM_REMOTE": lambda facts: facts.upstream("peername"),
    "UPSTREAM_LOCAL": lambda facts: facts.upstream("sockname"),
}


def _plain() -> dict[str, Callable[[_Facts], bytes]]:
    found: dict[str, Callable[[_Facts], bytes]] = {
        "BYTES_RECEIVED": lambda facts: b"%d" % facts.exchange.bytes_in,
        "BYTES_SENT": lambda facts: b"0",  # a head goes out before its body
        "DURATION": _Facts.elapsed,
        "HOSTNAME": lambda facts: facts.exchange.proxy.instance.encode(),
        "PROTOCOL": lambda facts: b"HTTP/1.1" if facts.head.http11 else b"HTTP/1.0",
        "RESPONSE_CODE": lambda facts: b"%d" % (0 if facts.answer is None else facts.answer.status),
        "RESPONSE_DURATION": _Facts.first_byte,
        "RESPONSE_FLAGS": lambda facts: _flag(facts.answer).encode(),
        "RESPONSE_FLAGS_LONG": lambda facts: _LONG_FLAGS.get(
            _flag(facts.answer), _flag(facts.answer)
        ).encode(),
        "ROUTE_NAME": _Facts.route_name,
        "SPAN_ID": lambda facts: facts.exchange.span.span_id,
        "STREAM_ID": lambda facts: facts.exchange.request_id,
        "TRACE_ID": lambda facts: facts.exchange.span.trace_id,
        "UNIQUE_ID": _Facts.unique,
        "UPSTREAM_HOSTS_ATTEMPTED": lambda facts: facts.attempted(port=True),
        "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT": lambda facts: facts.attempted(port=False),
        "UPSTREAM_HOST": lambda facts: _address(facts.endpoint()),
        "UPSTREAM_HOST_NAME": lambda facts: _address(facts.endpoint()),
        "UPSTREAM_HOST_NAME_WITHOUT_PORT": lambda facts: _host(facts.endpoint()),
        "UPSTREAM_CLUSTER": lambda facts: facts.exchange.target_name.encode(),
        "UPSTREAM_PROTOCOL": lambda facts: b"" if facts.answer is None else b"HTTP/1.1",
        "UPSTREAM_REQUEST_ATTEMPT_COUNT": lambda facts: b"%d" % len(facts.exchange.attempts),
        "NOTHING": lambda facts: b"",
    }
    found["UPSTREAM_CLUSTER_RAW"] = found["UPSTREAM_CLUSTER"]
    found["UPSTREAM_HOST_NAMES_ATTEMPTED"] = found["UPSTREAM_HOSTS_ATTEMPTED"]
    found["UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT"] = found["UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT"]
    for name, end in _ENDS.items():
        found[f"{name}_ADDRESS"] = lambda facts, end=end: _address(end(facts))  # type: ignore[misc]  # mypy sees two arguments
        found[f"{name}_PORT"] = lambda facts, end=end: _port(end(facts))  # type: ignore[misc]  # the same
    return found


def _taking() -> dict[str, Callable[[_Facts, tuple[str, ...]], bytes]]:
    found: dict[str, Callable[[_Facts, tuple[str, ...]], bytes]] = {
        "REQ": _Facts.request_header,
        "REQ_WITHOUT_QUERY": lambda facts, names: facts.request_header(names).partition(b"?")[0],
        "RESP": _Facts.response_header,
        "PATH": _Facts.path_of,
        "QUERY_PARAM": _Facts.query,
        "QUERY_PARAMS": _Facts.queries,
        "REQUESTED_SERVER_NAME": lambda facts, how: b"" if how[0] in ("", "SNI_ONLY") else facts.head.host,
        "RESPONSE_CODE_DETAILS": _Facts.details,
    }
    for start in (True, False):
        for local in (True, False):
            name = ("START" if start else "EMIT") + ("_TIME_LOCAL" if local else "_TIME")
            found[name] = lambda facts, form, start=start, local=local: facts.moment(  # type: ignore[misc]  # the same
                form, start=start, local=local
            )
    for name, end in _ENDS.items():
        found[f"{name}_ADDRESS_WITHOUT_PORT"] = lambda facts, bits, end=end: _host(end(facts), bits)  # type: ignore[misc]  # the same
    return found


def _flag(answer: Answered | None) -> str:
    return "-" if answer is None or answer.flag is None else answer.flag.name


_PLAIN: Final = _plain()
_TAKING: Final = _taking()
