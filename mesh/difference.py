"""What has to happen so that one topology becomes another. Pure."""

import dataclasses
from dataclasses import dataclass

from services.script import Instance, Service, Topology


@dataclass(frozen=True, slots=True)
class Difference:
    """Replicas to start, names of those to end, and services whose running replicas must read again."""

    added: tuple[Instance, ...]
    removed: tuple[str, ...]
    changed: frozenset[str]


def difference(old: Topology, new: Topology) -> Difference:
    """The last replicas of a service go first, as the last ones came last."""
    before = {instance.name: instance for instance in old.instances()}
    after = {instance.name: instance for instance in new.instances()}
    behaved = {service.name: _behaviour(service) for service in old.services}
    return Difference(
        added=tuple(each for name, each in after.items() if name not in before),
        removed=tuple(reversed([name for name in before if name not in after])),
        changed=frozenset(
            service.name
            for service in new.services
            if service.name in behaved and _behaviour(service) != behaved[service.name]
        ),
    )


def _behaviour(service: Service) -> Service:
    """Without what its replicas do not act on: how many they are, and where the file says so."""
    return dataclasses.replace(service, line=0, replicas=1)
