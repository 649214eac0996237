"""Documents are taken, or refused with the field's path and the remedy."""

import json

import pytest

from sidecar.routing.documents import DOCUMENTS_MAX, json_schema, notes, parse_text
from sidecar.routing.errors import DocumentError
from sidecar.routing.fields import parse_duration, parse_size

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: orders{annotations}}}
spec: {{host: orders, {spec}}}
"""
SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: orders}}
spec:
  hosts: [orders]
  http:
  - {http}
"""
ROUTE = "route: [{destination: {host: orders}}]"


def refused(text: str) -> str:
    """The problems of a text that must be refused."""
    with pytest.raises(DocumentError) as caught:
        parse_text(text, "file.yaml")
    return str(caught.value)


def rule(spec: str = "subsets: []", annotations: str = "") -> str:
    """A DestinationRule."""
    return RULE.format(spec=spec, annotations=annotations)


@pytest.mark.parametrize(
    ("spec", "path", "word"),
    [
        ("trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}", "spec.trafficPolicy.tls.mode", "DISABLE"),
        ("trafficPolicy: {portLevelSettings: []}", "spec.trafficPolicy.portLevelSettings", "not honoured"),
        (
            "trafficPolicy: {connectionPool: {http: {maxRetries: 3}}}",
            "spec.trafficPolicy.connectionPool.http.maxRetries",
            "retryBudget",
        ),
        (
            "trafficPolicy: {outlierDetection: {consecutiveErrors: 5}}",
            "spec.trafficPolicy.outlierDetection.consecutiveErrors",
            "consecutive5xxErrors",
        ),
        (
            "trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}",
            "spec.trafficPolicy.loadBalancer",
            "not honoured",
        ),
        ("workloadSelector: {}", "spec.workloadSelector", "not honoured"),
    ],
)
def test_known_to_istio_and_not_honoured_is_refused_by_name(spec: str, path: str, word: str) -> None:
    """With what to do instead."""
    text = refused(rule(spec))
    assert f"DestinationRule/orders: {path}: " in text
    assert word in text


@pytest.mark.parametrize(
    ("http", "path", "word"),
    [
        ("{route: [{destination: {hsot: orders}}]}", "spec.http[0].route[0].destination.hsot", "'host'"),
        ("{route: [{destination: {host: a}}], timout: 1s}", "spec.http[0].timout", "'timeout'"),
        ("{match: [{uri: {exct: /}}], " + ROUTE + "}", "spec.http[0].match[0].uri.exct", "'exact'"),
        (
            "{match: [{headers: {a: {prefx: x}}}], " + ROUTE + "}",
            "spec.http[0].match[0].headers.a.prefx",
            "'prefix'",
        ),
        ("{match: [{scheme: {exact: http}}], " + ROUTE + "}", "spec.http[0].match[0].scheme", "not honoured"),
        ("{delegate: {name: x}, " + ROUTE + "}", "spec.http[0].delegate", "not honoured"),
    ],
)
def test_unknown_keys_are_found_at_any_depth(http: str, path: str, word: str) -> None:
    """With the nearest known name."""
    text = refused(SERVICE.format(http=http))
    assert f"VirtualService/orders: {path}: " in text
    assert word in text


@pytest.mark.parametrize(
    ("http", "path", "word"),
    [
        ("{timeout: 5, " + ROUTE + "}", "spec.http[0].timeout", "no duration"),
        ("{route: [{destination: {host: a}, weight: -1}]}", "spec.http[0].route[0].weight", "got -1"),
        ("{match: []}", "spec.http[0]", "exactly one of route, redirect, directResponse"),
        ("{redirect: {uri: /}, " + ROUTE + "}", "spec.http[0]", "here: route, redirect"),
        (
            "{match: [{uri: {exact: /, prefix: /}}], " + ROUTE + "}",
            "spec.http[0].match[0].uri",
            "exactly one",
        ),
        ("{match: [{uri: {regex: '('}}], " + ROUTE + "}", "spec.http[0].match[0].uri", "regex"),
        (
            "{fault: {abort: {httpStatus: 700}}, " + ROUTE + "}",
            "spec.http[0].fault.abort.httpStatus",
            "got 700",
        ),
        (
            "{fault: {delay: {percentage: {value: 101}, fixedDelay: 1s}}, " + ROUTE + "}",
            "spec.http[0].fault.delay.percentage.value",
            "got 101",
        ),
        (
            "{route: [{destination: {host: a}}, {destination: {host: b}}]}",
            "spec.http[0]",
            "needs a weight above 0",
        ),
    ],
)
def test_wrong_values_name_the_field(http: str, path: str, word: str) -> None:
    """And the value."""
    text = refused(SERVICE.format(http=http))
    assert f"VirtualService/orders: {path}: " in text
    assert word in text


def test_all_problems_are_told_at_once() -> None:
    """Of all documents in the text."""
    text = refused(rule("trafficPolicy: {tsl: {}, tunnel: {}}") + "---" + rule("hst: x, subsets: {}"))
    assert text.count("DestinationRule/orders: ") == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "file.yaml: line 1: is no YAML"),
        ("", "file.yaml: holds no document"),
        ("- 1", "file.yaml: must be a mapping, not list"),
        ("kind: VirtualServce", "did you mean 'VirtualService'?"),
        ("kind: Gateway", "kind: 'Gateway' is not honoured here"),
        ("kind: Fault\nmetadata: {name: x}", "Fault/x: apiVersion: is missing"),
        ("kind: DestinationRule\nmetadata: {name: X Y}", "metadata.name"),
        ("kind: DestinationRule\nmetadata: {name: x, namespace: prod}", "metadata.namespace"),
        (
            "kind: DestinationRule\nmetadata: {name: x, uid: '1'}",
            "metadata.uid: is known to Istio and not honoured",
        ),
    ],
)
def test_what_is_no_document(text: str, words: str) -> None:
    """One clear line."""
    assert words in refused(text)


def test_too_many_documents() -> None:
    """The number is bounded."""
    assert f"more than {DOCUMENTS_MAX}" in refused("\n---\n".join(["a: 1"] * (DOCUMENTS_MAX + 1)))


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("mesh/braker: ''", "did you mean 'mesh/breaker'?"),
        (
            "mesh/breaker: '{permts: 1}'",
            "metadata.annotations[mesh/breaker].permts: is unknown (did you mean 'permits'?)",
        ),
        ("mesh/breaker: '{permits: 0}'", "metadata.annotations[mesh/breaker].permits"),
        ("mesh/breaker: '{'", "is neither YAML nor JSON"),
        ("mesh/fallback: '{static: {}, lastGood: 1s}'", "give exactly one of"),
        ("mesh/rate-limit: '{}'", "limits nothing"),
        ("mesh/empty-subset: all", "'reject' or 'any'"),
        ("mesh/max-wait: '5'", "no duration"),
        ("mesh/mirror-max-body: 1MiB", "mesh/mirror-max-body"),
    ],
)
def test_annotations_are_validated_like_fields(annotation: str, words: str) -> None:
    """Those of ours; others are nobody's business."""
    assert words in refused(rule(annotations=f", annotations: {{{annotation}}}"))
    assert parse_text(rule(annotations=", annotations: {other/x: 'y'}"))


def test_annotations_are_read() -> None:
    """As typed values."""
    (document,) = parse_text(
        rule(annotations=", annotations: {mesh/max-wait: 50ms, mesh/hedge: '', mesh/early-hedge: 'false'}")
    )
    found = notes(document)
    assert found["mesh/max-wait"] == 0.05
    assert found["mesh/hedge"].quantile == 95
    assert found["mesh/early-hedge"] is False


@pytest.mark.parametrize(
    ("text", "seconds"), [("1.5s", 1.5), ("250ms", 0.25), ("1h1m", 3660.0), ("0s", 0.0), ("0", 0.0)]
)
def test_durations(text: str, seconds: float) -> None:
    """Go's form."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", 5, "", "s", "1x", "-1s", "1s 2", None])
def test_no_durations(text: object) -> None:
    """A number without a unit is refused, not guessed."""
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


def test_the_schema_is_one_for_all_kinds() -> None:
    """JSON, with a definition for each kind, and every reference resolves."""
    schema = json_schema()
    text = json.dumps(schema)
    names = {part.split('"')[0] for part in text.split("#/$defs/")[1:]}
    assert names <= schema["$defs"].keys()
    assert {"VirtualService", "DestinationRule", "Fault"} <= schema["$defs"].keys()


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("65536", 65536), ("64KiB", 65536), ("64 KB", 64_000), ("1M", 10**6)]
)
def test_sizes(text: str, size: int) -> None:
    """With a unit or without."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["-1", "1.5MiB", "1TB", "", "1 e3", True, "9" * 13])
def test_what_is_no_size(text: object) -> None:
    """It is said how to write one."""
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)
