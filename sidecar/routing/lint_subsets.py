"""Subsets that nobody is in: a warning before requests to them get a 503."""

from collections.abc import Iterator, Mapping, Sequence

from .destination_rule import DestinationRule
from .documents import Document
from .errors import Problem
from .merge import rule_host

Instances = Mapping[str, Sequence[Mapping[str, str]]]
"""The labels of each instance, by service."""


def lint_subsets(documents: Sequence[Document], instances: Instances) -> Iterator[Problem]:
    """Of the services that are there; `version`, `zone` and `app` are labels of every instance."""
    for document in documents:
        if not isinstance(document, DestinationRule):
            continue
        service = rule_host(document)
        everyone = instances.get(service)
        if not everyone:
            continue
        anyway = document.notes.get("mesh/empty-subset", "reject") == "any"
        fate = "all instances get its requests" if anyway else "requests there get a 503"
        for index, subset in enumerate(document.spec.subsets):
            wanted = subset.labels.items()
            if not any(wanted <= labels.items() for labels in everyone):
                text = ", ".join(f"{key}: {value}" for key, value in wanted)
                words = f"no instance of {service!r} has {text}: until one does, {fate}"
                yield Problem(document.key, f"spec.subsets[{index}].labels", words)
