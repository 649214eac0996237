"""Subsets: the endpoints of a service that carry certain labels, and what happens when there is none.

Labels are `version`, `zone` and any key of the registry's Meta. An empty subset is answered by a rule that
somebody chose: 'reject' (503, the default: a typing error must not send the canary's traffic to everybody),
'any' (all endpoints of the service).
"""

from collections.abc import Mapping, Sequence

from ..policy.settings import EmptyRule
from .endpoints import EndpointSpec


def carries(spec: EndpointSpec, labels: Mapping[str, str]) -> bool:
    """Does the endpoint have all of the labels."""
    for key, value in labels.items():
        if key == "version":
            found: str | None = spec.version
        elif key == "zone":
            found = spec.zone
        else:
            found = spec.meta.get(key)
        if found != value:
            return False
    return True


def select(
    specs: Sequence[EndpointSpec], labels: Mapping[str, str], when_empty: EmptyRule
) -> tuple[list[EndpointSpec], bool]:
    """(endpoints of the subset, whether the rule for empty ones had to decide)."""
    if not labels:
        return list(specs), False
    chosen = [spec for spec in specs if carries(spec, labels)]
    if chosen or not specs:
        return chosen, False
    return (list(specs) if when_empty == "any" else []), True
