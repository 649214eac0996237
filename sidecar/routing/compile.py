"""A whole set of documents -> what one sidecar needs: one route table, its destinations, its own inbound
rules.

All or nothing: any problem refuses the set, and the table that is in force stays. The result is immutable;
its `version` is a hash of the documents, so every sidecar that has taken the same set shows the same one.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..policy.adaptive import AdaptivePolicy
from ..policy.errors import PolicyError
from ..policy.fault import Action, Delay, FaultRule, Shape
from ..policy.rate_limit import Rate, RateLimitPolicy
from ..policy.settings import UpstreamPolicy
from .annotations import ConcurrencyNote, RateLimitNote, RateNote
from .compile_entry import compile_entries, places_of
from .compile_match import compile_match
from .compile_rule import compile_rule, limits_requests, ports_of
from .compile_service import ServiceCompiler, names_a_gateway
from .compiled import (
    ROUTES_MAX,
    VERSION_DIGITS,
    Compiled,
    Destination,
    Identity,
    Inbound,
    RateLimitRule,
    Rules,
    outside_base,
)
from .connection_table import ConnectionRule, ConnectionTable
from .delegation import Delegation
from .destination_rule import DestinationRule
from .documents import Document
from .errors import DocumentError, Problem
from .fault_document import FaultDocument
from .fields import PROGRAMS_MAX
from .match import Match
from .merge import in_force, in_order, is_seen, join_rules, rule_host
from .outside import Outside
from .service_entry import ServiceEntry
from .table import RouteTable, Rule, service_name
from .virtual_service import VirtualService


def version_of(documents: Sequence[Document]) -> str:
    """12 hex digits; the same for the same documents created in the same order, whenever that was."""
    when = {"metadata": {"creationTimestamp"}}
    parts = [
        json.dumps(document.model_dump(mode="json", exclude=when), sort_keys=True)
        for document in in_order(documents)
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:VERSION_DIGITS]


def compile_documents(
    documents: Sequence[Document],
    identity: Identity | None,
    base: UpstreamPolicy | None = None,
    default_service: str | None = None,
    known: Callable[[str], bool] | None = None,
    rng: random.Random | None = None,
) -> Compiled:
    """Raises DocumentError with every problem of the set.

    `identity` None compiles what any sidecar would, all at once: what that raises nothing for, all will take.
    """
    delegation = Delegation(documents, ROUTES_MAX)
    problems = delegation.problems or list(_too_large(delegation.documents))
    if problems:
        raise DocumentError(problems)
    version = version_of(documents)
    problems = list(_duplicates(documents))
    documents = delegation.documents
    acting = in_force(documents)
    base = base or UpstreamPolicy()
    outside = compile_entries([each for each in acting if isinstance(each, ServiceEntry)], problems)
    destinations = _destinations(documents, acting, base, outside, problems)
    settings = Rules(destinations)
    # a host outside has ports of its own: `Compiled.destination` finds their settings
    ports = {key: at for key, at in ports_of(destinations).items() if not outside.has(key.partition("|")[0])}
    rules: dict[str, tuple[Rule, ...]] = {}
    bound: dict[str, tuple[Rule, ...]] = {}  # what an ingress lets a host choose
    connections: dict[str, list[ConnectionRule]] = {}
    inbound_too = identity is None or identity.service
    faults: list[FaultRule] = []
    rate_limits: list[RateLimitRule] = []
    concurrency: AdaptivePolicy | None = None
    pooled = False

    def mine(key: str) -> bool:
        if identity is None:
            return True
        service, _, subset = key.partition("|")
        if service != identity.service or not service:
            return False
        found = settings.find(key)
        if found is None and subset:
            return False
        labels = {} if found is None else found.labels
        own = identity.labels()
        return all(own.get(name) == value for name, value in labels.items())

    # what no sidecar sees is judged all the same
    unseen = [each for each in documents if isinstance(each, VirtualService) and not is_seen(each)]
    for document in (*acting, *unseen):
        try:
            if isinstance(document, VirtualService):
                compiler = ServiceCompiler(
                    document,
                    None if identity is None else identity.labels(),
                    identity is None or not identity.service or default_service is not None,
                    settings.get,
                    outside,
                    ports,
                )
                compiled, connected = tuple(compiler.rules()), compiler.connections()
                problems.extend(compiler.problems)
                names = [_host(host, document, i, problems) for i, host in enumerate(document.spec.hosts)]
                if not is_seen(document):
                    continue
                for name in names if compiled else ():  # what is not for this sidecar stands in nobody's way
                    # shared, not copied: hosts times rules may be many
                    rules.setdefault(name, compiled)
                    if default_service is not None and names_a_gateway(document.spec.gateways):
                        bound[name] = join_rules(bound[name], compiled) if name in bound else compiled
                for name in names if connected else ():
                    connections.setdefault(name, connected)
                beaten = compiled and all(rules[name] is not compiled for name in names)
                if inbound_too and not (beaten and not names_a_gateway(document.spec.gateways)):
                    faults.extend(compiler.faults(mine))
                    rate_limits.extend(_limits_of_service(document, compiler, mine))
            elif isinstance(document, DestinationRule):
                extra = document.notes
                if inbound_too and _covers(document, settings, identity):
                    if "mesh/rate-limit" in extra:
                        limit = _rate_limit(extra["mesh/rate-limit"])
                        rate_limits.append(RateLimitRule(document.metadata.title, (), limit))
                    if "mesh/concurrency" in extra:
                        concurrency = _concurrency(extra["mesh/concurrency"])
                    pooled = limits_requests(document)
            elif isinstance(document, FaultDocument):
                faults[:0] = _fault_document(document, identity)  # an operator's fault comes first
        except PolicyError as error:
            problems.append(Problem(document.key, error.field, error.problem))
    if problems:
        raise DocumentError(problems)
    table = RouteTable(
        rules,
        default_service,
        version,
        known,
        rng,
        settings,
        bound,
        outside,
        ports,
    )
    inbound = Inbound(tuple(faults), tuple(rate_limits), concurrency, pooled)
    connected_to = ConnectionTable(connections, ports, rng)
    return Compiled(version, table, inbound, base, destinations, outside, connected_to)


def _too_large(documents: Sequence[Document]) -> Iterator[Problem]:
    """Before any work: what the whole set would take, told at the document that is too much."""
    routes = rules = programs = places = 0
    for document in documents:
        if isinstance(document, VirtualService):
            blocks = document.spec.http
            routes += sum(max(1, len(block.match)) * max(1, len(block.route)) for block in blocks)
            rules += len(document.spec.hosts) * len(blocks)
            routes += sum(
                max(1, len(block.matches())) * len(block.route)
                for _, block in document.spec.connection_rules()
            )
        if max(routes, rules) > ROUTES_MAX:
            yield Problem(document.key, "spec.http", f"the set has more than {ROUTES_MAX:,} routes with it")
            return
        if isinstance(document, ServiceEntry):
            places += places_of(document.spec)
            if places > ROUTES_MAX:
                words = f"the set has more than {ROUTES_MAX:,} hosts and endpoints by port with it"
                yield Problem(document.key, "spec.endpoints", words)
                return
        programs += document.programs
        if programs > PROGRAMS_MAX:
            words = f"the expressions of the set take more than {PROGRAMS_MAX:,} instructions with its own"
            yield Problem(document.key, "spec", words)
            return


def _duplicates(documents: Sequence[Document]) -> Iterator[Problem]:
    """Two documents of one name: only one of them can be meant."""
    keys: set[str] = set()
    for document in documents:
        if document.key in keys:
            yield Problem(document.key, "metadata.name", "is there twice; keep one")
        keys.add(document.key)


def _covers(rule: DestinationRule, settings: Rules, identity: Identity | None) -> bool:
    """Whether a rule is about the service of this sidecar, or some sidecar."""
    if identity is None:
        return True
    service, host = identity.service, rule_host(rule)
    return service != "" and host in (service, settings.pattern_of(service))


def _destinations(
    documents: Sequence[Document],
    acting: Sequence[Document],
    base: UpstreamPolicy,
    outside: Outside,
    problems: list[Problem],
) -> dict[str, Destination]:
    """Each document is judged alone, also where others leave nothing of it; those that act are kept."""
    found: dict[str, Destination] = {}
    alone: dict[int, list[Destination]] = {}
    for document in documents:
        if not isinstance(document, DestinationRule):
            continue
        host = document.spec.host
        pattern = host == "*" or (host.startswith("*.") and "*" not in host[1:])
        if "*" in host and not pattern and not outside.has(service_name(host)):
            words = f"{host!r}: only * and *.domain are patterns; name one service"
            problems.append(Problem(document.key, "spec.host", words))
            continue
        try:
            alone[id(document)] = _of_rule(document, base, outside)
        except PolicyError as error:
            problems.append(Problem(document.key, error.field, error.problem))
    if problems:
        return found
    for document in acting:
        if isinstance(document, DestinationRule):
            made = alone.get(id(document)) or _of_rule(document, base, outside)
            found.update((destination.key, destination) for destination in made)
            problems.extend(_fallback_problems(document, found))
            problems.extend(_tls_problems(document, found, outside))
    return found


def _of_rule(rule: DestinationRule, base: UpstreamPolicy, outside: Outside) -> list[Destination]:
    """For a host outside, the base has the times of what may be far away."""
    external = outside.external(service_name(rule.spec.host))
    return compile_rule(rule, outside_base(base) if external else base)


def _tls_problems(
    document: DestinationRule, found: Mapping[str, Destination], outside: Outside
) -> Iterator[Problem]:
    """All hosts of a pattern share connections where a document says where they are: to whom is not known."""
    service = service_name(document.spec.host)
    if "*" not in service or not outside.has(service) or outside.is_dynamic(service):
        return
    for destination in found.values():  # of the service, its subsets, their ports
        tls = destination.policy.connection.tls if destination.service == service else None
        if tls is not None and tls.verify and not tls.server_name and not tls.names:
            words = "is needed for a pattern with endpoints: whose certificate it must be is not known else"
            yield Problem(document.key, "spec.trafficPolicy.tls.sni", words)
            return


def _fallback_problems(document: DestinationRule, found: Mapping[str, Destination]) -> list[Problem]:
    """A fallback must not be the service itself."""
    own = found.get(rule_host(document))
    fallback = own.policy.fallback if own is not None else None
    if fallback is None or own is None or fallback.upstream != own.key:
        return []
    path = "metadata.annotations[mesh/fallback]"
    return [Problem(document.key, path, "is the service itself; name another host, or a static answer")]


def _host(host: str, document: VirtualService, index: int, problems: list[Problem]) -> str:
    if "*" in host and not (host == "*" or (host.startswith("*.") and "*" not in host[1:])):
        problems.append(
            Problem(document.key, f"spec.hosts[{index}]", f"{host!r}: only * and *.domain are patterns")
        )
    return host.lower() if "*" in host else service_name(host)  # `*.mesh` is not `*`


def _limits_of_service(
    document: VirtualService, compiler: ServiceCompiler, mine: Callable[[str], bool]
) -> list[RateLimitRule]:
    """`mesh/rate-limit` for all rules that lead here, `mesh/rate-limit.<rule>` for one of them."""
    extra = document.notes
    found = []
    for index, block in enumerate(document.spec.http):
        note = extra.get(f"mesh/rate-limit.{block.name or index}", extra.get("mesh/rate-limit"))
        if note is None or not any(mine(key) for key in compiler.keys(block)):
            continue
        name = f"{document.metadata.title}/{block.name or index}"
        found.append(RateLimitRule(name, tuple(compiler.matches_below(block)), _rate_limit(note)))
    return found


def _rate(note: RateNote) -> Rate:
    return Rate(note.rate, note.burst if note.burst is not None else max(1.0, note.rate))


def _rate_limit(note: RateLimitNote) -> RateLimitPolicy:
    return RateLimitPolicy(
        total=None if note.total is None else _rate(note.total),
        per_caller=None if note.perCaller is None else _rate(note.perCaller),
        overrides={name: _rate(rate) for name, rate in note.overrides.items()},
        shadow=note.shadow,
    )


def _concurrency(note: ConcurrencyNote) -> AdaptivePolicy:
    return AdaptivePolicy(note.enabled, note.initial, note.floor, note.ceiling)


def _fault_document(document: FaultDocument, identity: Identity | None) -> list[FaultRule]:
    spec = document.spec
    if identity is not None:
        labels = identity.labels()
        if not identity.service or service_name(spec.host) != identity.service:
            return []
        if spec.instance not in (None, identity.instance):
            return []
        if any(labels.get(name) != value for name, value in spec.labels.items()):
            return []
    matches: list[Match | None] = [*map(compile_match, spec.match)] or [None]
    delay = None if spec.delay is None else Delay(spec.delay.duration, Shape(spec.delay.shape))
    return [
        FaultRule(
            name=document.metadata.title if len(matches) == 1 else f"{document.metadata.title}#{index}",
            match=match,
            delay=delay,
            delay_percent=0.0 if spec.delay is None else spec.delay.percentage,
            action=Action(spec.action),
            action_percent=spec.percentage,
            status=spec.status,
            after_bytes=spec.afterBytes,
            bytes_per_s=spec.bytesPerSecond,
            count=spec.count,
            ttl_s=spec.ttl,
            max_active=spec.maxActive,
            generation=spec.generation,
        )
        for index, match in enumerate(matches)
    ]


__all__ = ["compile_documents", "version_of"]
