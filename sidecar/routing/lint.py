"""Rules that are right and can never act, or not as their author thinks: warnings, told before anything is
applied.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from .compile_match import compile_match
from .compile_rule import key_of
from .destination_rule import DestinationRule, TrafficPolicy
from .documents import Document
from .errors import Problem
from .shadow import Earlier
from .table import service_name
from .virtual_service import HTTPRoute, VirtualService

CLIENTS_MAX: Final = 8192  # the sidecar's own default for --max-connections


def lint(documents: Sequence[Document], replicas: Mapping[str, int] | None = None) -> list[Problem]:
    """Warnings for a set that compiles. `replicas`: endpoints by service, as far as they are known."""
    named = _named_keys(documents)
    found: list[Problem] = []
    for document in documents:
        if isinstance(document, DestinationRule):
            found.extend(_rule(document, named, replicas or {}))
        elif isinstance(document, VirtualService):
            found.extend(_service(document, replicas))
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
    return keys


def _rule(document: DestinationRule, named: set[str], replicas: Mapping[str, int]) -> Iterator[Problem]:
    service = service_name(document.spec.host)
    if replicas and service not in replicas:
        yield Problem(document.key, "spec.host", f"no service is named {document.spec.host!r}")
    if document.spec.trafficPolicy is not None:
        path = "spec.trafficPolicy"
        yield from _traffic(document.key, path, document.spec.trafficPolicy, replicas.get(service))
    for index, subset in enumerate(document.spec.subsets):
        path = f"spec.subsets[{index}]"
        if f"{service}|{subset.name}" not in named:
            yield Problem(document.key, path, f"no route names the subset {subset.name!r}: it does nothing")
        if subset.trafficPolicy is not None:
            yield from _traffic(document.key, f"{path}.trafficPolicy", subset.trafficPolicy, None)


def _traffic(key: str, path: str, block: TrafficPolicy, count: int | None) -> Iterator[Problem]:
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
    if outlier is not None and outlier.maxEjectionPercent is not None:
        here = f"{path}.outlierDetection.maxEjectionPercent"
        percent = outlier.maxEjectionPercent
        if percent == 0:
            yield Problem(key, here, "0 ejects nobody")
        elif count is not None and math.floor(count * percent / 100 + 1e-9) == 0:
            least = math.ceil(100 / count) if count else 100
            words = (
                f"{percent} % of {count} endpoints is less than one: it ejects nobody, the bad ones are only "
            )
            words += f"held back (from {least} on it ejects one)"
            yield Problem(key, here, words)
        if percent == 100:
            yield Problem(
                key, here, "one endpoint always stays, also at 100: the last one is held, not ejected"
            )


def _service(document: VirtualService, replicas: Mapping[str, int] | None) -> Iterator[Problem]:
    blocks = document.spec.http
    rules = [[compile_match(request) for request in block.match] for block in blocks]
    earlier = Earlier(rules)
    for index, (block, matches) in enumerate(zip(blocks, rules, strict=True)):
        path = f"spec.http[{index}]"
        taker = earlier.taker(matches)
        if taker is not None:
            words = f"can never match: spec.http[{taker}] takes all of its requests"
            yield Problem(document.key, path, words)
        # rules that only some callers see shadow nobody for certain; who is shadowed shadows nobody alone
        elif not any(request.sourceLabels or request.gateways for request in block.match):
            earlier.add(index, matches)
        yield from _block(document.key, path, block)
        for position, arm in enumerate(block.route):
            host = service_name(arm.destination.host)
            if replicas is not None and host not in replicas:
                here = f"{path}.route[{position}].destination.host"
                yield Problem(document.key, here, f"no service is named {host!r}")
    if earlier.tired:
        words = "has too many rules that are alike to tell which of them can never match"
        yield Problem(document.key, "spec.http", words)


def _block(key: str, path: str, block: HTTPRoute) -> Iterator[Problem]:
    if len(block.route) > 1:
        for index, arm in enumerate(block.route):
            if not arm.weight:
                yield Problem(key, f"{path}.route[{index}].weight", "is 0: nothing goes there")
    for index, arm in enumerate(block.route):
        if arm.destination.port is not None:
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
        if request.ignoreUriCase and request.uri is not None and request.uri.regex is not None:
            here = f"{path}.match[{position}].ignoreUriCase"
            yield Problem(key, here, "is nothing to a regex, as in Istio; begin it with (?i)")
    retries = block.retries
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
