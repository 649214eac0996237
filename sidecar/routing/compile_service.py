"""VirtualService -> rules of the route table (for callers), and faults (for the called service's own
sidecars).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ..policy.fault import Action, Delay, FaultRule
from ..policy.hash_key import HashKey
from ..policy.http_fault import HttpFault
from .compile_match import compile_below, compile_match, compile_text, same_namespace
from .compile_retry import compile_retry
from .compile_rule import key_of
from .connection_routes import L4MatchAttributes, TLSRoute
from .connection_table import ConnectionArm, ConnectionMatch, ConnectionRule
from .cors import Cors
from .delegation import place_of
from .destination import Destination
from .errors import Problem
from .header_format import read_format
from .headers import FORBIDDEN, Formatted, HeaderOps
from .match import Match
from .outside import Outside, parts_of
from .ports import Ports, key_at
from .route import MIRROR_MAX_BODY, DirectResponse, Mirror, Redirect, Rewrite, Route, Split
from .substitution import Substitution
from .table import Rule, service_name
from .virtual_service import (
    CorsPolicy,
    HeaderValues,
    HTTPMatchRequest,
    HTTPRoute,
    VirtualService,
)
from .words import is_authority

NOTHING_OUTSIDE: Final = Outside()
OTHER_PORT: Final = -1  # any that has no settings of its own


def names_a_gateway(gateways: Sequence[str]) -> bool:
    """Whether a document or match is bound to the ingress, which is every gateway; `mesh` is the sidecars."""
    return any(name != "mesh" for name in gateways)


class ServiceCompiler:
    """Compiles one VirtualService for one sidecar; problems are collected, not raised.

    `labels` are those of the calling sidecar (for sourceLabels; None = all that there may be),
    `hash_key_of` gives the hash of an upstream key. `outside`: of its hosts a route may name a port; all
    others have one, of which `ports` are the keys that have settings of their own.
    """

    def __init__(
        self,
        document: VirtualService,
        labels: Mapping[str, str] | None,
        ingress: bool,
        hash_key_of: Callable[[str], HashKey | None],
        outside: Outside,
        ports: Mapping[str, Ports],
    ) -> None:
        self._outside = outside
        self.document = document
        self._place = document.key  # whose rule is at hand
        self._problems: dict[Problem, None] = {}
        self._labels = labels
        self._ingress = ingress
        notes = document.notes
        self._unsafe_too = bool(notes.get("mesh/retry-unsafe", False))
        self._other_arm = bool(notes.get("mesh/retry-other-arm", False))
        self._fault_at_callee = notes.get("mesh/fault-at", "caller") == "callee"
        self._mirror_max_body: int = notes.get("mesh/mirror-max-body", MIRROR_MAX_BODY)
        self._hash_key_of = hash_key_of
        self._ports = ports
        self._own = frozenset() if ingress else frozenset(map(service_name, document.spec.hosts))

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
            self._place, path = place_of(self.document, index)
            name = f"{self.document.metadata.title}/{block.name or index}"
            requests = [request for request in block.match if self._from_here(request)]
            base = self._base_route(block, name, path)
            arms = self._arms(block, base, path)
            if block.match and not requests:
                continue
            matches = [compile_match(request) for request in requests]
            rewrites = [_rewrite(block, match) for match in matches or [Match()]]
            # a route for each match, but those that are equal only once
            by_port = self._by_port(block, arms)
            made = {rewrite: self._at_ports(rewrite, arms, by_port) for rewrite in dict.fromkeys(rewrites)}
            found.append(Rule(name, matches, [made[rewrite] for rewrite in rewrites]))
        return found

    def connections(self) -> list[ConnectionRule]:
        """Its `tls` and `tcp` rules, without those that can never mean this caller."""
        gateways = self.document.spec.gateways
        if gateways and "mesh" not in gateways and not self._ingress:
            return []
        found = []
        self._place = self.document.key
        for path, block in self.document.spec.connection_rules():
            arms = tuple(
                ConnectionArm(
                    self._key(arm.destination, f"{path}.route[{index}].destination"),
                    arm.weight,
                    arm.destination.port is not None,
                )
                for index, arm in enumerate(block.route)
            )
            here = [match for match in block.matches() if self._from_here(match)]
            if block.matches() and not here:
                continue
            matches = tuple(ConnectionMatch(match.port, match.names()) for match in here)
            name = f"{self.document.metadata.name}/{path.removeprefix('spec.')}"
            found.append(ConnectionRule(name, isinstance(block, TLSRoute), matches, arms))
        return found

    def _from_here(self, request: HTTPMatchRequest | L4MatchAttributes) -> bool:
        gateways = request.gateways
        if gateways and not (names_a_gateway(gateways) if self._ingress else "mesh" in gateways):
            return False
        if not same_namespace(request):
            return False
        labels = self._labels
        return labels is None or all(labels.get(key) == value for key, value in request.sourceLabels.items())

    def _base_route(self, block: HTTPRoute, name: str, path: str) -> Route:
        mirrors = []
        if block.mirror is not None:
            percent = 100.0 if block.mirrorPercentage is None else block.mirrorPercentage.value
            where = f"{path}.mirror"
            mirrors.append(Mirror(self._key(block.mirror, where), percent))
        for index, extra in enumerate(block.mirrors):
            where = f"{path}.mirrors[{index}].destination"
            key = self._key(extra.destination, where)
            mirrors.append(Mirror(key, extra.percentage.value))
        redirect = None
        if block.redirect is not None:
            given = block.redirect
            redirect = Redirect(given.redirectCode, given.uri, given.authority, given.port, given.scheme)
        direct = None
        if block.directResponse is not None:
            answer = block.directResponse
            direct = DirectResponse(answer.status, answer.body.content())
        return Route(
            name=name,
            upstream="",
            timeout_s=block.timeout or None,  # 0s = none of its own, as in Istio
            retry=compile_retry(block.retries, f"{path}.retries", self._unsafe_too, self._wrong),
            redirect=redirect,
            direct=direct,
            request_headers=self._operations(block.headers.request, f"{path}.headers.request", True),
            response_headers=self._operations(block.headers.response, f"{path}.headers.response"),
            cors=None if block.corsPolicy is None else _cors(block.corsPolicy),
            mirrors=tuple(mirrors),
            mirror_max_body=self._mirror_max_body,
            fault=None if self._fault_at_callee else _http_fault(block),
            other_arm=self._other_arm,
        )

    def _arms(self, block: HTTPRoute, base: Route, path: str) -> list[tuple[Route, int]]:
        arms = []
        for index, arm in enumerate(block.route):
            where = f"{path}.route[{index}]"
            key = self._key(arm.destination, f"{where}.destination")
            request = self._operations(arm.headers.request, f"{where}.headers.request", True)
            host = _host_header(arm.headers.request)
            response = self._operations(arm.headers.response, f"{where}.headers.response")
            route = replace(
                base,
                upstream=key,
                request_headers=_joined(base.request_headers, request),
                response_headers=_joined(base.response_headers, response),
                hash_key=self._hash_key_of(parts_of(key).base),
                rewrite=None if host is None else Rewrite(authority=host),
            )
            arms.append((route, arm.weight))
        return arms or [(base, 1)]

    def _by_port(
        self, block: HTTPRoute, arms: list[tuple[Route, int]]
    ) -> dict[int | None, list[tuple[Route, int]]]:
        """The arms of requests that name such a port, or none; nothing where it is all the same."""
        free = [arm.destination.port is None for arm in block.route]
        open_arms = [route for (route, _), is_free in zip(arms, free, strict=False) if is_free]
        ports = {port for route in open_arms for port in self._ports.get(route.upstream, ())}
        if not ports:
            return {}

        def at(port: int | None) -> list[tuple[Route, int]]:
            found = []
            for (route, weight), is_free in zip(arms, free, strict=True):
                key = route.upstream
                if is_free:
                    own = key.partition("|")[0] in self._own
                    key = key_at(key, self._ports.get(key, {}), port, own)
                found.append((replace(route, upstream=key, hash_key=self._hash_key_of(key)), weight))
            return found

        return {port: at(port) for port in (None, *sorted(ports), OTHER_PORT)}

    def _at_ports(
        self,
        rewrite: Rewrite | None,
        arms: list[tuple[Route, int]],
        by_port: Mapping[int | None, list[tuple[Route, int]]],
    ) -> Route:
        if not by_port:
            return self._route(rewrite, arms)
        made = {port: self._route(rewrite, found) for port, found in by_port.items()}
        return replace(made.pop(OTHER_PORT), by_port=made)

    @staticmethod
    def _route(rewrite: Rewrite | None, arms: list[tuple[Route, int]]) -> Route:
        """The arms for one match: only a rewrite depends on it."""
        routes = [replace(route, rewrite=_also(rewrite, route.rewrite)) for route, _ in arms]
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
        """Rules for a sidecar whose own instance belongs to the upstream keys that `mine` accepts; none
        unless the document wants its faults there.
        """
        found: list[FaultRule] = []
        if not self._fault_at_callee:
            return found
        for index, block in enumerate(self.document.spec.http):
            name = f"{self.document.metadata.title}/{block.name or index}"
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

    def _key(self, destination: Destination, path: str) -> str:
        key, subset = key_of(destination.host, destination.subset), destination.subset
        service = key.partition("|")[0]
        if destination.port is None:
            return key
        number = destination.port.number
        if not self._outside.has(service):
            return self._ports.get(key, {}).get(number, key)
        found = self._outside.key(service, subset or "", number)
        if found is None:
            ports = ", ".join(map(str, self._outside.ports(service)))
            self._wrong(f"{path}.port.number", f"{service!r} has no port {number}; it has {ports}")
        return found or key

    def _operations(self, values: HeaderValues, path: str, request: bool = False) -> HeaderOps:
        for part, names in (("set", values.set), ("add", values.add), ("remove", values.remove)):
            for name in names:
                if request and name.lower() == "host" and part != "remove":
                    if not is_authority(getattr(values, part)[name]):
                        self._wrong(f"{path}.{part}.{name}", "is no authority: it is HOST or HOST:PORT")
                elif name.lower().encode() in FORBIDDEN:
                    self._wrong(f"{path}.{part}", f"{name!r} belongs to the connection, not to the message")
        given = [(name, value, True) for name, value in values.set.items()]
        given += [(name, value, False) for name, value in values.add.items()]
        fixed: dict[bool, list[tuple[bytes, bytes]]] = {True: [], False: []}
        formatted = []
        for name, value, replaces in given:
            if request and name.lower() == "host":
                continue  # the authority, which is rewritten: see `_host_header`
            form = read_format(value)
            text = form.text
            if text is None:
                formatted.append(Formatted(name.encode(), form, replaces))
            elif text:  # as in Envoy, no text is no header, and replaces none
                fixed[replaces].append((name.encode(), text))
        gone = frozenset(name.lower().encode() for name in values.remove)
        return HeaderOps(tuple(fixed[True]), tuple(fixed[False]), gone, tuple(formatted))

    def _wrong(self, path: str, words: str) -> None:
        self._problems[Problem(self._place, path, words)] = None


def _joined(whole: HeaderOps, arm: HeaderOps) -> HeaderOps:
    """First what the arm says, then what the whole rule says, which so has the last word, as in Envoy."""
    gone = whole.gone | {entry.name.lower() for entry in whole.formatted if entry.replaces}
    left = [tuple(pair for pair in pairs if pair[0].lower() not in gone) for pairs in (arm.set, arm.add)]
    formatted = tuple(entry for entry in arm.formatted if entry.name.lower() not in gone)
    return HeaderOps(
        left[0] + whole.set, left[1] + whole.add, arm.remove | whole.remove, formatted + whole.formatted
    )


def _rewrite(block: HTTPRoute, match: Match) -> Rewrite | None:
    given, host = block.rewrite, _host_header(block.headers.request)
    if given is None:
        return None if host is None else Rewrite(authority=host)
    authority = given.authority.encode() if host is None and given.authority is not None else host
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


def _http_fault(block: HTTPRoute) -> HttpFault | None:
    fault = block.fault
    if fault is None or (fault.delay is None and fault.abort is None):
        return None
    found = HttpFault()
    if fault.delay is not None:
        found = replace(found, delay_s=fault.delay.fixedDelay, delay_percent=fault.delay.percentage.value)
    if fault.abort is not None:
        found = replace(found, status=fault.abort.httpStatus, abort_percent=fault.abort.percentage.value)
    return found


def _host_header(values: HeaderValues) -> bytes | None:
    """The Host that headers set or add: a literal that takes the authority's place, as Istio has it."""
    given = [value for name, value in (*values.set.items(), *values.add.items()) if name.lower() == "host"]
    return given[-1].encode() if given else None


def _also(rewrite: Rewrite | None, arm: Rewrite | None) -> Rewrite | None:
    """With the authority of one arm."""
    return rewrite if arm is None else replace(rewrite or arm, authority=arm.authority)


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
