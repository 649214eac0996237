"""Documents are taken, or refused with the field's path and the remedy."""

import copy
import json
import re
from typing import Any

import pytest

from sidecar.routing.documents import PROBLEMS_MAX, json_schema, parse_document, parse_text
from sidecar.routing.entries import DOCUMENTS_MAX
from sidecar.routing.errors import LINE_MAX, DocumentError
from sidecar.routing.fields import parse_duration, parse_size
from sidecar.routing.lint import lint
from tests.security.mutate import CORPUS

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
        (
            "{directResponse: {status: 200, body: {bytes: 'a!'}}}",
            "spec.http[0].directResponse.body.bytes",
            "is no base64",
        ),
        (
            "{directResponse: {status: 200, body: {bytes: YQ, string: a}}}",
            "spec.http[0].directResponse.body",
            "string or bytes, not both",
        ),
        ("{delegate: {name: x}, " + ROUTE + "}", "spec.http[0]", "here: route, delegate"),
        ("{delegate: {name: ''}}", "spec.http[0].delegate.name", "at least 1"),
        ("{match: [{port: 0}], " + ROUTE + "}", "spec.http[0].match[0].port", "got 0"),
        ("{match: []}", "spec.http[0]", "exactly one of route, redirect, directResponse"),
        ("{redirect: {uri: /}, " + ROUTE + "}", "spec.http[0]", "here: route, redirect"),
        (
            "{match: [{uri: {exact: /, prefix: /}}], " + ROUTE + "}",
            "spec.http[0].match[0].uri",
            "exactly one",
        ),
        ("{match: [{uri: {regex: '('}}], " + ROUTE + "}", "spec.http[0].match[0].uri.regex", "closing )"),
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


@pytest.mark.parametrize(
    ("hashing", "path", "word"),
    [
        ("maglev: {tableSize: 1000}", ".maglev.tableSize", "must be a prime, like 65537, got 1000"),
        ("maglev: {tableSize: 5000011}", ".maglev.tableSize", "less than or equal to 262144"),
        ("useSourceIp: true, maglev: {}, ringHash: {}", "", "give ringHash or maglev, not both"),
        ("ringHash: {minimumRingSize: 65537}", ".ringHash.minimumRingSize", "less than or equal to 65536"),
        ("httpCookie: {name: a, path: 'a;b'}", ".httpCookie.path", "nothing that may stand in a cookie"),
        ("httpCookie: {name: a, ttl: 5}", ".httpCookie.ttl", "no duration"),
    ],
)
def test_wrong_hashing(hashing: str, path: str, word: str) -> None:
    """Ring, table and cookie."""
    text = refused(rule(f"trafficPolicy: {{loadBalancer: {{consistentHash: {{{hashing}}}}}}}"))
    assert f"spec.trafficPolicy.loadBalancer.consistentHash{path}: " in text
    assert word in text


def test_all_problems_are_told_at_once() -> None:
    """Of all documents in the text."""
    text = refused(rule("trafficPolicy: {tsl: {}, tunnel: {}}") + "---" + rule("hst: x, subsets: {}"))
    assert text.count("DestinationRule/orders: ") == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "file.yaml:1: is no YAML"),
        ("", "file.yaml: holds no document"),
        ("- 1", "file.yaml:1: must be a mapping, not list"),
        ("kind: VirtualServce", "did you mean 'VirtualService'?"),
        ("kind: Gateway", "kind: 'Gateway' is not honoured here"),
        ("kind: Fault\nmetadata: {name: x}", "Fault/x: apiVersion: is missing"),
        ("kind: DestinationRule\nmetadata: {name: X Y}", "metadata.name"),
        ("kind: DestinationRule\nmetadata: {name: x, namespace: Prod}", "metadata.namespace"),
        ("kind: Fault\nmetadata: {name: x, namespace: prod}", "Fault/prod/x: "),
        (
            "kind: DestinationRule\nmetadata: {name: x, creationTimestamp: today}",
            "metadata.creationTimestamp: 'today' is no time",
        ),
        ("kind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}", "Deployment/web: kind: "),
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


EVIL = ["a\r\nb: c", "a\nb", "a\0b", "a\x7fb", "a b", "é", "a" * 10_000]
"""A line break ends a field, a NUL a string, a space a target; and a head has a size."""

SURROGATE = "\ud800"
"""Half of a pair, which no text on a wire can have."""

FIELDS = [
    ("VirtualService", "spec.http[0].rewrite.uri", EVIL),
    ("VirtualService", "spec.http[0].rewrite.authority", [*EVIL, "", "a/b", "a@b", "a:123456"]),
    ("VirtualService", "spec.http[1].rewrite.uriRegexRewrite.rewrite", [*EVIL, r"\3", "\\x", "\\"]),
    (
        "VirtualService",
        "spec.http[1].rewrite.uriRegexRewrite.match",
        ["(", "(?u)x", "x" * 1025, r"(?:\pL{999})"],
    ),
    ("VirtualService", "spec.http[2].redirect.uri", EVIL),
    ("VirtualService", "spec.http[2].redirect.authority", [*EVIL, "a/b"]),
    ("VirtualService", "spec.http[0].headers.request.set.x-by", [*EVIL[:4], *EVIL[5:]]),
    ("VirtualService", "spec.http[0].route[0].headers.response.add.x-more", [*EVIL[:4], *EVIL[5:]]),
    ("VirtualService", "spec.http[0].route[0].headers.request.remove[0]", [*EVIL, ""]),
    ("VirtualService", "spec.http[0].route[0].destination.host", [*EVIL, "", "a|b", "a/b"]),
    ("VirtualService", "spec.http[0].mirror.host", [*EVIL, ""]),
    ("VirtualService", "spec.hosts[0]", [*EVIL, ""]),
    ("VirtualService", "spec.http[0].corsPolicy.allowMethods[0]", [*EVIL, ""]),
    ("VirtualService", "spec.http[0].corsPolicy.exposeHeaders[0]", [*EVIL, ""]),
    ("VirtualService", "spec.http[0].name", [*EVIL[:4], "a" * 254]),
    ("VirtualService", "spec.http[0].match[0].sourceLabels.version", [*EVIL[:4], *EVIL[5:]]),
    (
        "VirtualService",
        "spec.http[0].match[1].uri.regex",
        ["(", "(?u)x", r"\Z", "a{1001}", "x" * 1025, r"(?:\pL{99})"],
    ),
    (
        "VirtualService",
        "spec.http[0].timeout",
        ["9" * 400 + "s", "1" * 40_000, "9999999h", "٣s", "-1s", "inf"],
    ),
    ("DestinationRule", "spec.host", [*EVIL, ""]),
    ("DestinationRule", "spec.subsets[0].labels.version", EVIL[:4]),
    ("DestinationRule", "spec.trafficPolicy.loadBalancer.consistentHash.httpHeaderName", [*EVIL, ""]),
    ("DestinationRule", "spec.trafficPolicy.connectionPool.tcp.maxConnections", [2**31, "9" * 400, 1.5]),
    ("Fault", "spec.host", [*EVIL, ""]),
    ("Fault", "spec.instance", EVIL[:4]),
    ("Fault", "spec.bytesPerSecond", ["inf", "nan", "1e400", "9" * 400, 0]),
    ("Fault", "spec.afterBytes", [-1, "9" * 400, 1.5]),
]


def put(document: Any, path: str, value: object) -> None:
    """Sets one field, found by the path that a refusal names."""
    *way, last = [int(word) if word.isdigit() else word for word in re.findall(r"[^.\[\]]+", path)]
    for step in way:
        document = document[step]
    assert document[last] is not None
    document[last] = value


@pytest.mark.parametrize(("kind", "path", "values"), FIELDS)
def test_what_cannot_stand_in_a_message_is_refused_with_its_path(
    kind: str, path: str, values: list[object]
) -> None:
    """At validation: nothing of it is compiled, and no request meets it."""
    valid = next(document for document in CORPUS if document["kind"] == kind)
    parse_document(valid)
    for value in [*values, SURROGATE]:
        document = copy.deepcopy(valid)
        put(document, path, value)
        with pytest.raises(DocumentError) as caught:
            parse_document(document)
        (line, *more) = map(str, caught.value.problems)
        assert f"{path}: " in line, line
        assert not more
        assert line.isprintable()
        assert len(line) <= LINE_MAX


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("spec.http[0].headers.request.set", "a b"),
        ("spec.http[0].headers.request.set", "a\r\nb"),
        ("spec.http[0].headers.request.set", ""),
        ("spec.http[0].match[0].headers", "a:b"),
        ("spec.http[0].match[0].withoutHeaders", "é"),
        ("spec.http[0].match[0].sourceLabels", "é"),
        ("metadata.annotations", "a\0b"),
        ("spec.http[0].match[0].queryParams", SURROGATE),
    ],
)
def test_names_are_held_to_the_same(path: str, name: str) -> None:
    document = copy.deepcopy(next(one for one in CORPUS if one["kind"] == "VirtualService"))
    put(document, path, {name: {} if "eaders" in path and "match" in path else "x"})
    with pytest.raises(DocumentError) as caught:
        parse_document(document)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ("mesh/fallback: '{static: {contentType: \"a\\r\\nb\"}}'", "static.contentType"),
        ("mesh/fallback: '{host: \"a b\"}'", "host"),
        ("mesh/breaker: '{forgive: \"inf\"}'", "forgive"),
        ("mesh/breaker: '{forgive: .inf}'", "forgive: inf is no number with an end"),
        ("mesh/rate-limit: '{total: {rate: \"1e400\"}}'", "total.rate"),
        ("mesh/max-wait: '" + "9" * 400 + "s'", "no duration"),
        ("mesh/breaker: '" + "[" * 1000 + "'", "nested more than"),
        ("mesh/breaker: '{a: &a {<<: *a}}'", "contains itself"),
        ('mesh/hedge: "{}\\n---\\n{}"', "more than one YAML document"),
    ],
)
def test_annotations_are_held_to_the_same(note: str, words: str) -> None:
    text = refused(rule(annotations=f", annotations: {{{note}}}"))
    assert "metadata.annotations[mesh/" in text
    assert words in text


def test_the_expressions_of_a_set_are_bounded_together() -> None:
    """Each is small enough; a thousand of them are not, and are not all compiled to find that out."""
    large = {"regex": r"(?:\pL{25})"}
    document = copy.deepcopy(CORPUS[1])
    document["spec"]["http"] = [
        {"match": [{"headers": {f"x-{n}": large}}], "route": [{"destination": {"host": "orders"}}]}
        for n in range(1000)
    ]
    with pytest.raises(DocumentError) as caught:
        parse_document(document)
    first = str(caught.value.problems[0])
    assert re.search(
        r"spec.http\[\d\d\].match\[0\].headers.x-\d\d.regex: the expressions of the set take more", first
    )
    assert len(caught.value.problems) <= PROBLEMS_MAX


def test_many_problems_are_some_lines() -> None:
    """Nobody reads a hundred thousand of them, and it takes time to write them."""
    document = copy.deepcopy(CORPUS[1]) | {f"key{number}": 1 for number in range(10_000)}
    document["spec"]["http"] = [{}] * 5000
    with pytest.raises(DocumentError) as caught:
        parse_document(document)
    assert len(caught.value.problems) == PROBLEMS_MAX + 1
    assert str(caught.value.problems[-1]).endswith("wrong values; is it a policy?")


def test_annotations_are_read() -> None:
    """As typed values."""
    (document,) = parse_text(
        rule(annotations=", annotations: {mesh/max-wait: 50ms, mesh/hedge: '', mesh/early-hedge: 'false'}")
    )
    found = document.notes
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


def test_what_changes_nothing_is_taken_and_warned_of() -> None:
    """Wherever it stands; the rest of its mapping acts."""
    text = SERVICE.format(
        http="{match: [{uri: {prefix: /a}, statPrefix: x}], websocketUpgrade: true, " + ROUTE + "}"
    )
    (document,) = parse_text(text)
    assert [path for path, _ in document.unheeded] == [
        "spec.http[0].match[0].statPrefix",
        "spec.http[0].websocketUpgrade",
    ]
    assert document.spec.http[0].match[0].uri is not None  # type: ignore[union-attr]  # a VirtualService
    assert [str(each) for each in lint([document])] == [
        "VirtualService/orders: spec.http[0].match[0].statPrefix: changes nothing here: metrics are named by "
        "service and route",
        "VirtualService/orders: spec.http[0].websocketUpgrade: changes nothing here: upgrades pass by "
        "themselves",
    ]


def test_a_key_that_is_given_twice_is_refused() -> None:
    """As by kubectl: one of them would be ignored without a word."""
    text = "kind: Fault\nmetadata: {name: x}\nspec:\n  host: a\n  host: b\n"
    assert refused(text) == "file.yaml:5: has the key 'host' twice; keep one"
