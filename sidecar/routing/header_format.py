"""A header's value with Envoy's command operators (`%REQ(x-user)%`, `%PROTOCOL%`, `%%`), read once.

What is not known is refused, and so is what an Envoy would have to be given for it (a secret, a file). What
there never is between sidecars (a TLS session, a filter's metadata) is known, and nothing: as in Envoy, a
header whose value comes out empty is not sent.
"""

import json
import re
from dataclasses import dataclass
from typing import Final

COALESCED: Final = '{"operators": ["HOSTNAME", {"command": "REQ", "param": "x-user"}]}'

OPERATORS_MAX: Final = 32
"""Of one value: each may be as long as a request's head."""

DEPTH_MAX: Final = 2
"""COALESCE inside COALESCE; more is a slip."""

# Envoy's own expression; an argument has no closing parenthesis in it
_OPERATOR: Final = re.compile(r"%([A-Z0-9_]+)(?:\(([^)]*)\))?(?::([0-9]{1,5}))?%")
_ADDRESS: Final = re.compile(r"[0-9]{0,3}")
_NAME: Final = re.compile(r":?[!#$&'*+\-.^_`|~0-9A-Za-z]+")

_PLAIN: Final = """
BYTES_RECEIVED BYTES_SENT DOWNSTREAM_DIRECT_LOCAL_ADDRESS DOWNSTREAM_DIRECT_LOCAL_PORT
DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_LOCAL_ADDRESS
DOWNSTREAM_LOCAL_PORT DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_PORT DURATION HOSTNAME PROTOCOL
RESPONSE_CODE RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_FLAGS_LONG ROUTE_NAME SPAN_ID STREAM_ID TRACE_ID
UNIQUE_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_HOST UPSTREAM_HOSTS_ATTEMPTED
UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME UPSTREAM_HOST_NAMES_ATTEMPTED
UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS
UPSTREAM_LOCAL_PORT UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_PORT
UPSTREAM_REQUEST_ATTEMPT_COUNT
"""
PLAIN: Final = frozenset(_PLAIN.split())
"""Those that take nothing."""
MASKED: Final = frozenset(
    f"{side}_ADDRESS_WITHOUT_PORT"
    for side in (
        "DOWNSTREAM_DIRECT_LOCAL",
        "DOWNSTREAM_DIRECT_REMOTE",
        "DOWNSTREAM_LOCAL",
        "DOWNSTREAM_REMOTE",
        "UPSTREAM_LOCAL",
        "UPSTREAM_REMOTE",
    )
)
"""An address, or the network of so many bits that it is in."""
HEADERS: Final = {"REQUEST_HEADER": "REQ", "RESPONSE_HEADER": "RESP"}
"""The longer names of the same."""
TIMES: Final = frozenset({"START_TIME", "START_TIME_LOCAL", "EMIT_TIME", "EMIT_TIME_LOCAL"})
_CHOICES: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "PATH": (("WQ", "NQ"), ("ORIG", "PATH", "ORIG_OR_PATH")),
    "QUERY_PARAMS": (("ORIG", "DECODED"),),
    "REQUESTED_SERVER_NAME": (("SNI_ONLY", "SNI_FIRST", "HOST_FIRST"), ("ORIG", "HOST", "ORIG_OR_HOST")),
    "RESPONSE_CODE_DETAILS": (("ALLOW_WHITESPACES",),),
}
_NAMED: Final = frozenset({"REQ", "RESP", "REQ_WITHOUT_QUERY"})
_NOTHING: Final = re.compile(
    r"""CONNECTION_TERMINATION_DETAILS|RESPONSE_TX_DURATION|DOWNSTREAM_HANDSHAKE_DURATION|ROUNDTRIP_DURATION
    |VIRTUAL_CLUSTER_NAME|(UP|DOWN)STREAM_(TRANSPORT_FAILURE_REASON|DETECTED_CLOSE_TYPE|LOCAL_CLOSE_REASON)
    |UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID|DOWNSTREAM_(DIRECT_)?LOCAL_ADDRESS_ENDPOINT_ID
    |GRPC_STATUS|GRPC_STATUS_NUMBER|TRAILER|RESPONSE_TRAILER|LOCAL_REPLY_BODY|FILTER_CHAIN_NAME
    |ACCESS_LOG_TYPE|CUSTOM_FLAGS|PER_REQUEST_STATE|METADATA|(DYNAMIC|CLUSTER|UPSTREAM)_METADATA|(UPSTREAM_)?FILTER_STATE
    |(UP|DOWN)STREAM_(LOCAL|PEER)_((IP|DNS|URI|EMAIL|OTHERNAME)_SAN|SUBJECT|ISSUER)
    |(UP|DOWN)STREAM_TLS_(SESSION_ID|CIPHER|GROUP|VERSION)|UPSTREAM_SERVER_NAME|TLS_JA[34]_FINGERPRINT
    |(UP|DOWN)STREAM_PEER_CERT(_V_START|_V_END)?
    |DOWNSTREAM_PEER_(ISSUER_|CHAIN_)?(FINGERPRINTS?_(1|256)|SERIALS?)""",
    re.VERBOSE,
)
_NOT_MEASURED: Final = "is not measured here"
_UNMEASURED: Final = """
BYTES_RETRANSMITTED PACKETS_RETRANSMITTED COMMON_DURATION REQUEST_DURATION REQUEST_TX_DURATION
REQUEST_HEADERS_BYTES RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES CONNECTION_ID UPSTREAM_CONNECTION_ID
UPSTREAM_CONNECTION_IDS_ATTEMPTED UPSTREAM_CONNECTION_POOL_READY_DURATION
"""
_REFUSED: Final = {
    "ENVIRONMENT": "is not honoured here: the sidecar's environment holds its own secrets; write the value",
    "SECRET": "is not honoured here: it needs an extension of Envoy; write the value",
    "FILE_CONTENT": "is not honoured here: no document reads files; write the value",
    "CEL": "is not honoured here: it needs an extension of Envoy; use the operators",
    "TYPED_CEL": "is not honoured here: it needs an extension of Envoy; use the operators",
    **dict.fromkeys(_UNMEASURED.split(), _NOT_MEASURED),
}


@dataclass(frozen=True, slots=True)
class Operator:
    """`arguments` are checked; `limit` is how many characters of it are used (None = all)."""

    name: str
    arguments: tuple[str, ...] = ()
    limit: int | None = None
    inner: tuple["Operator", ...] = ()  # of COALESCE: the first that is not empty


@dataclass(frozen=True, slots=True)
class HeaderFormat:
    """Text and operators in turn."""

    parts: tuple[bytes | Operator, ...]

    @property
    def text(self) -> bytes | None:
        """The value, if it is the same for every request."""
        if any(isinstance(part, Operator) for part in self.parts):
            return None
        return b"".join(part for part in self.parts if isinstance(part, bytes))


def read_format(text: str) -> HeaderFormat:
    """Raises ValueError, in one line, for what Envoy or we do not take."""
    parts: list[bytes | Operator] = []
    at = operators = 0
    while (found := text.find("%", at)) >= 0:
        parts.append(text[at:found].encode())
        if text.startswith("%%", found):
            parts.append(b"%")
            at = found + 2
            continue
        match = _OPERATOR.match(text, found)
        if match is None:
            shown = text[found : found + 20]
            raise ValueError(f"{shown!r} is no operator like %REQ(x-user)%; a percent sign itself is %%")
        operators += 1
        if operators > OPERATORS_MAX:
            raise ValueError(f"has more than {OPERATORS_MAX} operators")
        limit = None if match[3] is None else int(match[3])
        parts.append(_operator(match[1], match[2], limit))
        at = match.end()
    parts.append(text[at:].encode())
    return HeaderFormat(tuple(part for part in parts if part != b""))


def _operator(name: str, argument: str | None, limit: int | None, depth: int = 0) -> Operator:
    name = HEADERS.get(name, name)
    where = f"%{name}%"
    if limit is not None and (name in PLAIN or name in MASKED or name in TIMES):
        raise ValueError(f"{where} takes no length")
    if name in PLAIN:
        if argument is not None:
            raise ValueError(f"{where} takes nothing in parentheses")
        return Operator(name)
    if name in MASKED:
        return Operator(name, _mask(where, argument), limit)
    if name in TIMES:
        return Operator(name, () if argument is None else (argument,), limit)
    if name in _NAMED:
        return Operator(name, _names(where, argument), limit)
    if name == "QUERY_PARAM":
        if not argument:
            raise ValueError(f"{where} needs the name of a parameter, as in %QUERY_PARAM(user)%")
        return Operator(name, (argument,), limit)
    if name in _CHOICES:
        return Operator(name, _choose(where, argument, _CHOICES[name]), limit)
    if name == "COALESCE":
        return Operator(name, (), limit, _coalesce(where, argument, depth))
    if _NOTHING.fullmatch(name):
        return Operator("NOTHING")
    if name.endswith(("_BYTES_SENT", "_BYTES_RECEIVED")):
        raise ValueError(f"{where} {_NOT_MEASURED}")
    raise ValueError(f"{where} {_REFUSED.get(name, 'is unknown to Envoy')}")


def _mask(where: str, argument: str | None) -> tuple[str, ...]:
    if not argument:
        return ()
    if not _ADDRESS.fullmatch(argument) or int(argument) > 128:
        raise ValueError(f"{where} takes a number of bits, 0 to 32 (IPv6: to 128), not {argument[:20]!r}")
    return (argument,)


def _names(where: str, argument: str | None) -> tuple[str, ...]:
    """The header and, behind a question mark, the one that stands in for it."""
    names = (argument or "").split("?")
    if len(names) > 2 or not all(map(_NAME.fullmatch, names)):
        raise ValueError(f"{where} needs the name of a header, or two as in %REQ(x-user?x-client)%")
    return tuple(name.lower() for name in names)


def _choose(where: str, argument: str | None, choices: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    given = (argument or "").split(":")
    fits = len(given) <= len(choices) and all(
        word == "" or word in words for word, words in zip(given, choices, strict=False)
    )
    if not fits:
        known = ":".join("|".join(words) for words in choices)
        raise ValueError(f"{where} takes ({known}), not {(argument or '')[:40]!r}")
    return tuple(given)


def _coalesce(where: str, argument: str | None, depth: int) -> tuple[Operator, ...]:
    words = f'{where} takes JSON like {{"operators": ["HOSTNAME", {{"command": "REQ", "param": "x"}}]}}'
    try:
        listed = json.loads(argument or "")["operators"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(words) from None
    if not isinstance(listed, list) or not 0 < len(listed) <= OPERATORS_MAX or depth >= DEPTH_MAX:
        raise ValueError(words)
    found = []
    for entry in listed:
        given = {"command": entry} if isinstance(entry, str) else entry
        if not isinstance(given, dict) or not given.keys() <= {"command", "param", "max_length"}:
            raise ValueError(words)
        name, param, limit = given.get("command"), given.get("param"), given.get("max_length")
        if not (isinstance(name, str) and isinstance(param, str | None) and isinstance(limit, int | None)):
            raise ValueError(words)
        if isinstance(limit, bool) or (limit is not None and limit < 0):
            raise ValueError(words)
        found.append(_operator(name, param, limit, depth + 1))
    return tuple(found)
