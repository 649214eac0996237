"""What `kubectl get -o yaml` prints is taken as it is."""

import pytest

from sidecar.routing.documents import parse_text
from sidecar.routing.errors import DocumentError
from sidecar.routing.kubernetes import parse_time, without_server_fields
from sidecar.routing.names import at_home

KUBECTL = """\
apiVersion: v1
items:
- apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {"apiVersion":"networking.istio.io/v1","kind":"VirtualService"}
    creationTimestamp: 2026-01-31T08:00:00Z
    finalizers: [x/y]
    generation: 2
    managedFields:
    - apiVersion: networking.istio.io/v1
      fieldsType: FieldsV1
      fieldsV1: {"f:spec": {}}
      manager: kubectl-client-side-apply
      operation: Update
      time: "2026-01-31T08:00:00Z"
    name: reviews
    namespace: default
    ownerReferences: []
    resourceVersion: "4711"
    selfLink: /apis/x
    uid: 0b0e6b3c-0000-4000-8000-000000000000
  spec:
    hosts:
    - reviews
    http:
    - route:
      - destination:
          host: reviews
  status:
    validationMessages: []
- apiVersion: networking.istio.io/v1
  kind: DestinationRule
  metadata:
    annotations: null
    creationTimestamp: null
    name: reviews
  spec:
    host: reviews
    subsets: {}
kind: List
metadata:
  resourceVersion: ""
"""


def test_a_list_is_its_items_and_what_the_server_adds_is_left_out() -> None:
    """Only the time of creation stays."""
    (document, rule) = parse_text(KUBECTL.replace("subsets: {}", "subsets: []"))
    assert document.metadata.model_dump(exclude_defaults=True) == {
        "name": "reviews",
        "creationTimestamp": "2026-01-31T08:00:00Z",
    }
    assert (document.unheeded, rule.metadata.creationTimestamp) == ((), "")


def test_a_problem_in_a_list_has_its_line() -> None:
    """Of the field in the text, not of the list."""
    with pytest.raises(DocumentError) as caught:
        parse_text(KUBECTL, "all.yaml")
    assert str(caught.value).startswith("all.yaml:42: DestinationRule/reviews: spec.subsets: ")


def test_what_was_written_is_kept() -> None:
    """Without what the server adds, and nothing else."""
    raw = {
        "kind": "X",
        "metadata": {"name": "a", "uid": 1, "annotations": {"a/b": "c"}},
        "status": {},
        "spec": 1,
    }
    kept = {"kind": "X", "metadata": {"name": "a", "annotations": {"a/b": "c"}}, "spec": 1}
    assert without_server_fields(raw) == kept


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00Z"),
        ("2026-01-31T08:00:00.999Z", "2026-01-31T08:00:00Z"),
        ("2026-01-31T09:00:00+01:00", "2026-01-31T08:00:00Z"),
    ],
)
def test_times_are_seconds_of_utc(text: str, time: str) -> None:
    """So that they can be compared as text."""
    assert parse_time(text) == time


@pytest.mark.parametrize("value", ["", "yesterday", 5, None, "2026-13-31T08:00:00Z", "0000-00-00T00:00:00Z"])
def test_what_is_no_time(value: object) -> None:
    """It says how to write one."""
    with pytest.raises(ValueError, match="is no time; write it like"):
        parse_time(value)


def test_a_clusters_namespace_becomes_the_meshs_own() -> None:
    """Every mention of it, in hosts too; others stay."""
    raw = {
        "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": "shop"},
        "spec": {
            "hosts": ["orders", "orders.shop", "pay.shop.svc.cluster.local", "x.other.svc", "shop"],
            "exportTo": [".", "shop", "other"],
            "http": [
                {
                    "match": [{"sourceNamespace": "shop"}],
                    "route": [{"destination": {"host": "pay.shop.svc"}}],
                    "name": "shop",
                }
            ],
        },
    }
    assert at_home(raw, "shop") == {
        "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {
            "hosts": [
                "orders",
                "orders.default.svc.cluster.local",
                "pay.default.svc.cluster.local",
                "x.other.svc",
                "shop",
            ],
            "exportTo": [".", "default", "other"],
            "http": [
                {
                    "match": [{"sourceNamespace": "default"}],
                    "route": [{"destination": {"host": "pay.default.svc.cluster.local"}}],
                    "name": "shop",
                }
            ],
        },
    }
