"""VirtualService -> rules of the route table (for callers), and faults (for the called service's own
sidecars).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ..policy.backoff import BackoffPolicy
from ..policy.fault import Action, Delay, FaultRule
from ..policy.hash_key import HashKey
from ..policy.retry import CONDITIONS, RetryPolicy
from .compile_rule import key_of
from .cors import Cors
from .errors import Problem
from .fields import StringMatch
from .headers import FORBIDDEN, HeaderOps
from .match import Match, Text
from .route import DirectResponse, Mirror, Redirect, Rewrite, Route, Split
from .table import Rule
from .virtual_service import (
    CorsPolicy,
    HeaderValues,
    HTTPMatchRequest,
    HTTPRetry,
    HTTPRoute,
    VirtualService,
)

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_REFUSED_CONDITIONS: Final = {
    **dict.fromkeys(
        ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"),
        "is about gRPC, which is not honoured here",
    ),
    "retriable-4xx": "is not honoured: a 4xx would be the same again",
    "retriable-headers": "is not honoured: use status codes",
    "http3-post-connect-failure": "is not honoured: there is no HTTP/3",
}
PEER_HEADER: Final = b"x-envoy-peer-metadata-id"  # instance~service~version
BACKOFF_CAP: Final = 10.0  # x base, as in Envoy


class ServiceCompiler:
    """Compiles one VirtualService for one sidecar; problems are collected, not raised.

    `labels` are those of the calling sidecar (for sourceLabels), `hash_key_of` gives the hash of an upstream
    key, `has_subset(key)` says whether a DestinationRule defines it.
    """

    def __init__(
        self,
        document: VirtualService,
        labels: Mapping[str, str],
        ingress: bool,
        unsafe_too: bool,
        has_subset: Callable[[str], bool],
        hash_key_of: Callable[[str], HashKey | None],
    ) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self._labels = labels
        self._ingress = ingress
        self._unsafe_too = unsafe_too
        self._has_subset = has_subset
        self._hash_key_of = hash_key_of

    # ---- for callers -------------------------------------------------------------------------------

    def applies(self, gateways: Sequence[str]) -> bool:
        """No gateways, or `mesh` among them: everywhere. Others only: at the ingress, which is the one
        gateway.
        """
        return not gateways or "mesh" in gateways or self._ingress

    def rules(self) -> list[Rule]:
        """The rules in the document's order; those that can never mean this caller are left out."""
        if not self.applies(self.document.spec.gateways):
            return []
        found = []
        for index, block in enumerate(self.document.spec.http):
            path = f"spec.http[{index}]"
            name = f"{self.document.metadata.name}/{block.name or index}"
            requests = [request for request in block.match if self._from_here(request)]
            base = self._base_route(block, name, path)
            arms = self._arms(block, base, path)
            if block.match and not requests:
                continue
            matches = [compile_match(request) for request in requests]
            routes = [self._route(block, arms, match) for match in matches or [Match()]]
            found.append(Rule(name, matches, routes))
        return found

    def _from_here(self, request: HTTPMatchRequest) -> bool:
        if request.gateways and not self.applies(request.gateways):
            return False
        return all(self._labels.get(key) == value for key, value in request.sourceLabels.items())

    def _base_route(self, block: HTTPRoute, name: str, path: str) -> Route:
        mirrors = []
        if block.mirror is not None:
            percent = 100.0 if block.mirrorPercentage is None else block.mirrorPercentage.value
            where = f"{path}.mirror"
            mirrors.append(Mirror(self._key(block.mirror.host, block.mirror.subset, where), percent))
        for index, extra in enumerate(block.mirrors):
            where = f"{path}.mirrors[{index}].destination"
            key = self._key(extra.destination.host, extra.destination.subset, where)
            mirrors.append(Mirror(key, extra.percentage.value))
        redirect = None
        if block.redirect is not None:
            given = block.redirect
            redirect = Redirect(given.redirectCode, given.uri, given.authority, given.port, given.scheme)
        direct = None
        if block.directResponse is not None:
            answer = block.directResponse
            direct = DirectResponse(answer.status, answer.body.string.encode())
        return Route(
            name=name,
            upstream="",
            timeout_s=block.timeout or None,  # 0s = none of its own, as in Istio
            retry=self._retry(block.retries, path),
            redirect=redirect,
            direct=direct,
            request_headers=self._operations(block.headers.request, f"{path}.headers.request"),
            response_headers=self._operations(block.headers.response, f"{path}.headers.response"),
            cors=None if block.corsPolicy is None else _cors(block.corsPolicy),
            mirrors=tuple(mirrors),
        )

    def _arms(self, block: HTTPRoute, base: Route, path: str) -> list[tuple[Route, int]]:
        arms = []
        for index, arm in enumerate(block.route):
            where = f"{path}.route[{index}]"
            key = self._key(arm.destination.host, arm.destination.subset, f"{where}.destination")
            request = self._operations(arm.headers.request, f"{where}.headers.request")
            response = self._operations(arm.headers.response, f"{where}.headers.response")
            route = replace(
                base,
                upstream=key,
                request_headers=_joined(base.request_headers, request),
                response_headers=_joined(base.response_headers, response),
                hash_key=self._hash_key_of(key),
            )
            arms.append((route, arm.weight))
        return arms or [(base, 1)]

    def _route(self, block: HTTPRoute, arms: list[tuple[Route, int]], match: Match) -> Route:
        """The arms for one match: only a rewrite depends on it."""
        rewrite = _rewrite(block, match)
        routes = [replace(route, rewrite=rewrite) for route, _ in arms]
        if len(routes) == 1:
            return routes[0]
        # each arm knows the split, so that a retry can draw anew; the split is made first, for it is what
        # they share
        weights = tuple(weight for _, weight in arms)
        split = Split((), weights)
        split.arms = tuple(replace(route, split=split) for route in routes)
        return split.arms[0]

    # ---- for the called service --------------------------------------------------------------------

    def faults(self, mine: Callable[[str], bool]) -> list[FaultRule]:
        """Rules for a sidecar whose own instance belongs to the upstream keys that `mine` accepts."""
        found: list[FaultRule] = []
        for index, block in enumerate(self.document.spec.http):
            name = f"{self.document.metadata.name}/{block.name or index}"
            if not any(mine(key) for key in self.keys(block)):
                continue
            matches: list[Match | None] = [*self.matches_below(block)] or [None]
            for position, match in enumerate(matches):
                found.append(_fault(f"{name}#{position}", match, block))
        # rules without a fault only matter as shields before one that has
        while found and found[-1].delay is None and found[-1].action is Action.NONE:
            found.pop()
        return found

    def keys(self, block: HTTPRoute) -> list[str]:
        """The upstreams that a rule leads to."""
        return [key_of(arm.destination.host, arm.destination.subset) for arm in block.route]

    def matches_below(self, block: HTTPRoute) -> list[Match]:
        """A rule's matches as the called service sees its requests."""
        found = []
        for request in block.match:
            match = _as_rewritten(compile_match(request), block)
            if request.sourceLabels:  # below, the caller is known by the header that its sidecar sends
                match = replace(match, headers=(*match.headers, (PEER_HEADER, _peer(request.sourceLabels))))
            found.append(match)
        return found

    # ---- pieces ------------------------------------------------------------------------------------

    def _key(self, host: str, subset: str | None, path: str) -> str:
        key = key_of(host, subset)
        if subset is not None and not self._has_subset(key):
            words = f"no DestinationRule for {key.partition('|')[0]!r} defines the subset {subset!r}"
            self._wrong(f"{path}.subset", words)
        return key

    def _operations(self, values: HeaderValues, path: str) -> HeaderOps:
        for part, names in (("set", values.set), ("add", values.add), ("remove", values.remove)):
            for name in names:
                if not _TOKEN.fullmatch(name):
                    self._wrong(f"{path}.{part}", f"{name!r} is no header name")
                elif name.lower().encode() in FORBIDDEN:
                    remedy = "; use rewrite.authority" if name.lower() == "host" else ""
                    self._wrong(
                        f"{path}.{part}", f"{name!r} belongs to the connection, not to the message{remedy}"
                    )
        for name, value in [*values.set.items(), *values.add.items()]:
            if any(ord(letter) < 32 and letter != "\t" for letter in value) or not value.isascii():
                self._wrong(path, f"the value of {name!r} has characters that no header may have")
        return HeaderOps(
            set=tuple((name.encode(), value.encode()) for name, value in values.set.items()),
            add=tuple((name.encode(), value.encode()) for name, value in values.add.items()),
            remove=frozenset(name.lower().encode() for name in values.remove),
        )

    def _retry(self, block: HTTPRetry | None, path: str) -> RetryPolicy | None:
        if block is None:
            return RetryPolicy(unsafe_too=True) if self._unsafe_too else None
        policy = RetryPolicy(max_attempts=block.attempts + 1, unsafe_too=self._unsafe_too)
        if block.attempts == 0:
            return policy
        policy = replace(policy, max_connect_attempts=max(block.attempts + 1, policy.max_connect_attempts))
        if block.perTryTimeout:
            policy = replace(policy, per_try_s=block.perTryTimeout)
        if block.backoff:
            policy = replace(policy, backoff=BackoffPolicy(block.backoff, BACKOFF_CAP * block.backoff))
        if block.retryOn is not None:
            conditions, statuses = set(), set()
            for word in filter(None, (part.strip() for part in block.retryOn.split(","))):
                if word.isdigit():
                    if word == "429":
                        conditions.add("rate-limited")
                    elif 500 <= int(word) <= 599:
                        conditions.add("retriable-status-codes")
                        statuses.add(int(word))
                    else:
                        self._wrong(f"{path}.retries.retryOn", f"{word} is no failure of the service")
                elif word == "envoy-ratelimited":
                    conditions.add("rate-limited")
                elif word in CONDITIONS:
                    conditions.add(word)
                else:
                    known = ", ".join(sorted(CONDITIONS))
                    words = _REFUSED_CONDITIONS.get(word, f"is unknown; known are status codes and {known}")
                    self._wrong(f"{path}.retries.retryOn", f"{word!r} {words}")
            policy = replace(policy, retry_on=frozenset(conditions), statuses=frozenset(statuses))
        return policy

    def _wrong(self, path: str, words: str) -> None:
        problem = Problem(self.document.key, path, words)
        if problem not in self.problems:
            self.problems.append(problem)


def compile_match(request: HTTPMatchRequest) -> Match:
    """The conditions that a request itself can meet; sourceLabels and gateways are about who asks."""
    return Match(
        path=_text(request.uri, request.ignoreUriCase),
        method=_text(request.method),
        authority=_text(request.authority),
        headers=_named(request.headers, lower=True),
        without=_named(request.withoutHeaders, lower=True),
        query=_named(request.queryParams, lower=False),
    )


def _peer(labels: Mapping[str, str]) -> Text:
    """The caller's `app` and `version`; other labels are not sent along, so they match nobody."""
    if set(labels) - {"app", "version"}:
        return Text("regex", b"(?!)")
    app, version = (re.escape(labels[name]) if name in labels else "[^~]*" for name in ("app", "version"))
    return Text("regex", f"[^~]*~{app}~{version}".encode())


def _named(conditions: Mapping[str, StringMatch], lower: bool) -> tuple[tuple[bytes, Text], ...]:
    return tuple(
        ((name.lower() if lower else name).encode(), _must(condition))
        for name, condition in conditions.items()
    )


def _text(match: StringMatch | None, ignore_case: bool = False) -> Text | None:
    return None if match is None else _must(match, ignore_case)


def _must(match: StringMatch, ignore_case: bool = False) -> Text:
    if match.exact is not None:
        return Text("exact", match.exact.encode(), ignore_case)
    if match.prefix is not None:
        return Text("prefix", match.prefix.encode(), ignore_case)
    return Text("regex", (match.regex or "").encode(), ignore_case)


def _joined(first: HeaderOps, then: HeaderOps) -> HeaderOps:
    return HeaderOps(first.set + then.set, first.add + then.add, first.remove | then.remove)


def _rewrite(block: HTTPRoute, match: Match) -> Rewrite | None:
    given = block.rewrite
    if given is None:
        return None
    authority = None if given.authority is None else given.authority.encode()
    if given.uriRegexRewrite is not None:
        pattern = re.compile(given.uriRegexRewrite.match.encode())
        return Rewrite(
            pattern=pattern, replacement=given.uriRegexRewrite.rewrite.encode(), authority=authority
        )
    if given.uri is None:
        return Rewrite(authority=authority)
    prefix: bytes | None = None
    if match.path is None:
        prefix = b"/"  # no condition on the path is the prefix "/"
    elif match.path.kind == "prefix":
        prefix = match.path.value
    return Rewrite(path=given.uri.encode(), prefix=prefix, authority=authority)


def _as_rewritten(match: Match, block: HTTPRoute) -> Match:
    """The match as the called service sees the request, after the caller rewrote its path."""
    if block.rewrite is None or match.path is None:
        return match
    if block.rewrite.uri is None or match.path.kind == "regex":
        return replace(match, path=None) if block.rewrite.uriRegexRewrite is not None else match
    return replace(match, path=Text(match.path.kind, block.rewrite.uri.encode(), match.path.ignore_case))


def _fault(name: str, match: Match | None, block: HTTPRoute) -> FaultRule:
    fault = block.fault
    if fault is None:
        return FaultRule(name, match)
    rule = FaultRule(name, match)
    if fault.delay is not None:
        delay = Delay(fault.delay.fixedDelay)
        rule = replace(rule, delay=delay, delay_percent=fault.delay.percentage.value)
    if fault.abort is not None:
        percent, status = fault.abort.percentage.value, fault.abort.httpStatus
        rule = replace(rule, action=Action.ABORT, action_percent=percent, status=status)
    return rule


def _cors(given: CorsPolicy) -> Cors:
    return Cors(
        origins=tuple(_must(origin) for origin in given.allowOrigins),
        methods=tuple(_bytes(given.allowMethods)),
        headers=tuple(_bytes(given.allowHeaders)),
        expose=tuple(_bytes(given.exposeHeaders)),
        max_age_s=None if given.maxAge is None else int(given.maxAge),
        credentials=given.allowCredentials,
        forward_unmatched=given.unmatchedPreflights != "IGNORE",
    )


def _bytes(words: Sequence[str]) -> Iterator[bytes]:
    return (word.encode() for word in words)
