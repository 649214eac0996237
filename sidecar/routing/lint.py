"""Rules that are right and can never act, or not as their author thinks: warnings, told before anything is
applied.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from ..policy.outlier_detection import MAX_PERCENT
from ..policy.retry_on import read_retry_on
from .compile_match import NAMESPACE, compile_match, same_namespace
from .compile_rule import key_of
from .compiled import ROUTES_MAX
from .delegation import Delegation, place_of
from .destination import Destination
from .destination_rule import DestinationRule, PortTrafficPolicy, TrafficPolicy
from .documents import Document
from .errors import Problem
from .lint_entry import hosts_outside, lint_entry, lint_shared, lint_tls
from .merge import in_force, merge_warnings, rule_host
from .service_entry import ServiceEntry
from .shadow import Earlier
from .table import service_name
from .virtual_service import HTTPRoute, VirtualService

NEVER_PROCESSED: Final = frozenset({"connect-failure", "refused-stream"})
# RFC 9110 section 9.2.2.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
CLIENTS_MAX: Final = 8192  # the sidecar's own default for --max-connections


def lint(documents: Sequence[Document], replicas: Mapping[str, int] | None = None) -> list[Problem]:
    """Warnings for a set that compiles. `replicas`: endpoints by service, as far as they are known."""
    delegation = Delegation(documents, ROUTES_MAX)
    documents, found = delegation.documents, delegation.warnings
    named, ports = _named_keys(documents), _ports(documents)
    outside = {service_name(host) for host in hosts_outside(documents)}
    acting = in_force(documents)
    defined = _defined(acting)
    patterns = any(isinstance(each, DestinationRule) and "*" in each.spec.host for each in acting)
    found += merge_warnings(documents)
    found += lint_shared(acting)
    for document in documents:
        found += [
            Problem(document.key, path, f"changes nothing here: {why}") for path, why in document.unheeded
        ]
        if isinstance(document, DestinationRule):
            found.extend(_rule(document, named, replicas or {}, outside))
        elif isinstance(document, VirtualService):
            found.extend(_service(document, replicas, outside, ports))
            found.extend(_unknown_subsets(document, defined, patterns))
        elif isinstance(document, ServiceEntry):
            found.extend(lint_entry(document, replicas or {}))
        elif replicas is not None and service_name(document.spec.host) not in replicas:
            found.append(Problem(document.key, "spec.host", f"no service is named {document.spec.host!r}"))
    return found


def _named_keys(documents: Sequence[Document]) -> set[str]:
    """Every upstream that some route names."""
    keys: set[str] = set()
    for document in documents:
        if isinstance(document, VirtualService):
            for block in document.spec.http:
                keys.update(key_of(target.host, target.subset) for target in block.destinations())
            for _, rule in document.spec.connection_rules():
                keys.update(key_of(arm.destination.host, arm.destination.subset) for arm in rule.route)
    return keys


def _defined(acting: Sequence[Document]) -> set[str]:
    """Every subset that there is; of rules for a pattern of hosts, as `*|name`."""
    return {
        key_of("*" if "*" in rule.spec.host else rule.spec.host, subset.name)
        for rule in acting
        if isinstance(rule, DestinationRule)
        for subset in rule.spec.subsets
    }


def _unknown_subsets(document: VirtualService, defined: set[str], patterns: bool) -> Iterator[Problem]:
    for key, path, target in _places(document):
        if target.subset is None or key_of(target.host, target.subset) in defined:
            continue
        if patterns and f"*|{target.subset}" in defined:
            continue
        words = f"no DestinationRule for {service_name(target.host)!r} defines the subset {target.subset!r}"
        yield Problem(key, f"{path}.subset", f"{words}: until one does, requests there get a 503")


def _places(document: VirtualService) -> Iterator[tuple[str, str, Destination]]:
    """(document's key, path, destination) of all that its rules lead to, where they were written."""
    for index, block in enumerate(document.spec.http):
        key, path = place_of(document, index)
        for position, arm in enumerate(block.route):
            yield key, f"{path}.route[{position}].destination", arm.destination
        for position, extra in enumerate(block.mirrors):
            yield key, f"{path}.mirrors[{position}].destination", extra.destination
        if block.mirror is not None:
            yield key, f"{path}.mirror", block.mirror


def _rule(
    document: DestinationRule, named: set[str], replicas: Mapping[str, int], outside: Collection[str]
) -> Iterator[Problem]:
    service = rule_host(document)
    if replicas and service not in replicas and service not in outside and "*" not in service:
        words = f"no service is named {service!r}{_meant(service, replicas)}"
        yield Problem(document.key, "spec.host", words)
    if document.spec.trafficPolicy is not None:
        path = "spec.trafficPolicy"
        yield from _traffic(document.key, path, document.spec.trafficPolicy, replicas.get(service))
    for index, subset in enumerate(document.spec.subsets):
        path = f"spec.subsets[{index}]"
        if f"{service}|{subset.name}" not in named and "*" not in service:
            yield Problem(document.key, path, f"no route names the subset {subset.name!r}: it does nothing")
        if subset.trafficPolicy is not None:
            yield from _traffic(document.key, f"{path}.trafficPolicy", subset.trafficPolicy, None)


def _meant(host: str, replicas: Mapping[str, int]) -> str:
    name, _, namespace = host.partition(".")
    if name not in replicas or not namespace:
        return ""
    return f" (if the mesh's {name!r} is meant: mesh apply --home {namespace})"


def _traffic(key: str, path: str, block: TrafficPolicy, count: int | None) -> Iterator[Problem]:
    yield from _settings(key, path, block, count)
    for index, entry in enumerate(block.portLevelSettings):
        yield from _settings(key, f"{path}.portLevelSettings[{index}]", entry, count)


def _settings(
    key: str, path: str, block: TrafficPolicy | PortTrafficPolicy, count: int | None
) -> Iterator[Problem]:
    if block.tls is not None:
        yield from lint_tls(key, path, block.tls, of_mesh=count is not None)
    pool = block.connectionPool
    if pool is not None:
        limits = (
            ("tcp.maxConnections", pool.tcp.maxConnections),
            ("http.http2MaxRequests", pool.http.http2MaxRequests),
        )
        for field, limit in limits:
            if limit is not None and limit > CLIENTS_MAX:
                words = f"is never reached: a sidecar's listener takes {CLIENTS_MAX} client connections"
                yield Problem(key, f"{path}.connectionPool.{field}", f"{words} (--max-connections)")
    outlier = block.outlierDetection
    if outlier is not None:
        here = f"{path}.outlierDetection.maxEjectionPercent"
        percent = outlier.maxEjectionPercent or MAX_PERCENT
        if count and count * percent < 100:
            least = math.ceil(100 / count)
            given = f"{percent} %" if outlier.maxEjectionPercent else f"the default, {percent} %,"
            words = f"{given} of {count} endpoints is less than one: nobody is ever ejected, as in Envoy"
            yield Problem(key, here, f"{words} (from {least} on one is)")
        if outlier.consecutiveLocalOriginFailures and not outlier.splitExternalLocalOriginErrors:
            here = f"{path}.outlierDetection.consecutiveLocalOriginFailures"
            yield Problem(key, here, "counts nothing without splitExternalLocalOriginErrors: true")


def _ports(documents: Sequence[Document]) -> set[tuple[str, int]]:
    """(service, port) of all port-level settings."""
    return {
        (service_name(document.spec.host), entry.port.number)
        for document in documents
        if isinstance(document, DestinationRule)
        for block in (document.spec.trafficPolicy, *(each.trafficPolicy for each in document.spec.subsets))
        if block is not None
        for entry in block.portLevelSettings
    }


def _service(
    document: VirtualService,
    replicas: Mapping[str, int] | None,
    outside: Collection[str],
    ports: set[tuple[str, int]],
) -> Iterator[Problem]:
    blocks = document.spec.http
    rules = [[compile_match(request) for request in block.match] for block in blocks]
    earlier = Earlier(rules)
    for index, (block, matches) in enumerate(zip(blocks, rules, strict=True)):
        key, path = place_of(document, index)
        taker = earlier.taker(matches)
        if taker is not None:
            owner, place = place_of(document, taker)
            place = place if owner == key else f"{owner}: {place}"
            yield Problem(key, path, f"can never match: {place} takes all of its requests")
        # rules that only some callers see shadow nobody for certain; who is shadowed shadows nobody alone
        elif not any(request.sourceLabels or request.gateways for request in block.match):
            earlier.add(index, matches)
        yield from _block(key, path, block, outside, ports)
    for key, path, target in _places(document):
        host = service_name(target.host)
        if replicas is not None and host not in replicas and host not in outside:
            words = f"no service is named {host!r}: until there is one, requests there get a 503"
            words += _meant(host, replicas)
            yield Problem(key, f"{path}.host", words)
    for path, rule in document.spec.connection_rules():
        for position, end in enumerate(rule.route):
            here = f"{path}.route[{position}]"
            host = service_name(end.destination.host)
            if replicas is not None and host not in replicas and host not in outside:
                yield Problem(document.key, f"{here}.destination.host", f"no service is named {host!r}")
            if len(rule.route) > 1 and not end.weight:
                yield Problem(document.key, f"{here}.weight", "is 0: nothing goes there")
    if earlier.tired:
        words = "has too many rules that are alike to tell which of them can never match"
        yield Problem(document.key, "spec.http", words)


def _block(
    key: str, path: str, block: HTTPRoute, outside: Collection[str], ports: set[tuple[str, int]]
) -> Iterator[Problem]:
    if len(block.route) > 1:
        for index, arm in enumerate(block.route):
            if not arm.weight:
                yield Problem(key, f"{path}.route[{index}].weight", "is 0: nothing goes there")
    for index, arm in enumerate(block.route):
        port, service = arm.destination.port, service_name(arm.destination.host)
        if port is not None and service not in outside and (service, port.number) not in ports:
            here = f"{path}.route[{index}].destination.port"
            yield Problem(key, here, "chooses nothing: a service has one port here")
    fault = block.fault
    if fault is not None:
        if fault.delay is not None and not fault.delay.percentage.value:
            yield Problem(key, f"{path}.fault.delay", "without percentage.value it delays nothing")
        if fault.abort is not None and not fault.abort.percentage.value:
            yield Problem(key, f"{path}.fault.abort", "without percentage.value it aborts nothing")
    if block.mirrorPercentage is not None and not block.mirrorPercentage.value:
        yield Problem(key, f"{path}.mirrorPercentage", "is 0: nothing is mirrored")
    for position, request in enumerate(block.match):
        if not same_namespace(request):
            here = f"{path}.match[{position}].sourceNamespace"
            yield Problem(key, here, f"matches nobody: the one namespace that there is is {NAMESPACE!r}")
        if request.ignoreUriCase and request.uri is not None and request.uri.regex is not None:
            here = f"{path}.match[{position}].ignoreUriCase"
            yield Problem(key, here, "is nothing to a regex, as in Istio; begin it with (?i)")
    retries = block.retries
    if retries is not None and retries.attempts and retries.retryOn is not None and _repeats_any(block):
        words = (
            "repeats requests of every method, as in Envoy: a POST may run twice (match on the method, or "
        )
        yield Problem(key, f"{path}.retries", f"{words}leave out retryOn)")
    if retries is not None and retries.perTryTimeout and 0 < (block.timeout or 0) <= retries.perTryTimeout:
        here = f"{path}.retries.perTryTimeout"
        yield Problem(key, here, "is not below the timeout: a try that is late is never repeated")
    if block.rewrite is not None and block.rewrite.uri is not None and block.rewrite.uri.endswith("/"):
        for position, request in enumerate(block.match):
            prefix = request.uri.prefix if request.uri is not None else None
            if prefix is not None and not prefix.endswith("/"):
                yield Problem(
                    key,
                    f"{path}.match[{position}].uri.prefix",
                    f"{prefix!r} rewritten to {block.rewrite.uri!r} leaves a double slash: {prefix}/x -> "
                    f"{block.rewrite.uri}/x",
                )


def _repeats_any(block: HTTPRoute) -> bool:
    """Whether a request that was processed may be sent again, though it is not safe to."""
    assert block.retries is not None
    read = read_retry_on(block.retries.retryOn or "")
    if read.conditions <= NEVER_PROCESSED:
        return False
    methods = [request.method for request in block.match]
    return not methods or any(method is None or method.exact not in IDEMPOTENT for method in methods)
