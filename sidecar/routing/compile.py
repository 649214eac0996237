"""A whole set of documents -> what one sidecar needs: one route table, its destinations, its own inbound
rules.

All or nothing: any problem refuses the set, and the table that is in force stays. The result is immutable;
its `version` is a hash of the documents, so every sidecar that has taken the same set shows the same one.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from ..policy.adaptive import AdaptivePolicy
from ..policy.errors import PolicyError
from ..policy.fault import Action, Delay, FaultRule, Shape
from ..policy.hash_key import HashKey
from ..policy.rate_limit import Rate, RateLimitPolicy
from ..policy.settings import UpstreamPolicy
from .annotations import ConcurrencyNote, RateLimitNote, RateNote
from .compile_match import compile_match
from .compile_rule import compile_rule, limits_requests
from .compile_service import ServiceCompiler, names_a_gateway
from .compiled import VERSION_DIGITS, Compiled, Destination, Identity, Inbound, RateLimitRule
from .destination_rule import DestinationRule
from .documents import Document
from .errors import DocumentError, Problem
from .fault_document import FaultDocument
from .fields import PROGRAMS_MAX
from .match import Match
from .route import MIRROR_MAX_BODY
from .table import RouteTable, Rule, service_name
from .virtual_service import VirtualService

ROUTES_MAX: Final = 50_000
"""Of a set: an arm for each match of its rule, and a rule for each host of its document. Half a second."""


def version_of(documents: Sequence[Document]) -> str:
    """12 hex digits; the same for the same set in any order."""
    parts = sorted(json.dumps(document.model_dump(mode="json"), sort_keys=True) for document in documents)
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
    problems = list(_too_large(documents))
    if problems:
        raise DocumentError(problems)
    base = base or UpstreamPolicy()
    problems = list(_duplicates(documents))
    destinations = _destinations(documents, base, problems)
    rules: dict[str, tuple[Rule, ...]] = {}
    bound: dict[str, tuple[Rule, ...]] = {}  # what an ingress lets a host choose
    inbound_too = identity is None or identity.service
    faults: list[FaultRule] = []
    rate_limits: list[RateLimitRule] = []
    concurrency: AdaptivePolicy | None = None
    pooled = False

    def hash_key_of(key: str) -> HashKey | None:
        return destinations[key].policy.balance.hash_key if key in destinations else None

    def mine(key: str) -> bool:
        if identity is None:
            return True
        service, _, subset = key.partition("|")
        if service != identity.service or not service:
            return False
        labels = destinations[key].labels if subset and key in destinations else {}
        own = identity.labels()
        return all(own.get(name) == value for name, value in labels.items())

    for document in documents:
        try:
            if isinstance(document, VirtualService):
                extra = document.notes
                compiler = ServiceCompiler(
                    document,
                    None if identity is None else identity.labels(),
                    identity is None or not identity.service or default_service is not None,
                    bool(extra.get("mesh/retry-unsafe", False)),
                    extra.get("mesh/mirror-max-body", MIRROR_MAX_BODY),
                    destinations.__contains__,
                    hash_key_of,
                )
                compiled = tuple(compiler.rules())
                for index, host in enumerate(document.spec.hosts):
                    # shared, not copied: hosts times rules may be many
                    name = _host(host, document, index, problems)
                    rules.setdefault(name, compiled)
                    if default_service is not None and names_a_gateway(document.spec.gateways):
                        bound.setdefault(name, compiled)
                if inbound_too:
                    faults.extend(compiler.faults(mine))
                    rate_limits.extend(_limits_of_service(document, compiler, mine))
                problems.extend(compiler.problems)
            elif isinstance(document, DestinationRule):
                extra = document.notes
                if inbound_too and mine(service_name(document.spec.host)):
                    if "mesh/rate-limit" in extra:
                        limit = _rate_limit(extra["mesh/rate-limit"])
                        rate_limits.append(RateLimitRule(document.metadata.name, (), limit))
                    if "mesh/concurrency" in extra:
                        concurrency = _concurrency(extra["mesh/concurrency"])
                    pooled = limits_requests(document)
            else:
                faults[:0] = _fault_document(document, identity)  # an operator's fault comes first
        except PolicyError as error:
            problems.append(Problem(document.key, error.field, error.problem))
    if problems:
        raise DocumentError(problems)
    hash_keys = {
        key: destination.policy.balance.hash_key
        for key, destination in destinations.items()
        if destination.policy.balance.hash_key is not None
    }
    version = version_of(documents)
    table = RouteTable(
        {host: found for host, found in rules.items() if found},
        default_service,
        version,
        known,
        rng,
        hash_keys,
        {host: found for host, found in bound.items() if found},
    )
    inbound = Inbound(tuple(faults), tuple(rate_limits), concurrency, pooled)
    return Compiled(version, table, inbound, base, destinations)


def _too_large(documents: Sequence[Document]) -> Iterator[Problem]:
    """Before any work: what the whole set would take, told at the document that is too much."""
    routes = rules = programs = 0
    for document in documents:
        if isinstance(document, VirtualService):
            blocks = document.spec.http
            routes += sum(max(1, len(block.match)) * max(1, len(block.route)) for block in blocks)
            rules += len(document.spec.hosts) * len(blocks)
        if max(routes, rules) > ROUTES_MAX:
            yield Problem(document.key, "spec.http", f"the set has more than {ROUTES_MAX:,} routes with it")
            return
        programs += document.programs
        if programs > PROGRAMS_MAX:
            words = f"the expressions of the set take more than {PROGRAMS_MAX:,} instructions with its own"
            yield Problem(document.key, "spec", words)
            return


def _duplicates(documents: Sequence[Document]) -> list[Problem]:
    """One VirtualService per host and one DestinationRule per service: two would depend on their order."""
    problems: list[Problem] = []
    seen: dict[tuple[str, str], str] = {}
    keys: set[str] = set()
    for document in documents:
        if document.key in keys:
            problems.append(Problem(document.key, "metadata.name", "is there twice"))
        keys.add(document.key)
        if isinstance(document, VirtualService):
            hosts = [(f"spec.hosts[{i}]", service_name(h)) for i, h in enumerate(document.spec.hosts)]
        elif isinstance(document, DestinationRule):
            hosts = [("spec.host", service_name(document.spec.host))]
        else:
            continue
        for path, host in hosts:
            other = seen.setdefault((document.kind, host), document.key)
            if other != document.key:
                problems.append(
                    Problem(document.key, path, f"{host!r} has rules in {other} already; merge them")
                )
    return problems


def _destinations(
    documents: Sequence[Document], base: UpstreamPolicy, problems: list[Problem]
) -> dict[str, Destination]:
    found: dict[str, Destination] = {}
    for document in documents:
        if not isinstance(document, DestinationRule):
            continue
        if "*" in document.spec.host:
            problems.append(Problem(document.key, "spec.host", "must name one service, not a pattern"))
            continue
        try:
            for destination in compile_rule(document, base):
                found[destination.key] = destination
        except PolicyError as error:
            problems.append(Problem(document.key, error.field, error.problem))
    for document in documents:
        if isinstance(document, DestinationRule):
            problems.extend(_fallback_problems(document, found))
    return found


def _fallback_problems(document: DestinationRule, found: Mapping[str, Destination]) -> list[Problem]:
    """A fallback must exist and must not be the service itself."""
    own = found.get(service_name(document.spec.host))
    fallback = own.policy.fallback if own is not None else None
    if fallback is None or fallback.upstream is None or own is None:
        return []
    path = "metadata.annotations[mesh/fallback]"
    if fallback.upstream == own.key:
        return [Problem(document.key, path, "is the service itself")]
    if "|" in fallback.upstream and fallback.upstream not in found:
        return [Problem(document.key, path, f"no DestinationRule defines {fallback.upstream!r}")]
    return []


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
        name = f"{document.metadata.name}/{block.name or index}"
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
            name=document.metadata.name if len(matches) == 1 else f"{document.metadata.name}#{index}",
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
