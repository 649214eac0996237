"""VirtualService -> rules of the route table (for callers), and faults (for the called service's own
sidecars).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..policy.fault import Action, Delay, FaultRule
from ..policy.hash_key import HashKey
from .compile_match import compile_below, compile_match, compile_text
from .compile_retry import compile_retry
from .compile_rule import key_of
from .cors import Cors
from .errors import Problem
from .headers import FORBIDDEN, HeaderOps
from .match import Match
from .route import DirectResponse, Mirror, Redirect, Rewrite, Route, Split
from .substitution import Substitution
from .table import Rule
from .virtual_service import (
    CorsPolicy,
    HeaderValues,
    HTTPMatchRequest,
    HTTPRoute,
    VirtualService,
)


def names_a_gateway(gateways: Sequence[str]) -> bool:
    """Whether a document or match is bound to the ingress, which is every gateway; `mesh` is the sidecars."""
    return any(name != "mesh" for name in gateways)


class ServiceCompiler:
    """Compiles one VirtualService for one sidecar; problems are collected, not raised.

    `labels` are those of the calling sidecar (for sourceLabels; None = all that there may be),
    `hash_key_of` gives the hash of an upstream key, `has_subset(key)` says whether a DestinationRule
    defines it.
    """

    def __init__(
        self,
        document: VirtualService,
        labels: Mapping[str, str] | None,
        ingress: bool,
        unsafe_too: bool,
        mirror_max_body: int,
        has_subset: Callable[[str], bool],
        hash_key_of: Callable[[str], HashKey | None],
    ) -> None:
        self.document = document
        self._problems: dict[Problem, None] = {}
        self._labels = labels
        self._ingress = ingress
        self._unsafe_too = unsafe_too
        self._mirror_max_body = mirror_max_body
        self._has_subset = has_subset
        self._hash_key_of = hash_key_of

    @property
    def problems(self) -> list[Problem]:
        """Those found until now, each once."""
        return list(self._problems)

    # ---- for callers -------------------------------------------------------------------------------

    def rules(self) -> list[Rule]:
        """The rules in the document's order; those that can never mean this caller are left out.

        An ingress has all documents: those of its default service, and by host those that are bound to it
        (`RouteTable`).
        """
        gateways = self.document.spec.gateways
        if gateways and "mesh" not in gateways and not self._ingress:
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
            rewrites = [_rewrite(block, match) for match in matches or [Match()]]
            # a route for each match, but those that are equal only once
            made = {rewrite: self._route(rewrite, arms) for rewrite in dict.fromkeys(rewrites)}
            found.append(Rule(name, matches, [made[rewrite] for rewrite in rewrites]))
        return found

    def _from_here(self, request: HTTPMatchRequest) -> bool:
        gateways = request.gateways
        if gateways and not (names_a_gateway(gateways) if self._ingress else "mesh" in gateways):
            return False
        labels = self._labels
        return labels is None or all(labels.get(key) == value for key, value in request.sourceLabels.items())

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
            retry=compile_retry(block.retries, f"{path}.retries", self._unsafe_too, self._wrong),
            redirect=redirect,
            direct=direct,
            request_headers=self._operations(block.headers.request, f"{path}.headers.request"),
            response_headers=self._operations(block.headers.response, f"{path}.headers.response"),
            cors=None if block.corsPolicy is None else _cors(block.corsPolicy),
            mirrors=tuple(mirrors),
            mirror_max_body=self._mirror_max_body,
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

    @staticmethod
    def _route(rewrite: Rewrite | None, arms: list[tuple[Route, int]]) -> Route:
        """The arms for one match: only a rewrite depends on it."""
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
        return [compile_below(request, block) for request in block.match]

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
                if name.lower().encode() in FORBIDDEN:
                    remedy = "; use rewrite.authority" if name.lower() == "host" else ""
                    self._wrong(
                        f"{path}.{part}", f"{name!r} belongs to the connection, not to the message{remedy}"
                    )
        return HeaderOps(
            set=tuple((name.encode(), value.encode()) for name, value in values.set.items()),
            add=tuple((name.encode(), value.encode()) for name, value in values.add.items()),
            remove=frozenset(name.lower().encode() for name in values.remove),
        )

    def _wrong(self, path: str, words: str) -> None:
        self._problems[Problem(self.document.key, path, words)] = None


def _joined(first: HeaderOps, then: HeaderOps) -> HeaderOps:
    return HeaderOps(first.set + then.set, first.add + then.add, first.remove | then.remove)


def _rewrite(block: HTTPRoute, match: Match) -> Rewrite | None:
    given = block.rewrite
    if given is None:
        return None
    authority = None if given.authority is None else given.authority.encode()
    if given.uriRegexRewrite is not None:
        substitution = Substitution(given.uriRegexRewrite.match, given.uriRegexRewrite.rewrite)
        return Rewrite(substitution=substitution, authority=authority)
    if given.uri is None:
        return Rewrite(authority=authority)
    prefix: bytes | None = None
    if match.path is None:
        prefix = b"/"  # no condition on the path is the prefix "/"
    elif match.path.kind == "prefix":
        prefix = match.path.value
    return Rewrite(path=given.uri.encode(), prefix=prefix, authority=authority)


def _fault(name: str, match: Match | None, block: HTTPRoute) -> FaultRule:
    rule, fault = FaultRule(name, match), block.fault
    if fault is None:
        return rule
    if fault.delay is not None:
        delay = Delay(fault.delay.fixedDelay)
        rule = replace(rule, delay=delay, delay_percent=fault.delay.percentage.value)
    if fault.abort is not None:
        percent, status = fault.abort.percentage.value, fault.abort.httpStatus
        rule = replace(rule, action=Action.ABORT, action_percent=percent, status=status)
    return rule


def _cors(given: CorsPolicy) -> Cors:
    return Cors(
        origins=tuple(compile_text(origin) for origin in given.allowOrigins),
        methods=tuple(_bytes(given.allowMethods)),
        headers=tuple(_bytes(given.allowHeaders)),
        expose=tuple(_bytes(given.exposeHeaders)),
        max_age_s=None if given.maxAge is None else int(given.maxAge),
        credentials=given.allowCredentials,
        forward_unmatched=given.unmatchedPreflights != "IGNORE",
    )


def _bytes(words: Sequence[str]) -> Iterator[bytes]:
    return (word.encode() for word in words)
