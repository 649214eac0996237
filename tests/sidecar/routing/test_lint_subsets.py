"""Subsets that nobody is in."""

import pytest

from sidecar.routing.documents import parse_text
from sidecar.routing.lint_subsets import lint_subsets

RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: orders%s}
spec:
  host: orders
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: gold, labels: {tier: gold, version: v1}}
"""
INSTANCES = {"orders": [{"app": "orders", "version": "v1", "zone": ""}]}


def warnings(instances: dict[str, list[dict[str, str]]], notes: str = "") -> list[str]:
    return [str(each) for each in lint_subsets(parse_text(RULE % notes), instances)]


def test_a_subset_that_matches_nobody_is_told() -> None:
    """By all of its labels together; one instance that has them is enough."""
    (warning,) = warnings(INSTANCES)
    assert "spec.subsets[1].labels: no instance of 'orders' has tier: gold, version: v1" in warning
    assert warning.endswith("requests there get a 503")
    gold = {"orders": [*INSTANCES["orders"], {"tier": "gold", "version": "v1"}]}
    assert warnings(gold) == []
    halves = {"orders": [*INSTANCES["orders"], {"tier": "gold", "version": "v2"}]}
    assert len(warnings(halves)) == 1


def test_what_the_document_says_of_it_is_told() -> None:
    (warning,) = warnings(INSTANCES, ", annotations: {mesh/empty-subset: any}")
    assert warning.endswith("all instances get its requests")


@pytest.mark.parametrize("instances", [{}, {"payments": []}])
def test_nothing_is_said_of_who_is_not_there(instances: dict[str, list[dict[str, str]]]) -> None:
    """That no service has the name is another warning's word."""
    assert warnings(instances) == []
