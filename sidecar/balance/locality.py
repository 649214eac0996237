"""Groups of endpoints by place, and what share of the requests each gets: Envoy's priority levels.

    level 0 is nearest; each level takes what it can, min(1, 1.4 x ready / all), of what those before it leave

So a zone of three serves itself with two (1.4 x 2/3 = 0.93, nearly), and sends half away with one. Levels are
Istio's: same subzone, same zone, same region, the region to fail over to, all others; or how many of the
labels of `failoverPriority` an endpoint shares with the caller, from the first on. With `distribute` the
shares are the document's, each less by what of it is not ready.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ..policy.locality_policy import LocalityPolicy, fits, place_of
from .endpoints import Endpoint

OVERPROVISIONING: Final = 1.4
# Kubernetes' and Istio's labels of a place, which every endpoint has by its locality.
_PLACE_LABELS: Final = {
    "topology.kubernetes.io/region": 0,
    "topology.kubernetes.io/zone": 1,
    "topology.istio.io/subzone": 2,
}


class Place(NamedTuple):
    """Where the caller is, and what it is called."""

    locality: str = ""
    labels: Mapping[str, str] = {}


class Group(NamedTuple):
    """Endpoints that are equally near, and their share (0..1) of the requests."""

    ready: list[Endpoint]
    share: float


def groups(
    policy: LocalityPolicy, caller: Place, everyone: Sequence[Endpoint], ready: Sequence[Endpoint]
) -> list[Group]:
    """The groups with somebody ready, the nearest first; their shares are 1 in all, unless nobody is."""
    ready_ids = {endpoint.id for endpoint in ready}
    own = place_of(caller.locality)
    for pattern, shares in policy.distribute:
        if caller.locality and fits(pattern, own):
            return _distributed(shares, everyone, ready_ids)
    members: dict[int, list[Endpoint]] = {}
    for endpoint in everyone:
        members.setdefault(_level(policy, caller, own, endpoint), []).append(endpoint)
    levels = [members[level] for level in sorted(members)]
    health = [_health(level, ready_ids) for level in levels]
    total, left = min(1.0, sum(health)), 1.0
    found: list[Group] = []
    for level, healthy in zip(levels, health, strict=True):
        if healthy:
            load = min(left, healthy / total)
            left -= load
            found.append(Group([each for each in level if each.id in ready_ids], load))
    return found


def _level(policy: LocalityPolicy, caller: Place, own: tuple[str, str, str], endpoint: Endpoint) -> int:
    if policy.failover_priority:
        return _by_labels(policy.failover_priority, caller, endpoint)
    return _by_place(policy.failover, own, endpoint) if caller.locality else 0


def _health(level: Sequence[Endpoint], ready: set[str]) -> float:
    """How much of all requests the level can take."""
    return min(1.0, OVERPROVISIONING * sum(each.id in ready for each in level) / len(level))


def _by_place(failover: Sequence[tuple[str, str]], own: tuple[str, str, str], endpoint: Endpoint) -> int:
    """As Istio ranks them: 0 = the same subzone, 4 = the farthest."""
    place = place_of(endpoint.zone)
    if place == own:
        return 0
    if place[0] == own[0]:
        return 1 if place[1] == own[1] else 2
    return 3 if (own[0], place[0]) in failover else 4


def _by_labels(wanted: Sequence[str], caller: Place, endpoint: Endpoint) -> int:
    """How many are not shared, from the first that is not; `label=value` stands above the caller's own."""
    for number, word in enumerate(wanted):
        label, stated, value = word.partition("=")
        mine = value if stated else _label(label, caller.locality, caller.labels)
        if mine is None or _label(label, endpoint.zone, endpoint.meta) != mine:
            return len(wanted) - number
    return 0


def _label(name: str, locality: str, labels: Mapping[str, str]) -> str | None:
    found = labels.get(name)
    if found is None and name in _PLACE_LABELS:
        found = place_of(locality)[_PLACE_LABELS[name]] or None
    return found


def _distributed(
    shares: Sequence[tuple[str, int]], everyone: Sequence[Endpoint], ready: set[str]
) -> list[Group]:
    """Each endpoint belongs to the first pattern that it fits; to who fits none, nothing goes."""
    members: list[list[Endpoint]] = [[] for _ in shares]
    for endpoint in everyone:
        place = place_of(endpoint.zone)
        for number, (pattern, _) in enumerate(shares):
            if fits(pattern, place):
                members[number].append(endpoint)
                break
    weights = [
        weight * (_health(group, ready) if group else 0.0)
        for (_, weight), group in zip(shares, members, strict=True)
    ]
    total = sum(weights)
    return [
        Group([each for each in group if each.id in ready], weight / total)
        for group, weight in zip(members, weights, strict=True)
        if weight
    ]
