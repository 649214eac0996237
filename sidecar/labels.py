"""The labels of an instance, as subsets, sourceLabels and failoverPriority ask for them.

`app` is the service's name. Those of `--label` stand in one value of the registry's Meta, because Consul's
own keys of Meta have no dots and slashes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

META_KEY: Final = "labels"


def own_labels(service: str, version: str, given: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Of a sidecar's own instance."""
    return {**dict(given), "app": service, "version": version}


def in_meta(given: Sequence[tuple[str, str]]) -> dict[str, str]:
    """What its registration says of them."""
    return {META_KEY: ",".join(f"{key}={value}" for key, value in given)} if given else {}


def of_instance(service: str, meta: Mapping[str, str]) -> dict[str, str]:
    """Of another instance, by its registration: anything in its Meta is a label too."""
    given = dict(pair.split("=", 1) for pair in meta.get(META_KEY, "").split(",") if "=" in pair)
    return {**meta, **given, "app": service}
