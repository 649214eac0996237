"""A wrong topology file says in one line where it is wrong and what to do."""

from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from services.script import TopologyError, load_topology, parse_topology


def fault_of(text: str) -> TopologyError | None:
    try:
        parse_topology(text, "f")
    except TopologyError as error:
        return error
    return None


def entry(keys: str) -> str:
    """A file whose one service has these keys; they begin in line 3."""
    return "services:\n- name: a\n" + "".join(
        f"  {line}\n" for line in [*keys.splitlines(), "isEntrypoint: true"]
    )


WRONG = {
    "unknown top-level key": (
        "servces:\n- name: a\n",
        'f:1: servces: no key is named "servces" (did you mean "services"?)',
    ),
    "unknown service key": (
        entry("replicas: 3"),
        'f:3: services[0].replicas: no key is named "replicas" (did you mean "numReplicas"?)',
    ),
    "unknown key in another case": (
        entry("errorrate: 1%"),
        'f:3: services[0].errorrate: no key is named "errorrate" (did you mean "errorRate"?)',
    ),
    "unknown key in defaults": (
        "defaults:\n  name: x\nservices: []\n",
        'f:2: defaults.name: no key is named "name" (keys: type, errorRate, requestSize, '
        "responseSize, script, numReplicas, numRbacPolicies, memoryUsage, …)",
    ),
    "unknown step": (
        entry("script:\n- wait: 3ms"),
        'f:4: services[0].script[0].wait: no key is named "wait" (keys: sleep, call)',
    ),
    "unknown call key": (
        entry("script:\n- call: {service: a, sise: 3}"),
        'f:4: services[0].script[0].call.sise: no key is named "sise" (did you mean "size"?)',
    ),
    "unknown service in a call": (
        "services:\n- name: a\n  isEntrypoint: true\n  script:\n  - call: usres\n- name: users\n",
        'f:5: services[0].script[0].call: no service is named "usres" (did you mean "users"?)',
    ),
    "unknown service in a concurrent call": (
        entry("script:\n- - sleep: 1ms\n  - call:\n      service: zebra"),
        'f:6: services[0].script[0][1].call.service: no service is named "zebra" (services: a)',
    ),
    "unknown service in the defaults' script": (
        "defaults:\n  script:\n  - call: bb\n"
        "services:\n- name: a\n  isEntrypoint: true\n- name: c\n  script: []\n",
        'f:3: defaults.script[0].call: no service is named "bb" (services: a, c)',
    ),
    "no services key": ("load: {rate: 1}\n", 'f:1: "services" is missing (add it)'),
    "no service": (
        "services: []\n",
        'f:1: services: no service is named (write "- name: hello" with "isEntrypoint: true")',
    ),
    "services is text": ("services: a\n", 'f:1: services: "a" stands where a list belongs (write a list)'),
    "a service is text": (
        "services:\n- a\n",
        'f:2: services[0]: "a" stands where keys belong '
        "(keys: name, type, errorRate, requestSize, responseSize, script, numReplicas, numRbacPolicies, …)",
    ),
    "no name": ("services:\n- isEntrypoint: true\n", 'f:2: services[0]: "name" is missing (add it)'),
    "a name that is no host": (
        "services:\n- name: My Shop\n",
        'f:2: services[0].name: "My Shop" cannot be a host name (write "my-shop")',
    ),
    "a name that YAML reads as false": (
        "services:\n- name: no\n",
        "f:2: services[0].name: false stands where text belongs (put it in quotes)",
    ),
    "a name of the mesh": (
        "services:\n- name: ingress\n",
        'f:2: services[0].name: "ingress" is a part of the mesh itself (write "ingress-service")',
    ),
    "the registry's name": (
        "services:\n- name: consul\n",
        'f:2: services[0].name: "consul" is a part of the mesh itself (write "consul-service")',
    ),
    "duplicate name": (
        "services:\n- name: a\n  isEntrypoint: true\n- name: a\n",
        'f:4: services[1].name: "a" is named twice, first in line 2 (rename one of them)',
    ),
    "no entrypoint": (
        "services:\n- name: a\n- name: b\n- name: c\n  script: [call: a]\n",
        'f:1: services: no service is marked as the entrypoint, and nobody calls "b", "c": requests could '
        'come in at any of them (write "isEntrypoint: true" in one)',
    ),
    "no entrypoint, and all are called": (
        "services:\n- name: a\n  script: [call: b]\n"
        "- name: b\n  script: [call: {service: a, probability: 50}]\n",
        "f:1: services: no service is marked as the entrypoint, and each is called by another: requests "
        'would come in nowhere (write "isEntrypoint: true" in one, such as "a")',
    ),
    "two entrypoints": (
        "services:\n- name: a\n  isEntrypoint: true\n- name: b\n  isEntrypoint: true\n",
        'f:5: services[1].isEntrypoint: "a" is the entrypoint already, in line 3 (keep one of them)',
    ),
    "a cycle": (
        "services:\n- name: a\n  isEntrypoint: true\n  script: [call: b]\n- name: b\n  script: [call: a]\n",
        "f:6: services[1].script[0].call: the calls a -> b -> a never end "
        "(remove one of these calls, or give it a probability below 100)",
    ),
    "a cycle by the defaults' script": (
        "defaults:\n  script: [call: a]\nservices:\n- name: a\n  isEntrypoint: true\n",
        "f:2: defaults.script[0].call: the calls a -> a never end "
        "(remove one of these calls, or give it a probability below 100)",
    ),
    "a cycle that chance does not end": (
        "services:\n- name: a\n  isEntrypoint: true\n  script:\n"
        "  - call: {service: a, probability: 60}\n  - call: {service: a, probability: 60}\n",
        "f:5: services[0].script[0].call.service: the calls a -> a bring about more calls than they end "
        "(lower a probability on the way)",
    ),
    "sleep without a unit": (
        entry("script:\n- sleep: 10"),
        'f:4: services[0].script[0].sleep: 10 has no unit of time (write "10ms" or "10s")',
    ),
    "a bad duration": (
        entry("latency: fast"),
        'f:3: services[0].latency: "fast" is not a duration '
        '(write a number with a unit, like "10ms" or "1.5s")',
    ),
    "a bad size": (
        entry("responseSize: big"),
        'f:3: services[0].responseSize: "big" is not a size '
        '(write bytes or a unit, like 512, "16 KB" or "1MB")',
    ),
    "a huge size": (
        entry("responseSize: 1 GB"),
        "f:3: services[0].responseSize: 1 GB is more than 64 MB "
        "(every replica would build it for every request)",
    ),
    "a bad percentage": (
        entry("errorRate: 5"),
        'f:3: services[0].errorRate: 5 is more than 1, which is all requests (write "5%")',
    ),
    "no replica": (
        entry("numReplicas: 0"),
        "f:3: services[0].numReplicas: 0 is out of range (write 1 to 1000)",
    ),
    "replicas as text": (
        entry("numReplicas: two"),
        'f:3: services[0].numReplicas: "two" stands where a whole number belongs (write 1 to 1000)',
    ),
    "a port out of range": (
        entry("port: 65536"),
        "f:3: services[0].port: 65536 is out of range (write 1 to 65535)",
    ),
    "one port for several": (
        entry("port: 9000\nnumReplicas: 2"),
        "f:3: services[0].port: a fixed port with 2 replicas: only one process can have it "
        '(leave out "port", or write "numReplicas: 1")',
    ),
    "one port for several by default": (
        "defaults: {numReplicas: 3}\n" + entry("port: 9000"),
        "f:4: services[0].port: a fixed port with 3 replicas: only one process can have it "
        '(leave out "port", or write "numReplicas: 1")',
    ),
    "more versions than replicas": (
        entry("versions: [v1, v2]"),
        "f:3: services[0].versions: 2 versions for 1 replicas: the last would never run "
        '(write "numReplicas: 2", or fewer versions)',
    ),
    "a version that YAML reads as a number": (
        entry("version: 1.10"),
        "f:3: services[0].version: 1.1 stands where text belongs (put it in quotes)",
    ),
    "version and versions": (
        entry("version: v1\nversions: [v1]"),
        'f:4: services[0].versions: "version" and "versions" say the same thing (keep one of them)',
    ),
    "no zones": (
        entry("zones: []"),
        'f:3: services[0].zones: the list is empty (leave out "zones")',
    ),
    "defaults and default": (
        "defaults: {}\ndefault: {}\n" + entry(""),
        'f:2: default: "defaults" and "default" say the same thing (keep one of them)',
    ),
    "size twice": (
        entry("script:\n- call: {service: a, size: 1, payloadSize: 1}"),
        'f:4: services[0].script[0].call.payloadSize: "size" and "payloadSize" say the same thing '
        "(keep one of them)",
    ),
    "grpc": (
        entry("type: grpc"),
        "f:3: services[0].type: gRPC services are not run here: this one would never answer "
        '(write "http", and the same graph runs with HTTP/1.1 calls)',
    ),
    "an unknown type": (
        entry("type: tcp"),
        'f:3: services[0].type: "tcp" is not a service type (write "http" or leave it out)',
    ),
    "an Istio document": (
        "kind: VirtualService\nservices: []\n",
        'f:1: kind: "VirtualService" is not a topology '
        '(write "MockServiceGraph"; Istio\'s documents belong under "policies")',
    ),
    "a step with both": (
        entry("script:\n- {sleep: 1ms, call: a}"),
        'f:4: services[0].script[0]: a step is one of "sleep" and "call" '
        '(write "sleep: 10ms", "call: name", or a list of those to run them at once)',
    ),
    "an empty step": (
        entry("script:\n- {}"),
        'f:4: services[0].script[0]: a step is one of "sleep" and "call" '
        '(write "sleep: 10ms", "call: name", or a list of those to run them at once)',
    ),
    "a step that is a word": (
        entry("script:\n- sleep"),
        'f:4: services[0].script[0]: "sleep" is not a step '
        '(write "sleep: 10ms", "call: name", or a list of those to run them at once)',
    ),
    "a list two levels deep": (
        entry("script:\n- - - call: a"),
        "f:4: services[0].script[0][0]: a list inside a list of steps that run at once "
        "(isotope's scripts nest one level; name each call there)",
    ),
    "a call of a number": (
        entry("script:\n- call: 5"),
        "f:4: services[0].script[0].call: 5 stands where text belongs (put it in quotes)",
    ),
    "probability 0": (
        entry("script:\n- call: {service: a, probability: 0}"),
        "f:4: services[0].script[0].call.probability: 0 means always to isotope and never to a reader "
        "(leave the key out, or the call)",
    ),
    "a fraction as probability": (
        entry("script:\n- call: {service: a, probability: 0.5}"),
        "f:4: services[0].script[0].call.probability: 0.5 is not a probability "
        '(write a whole number from 1 to 100, or a percentage like "0.5%")',
    ),
    "a timeout of nothing": (
        entry("script:\n- call: {service: a, timeout: 0s}"),
        "f:4: services[0].script[0].call.timeout: a call cannot be answered in no time "
        '(write "100ms", or leave it out)',
    ),
    "a method": (
        entry("script:\n- call: {service: a, method: get}"),
        'f:4: services[0].script[0].call.method: "get" is not a method '
        "(write one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS)",
    ),
    "a path that would split a request": (
        entry('script:\n- call: {service: a, path: "/a HTTP/1.1"}'),
        'f:4: services[0].script[0].call.path: "/a HTTP/1.1" is not a path '
        '(write it from the first slash, like "/health")',
    ),
    "a header that would split a request": (
        entry('script:\n- call: {service: a, extra-header: {x: "1\\r\\ny: 2"}}'),
        "f:4: services[0].script[0].call.extra-header.x: this header's value is not printable text "
        "(write one line of text)",
    ),
    "a header's name": (
        entry("script:\n- call: {service: a, extra-header: {x y: z}}"),
        "f:4: services[0].script[0].call.extra-header.x y: this is not a header's name "
        "(use letters, digits and -)",
    ),
    "a header that is a number": (
        entry("script:\n- call: {service: a, extra-header: {x: 1}}"),
        "f:4: services[0].script[0].call.extra-header.x: 1 stands where text belongs (put it in quotes)",
    ),
    "headers as text": (
        entry("script:\n- call: {service: a, extra-header: x}"),
        'f:4: services[0].script[0].call.extra-header: "x" stands where headers belong '
        '(write "name: value" pairs)',
    ),
    "isEntrypoint as text": (
        "services:\n- name: a\n  isEntrypoint: sure\n",
        'f:3: services[0].isEntrypoint: "sure" stands where true or false belongs (write true or false)',
    ),
    "an unknown distribution": (
        entry("latency: {distribution: lognorm, p50: 1ms, p99: 2ms}"),
        'f:3: services[0].latency.distribution: no distribution is named "lognorm" '
        '(did you mean "lognormal"?)',
    ),
    "no distribution": (
        entry("latency: {p50: 1ms, p99: 2ms}"),
        'f:3: services[0].latency: "distribution" is missing '
        "(distributions: constant, uniform, normal, lognormal, exponential)",
    ),
    "half a distribution": (
        entry("latency: {distribution: lognormal, p50: 1ms}"),
        'f:3: services[0].latency: "p99" is missing (add it)',
    ),
    "a parameter of another distribution": (
        entry("latency:\n  distribution: uniform\n  min: 1ms\n  p99: 2ms"),
        'f:6: services[0].latency.p99: no key is named "p99" (keys: distribution, min, max)',
    ),
    "percentiles upside down": (
        entry("latency: {distribution: lognormal, p50: 5ms, p99: 2ms}"),
        "f:3: services[0].latency.p50: p50 is more than p99 (swap them)",
    ),
    "bounds upside down": (
        entry("latency: {distribution: uniform, min: 5ms, max: 2ms}"),
        "f:3: services[0].latency.min: min is more than max (swap them)",
    ),
    "a median of nothing": (
        entry("latency: {distribution: lognormal, p50: 0s, p99: 2ms}"),
        'f:3: services[0].latency.p50: p50 must be more than 0 (write a duration like "2ms")',
    ),
    "a mean of nothing": (
        entry("latency: {distribution: exponential, mean: 0s}"),
        'f:3: services[0].latency.mean: mean must be more than 0 (write a duration like "2ms")',
    ),
    "a latency that is a list": (
        entry("latency: [1ms]"),
        "f:3: services[0].latency: a list is not a latency "
        '(write a duration like "5ms", or {distribution: lognormal, p50: 2ms, p99: 9ms})',
    ),
    "a command with an open quote": (
        entry("command: run 'it"),
        "f:3: services[0].command: a quote is not closed (write the command as a list of words)",
    ),
    "a command that is empty": (
        entry("command: []"),
        "f:3: services[0].command: a list is not a command "
        '(write it like "python -m http.server {port}", or as a list of texts)',
    ),
    "a command with a number": (
        entry("command: [serve, 80]"),
        "f:3: services[0].command: a list is not a command "
        '(write it like "python -m http.server {port}", or as a list of texts)',
    ),
    "a command with a script": (
        entry("command: serve\nscript: [sleep: 1ms]"),
        "f:4: services[0].script: a service with a command does what its program does (remove one of them)",
    ),
    "a health check all the time": (
        entry("health: {interval: 1ms}"),
        'f:3: services[0].health.interval: more often than every 100ms (write "100ms" or more)',
    ),
    "a health path": (
        entry("health: {path: health}"),
        'f:3: services[0].health.path: "health" is not a path '
        '(write it from the first slash, like "/health")',
    ),
    "load without a rate": (
        entry("").replace("services:", "load: {pattern: sine}\nservices:", 1),
        'f:1: load: "rate" is missing (add it)',
    ),
    "a rate per minute": (
        "load: {rate: 50/m}\n" + entry(""),
        'f:1: load.rate: "50/m" is not a rate (write requests per second, like 50 or "50/s")',
    ),
    "an ingress port": (
        "ingress: {port: 0}\n" + entry(""),
        "f:1: ingress.port: 0 is out of range (write 1 to 65535)",
    ),
    "policies as a mapping": (
        "policies: {kind: x}\n" + entry(""),
        "f:1: policies: a mapping stands where a list belongs (write a list)",
    ),
    "a policy that is text": (
        "policies: [x]\n" + entry(""),
        'f:1: policies[0]: "x" stands where a mapping belongs (write a mapping)',
    ),
    "not a mapping": (
        "hello\n",
        'f:1: "hello" stands where keys belong '
        "(keys: services, apiVersion, kind, defaults, default, policies, load, ingress, …)",
    ),
    "an empty file": ("", 'f: the file is empty (begin with "services:")'),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_says_where_and_what_to_do(case: str) -> None:
    text, message = WRONG[case]
    with pytest.raises(TopologyError) as caught:
        parse_topology(text, "f")
    assert str(caught.value) == message


def test_all_faults_are_found_at_once_in_the_files_order() -> None:
    text = dedent("""\
        services:
        - name: a
          errorRate: 5
          isEntrypoint: true
        - name: B
          script:
          - sleep: 10
          - call: {service: a, sise: 3}
        """)
    with pytest.raises(TopologyError) as caught:
        parse_topology(text, "f")
    errors = [caught.value, *caught.value.more]
    assert [(error.line, error.field) for error in errors] == [
        (3, "services[0].errorRate"),
        (5, "services[1].name"),
        (7, "services[1].script[0].sleep"),
        (8, "services[1].script[1].call.sise"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "big.yaml",
            b"#" * (1024 * 1024 + 1),
            "the file is larger than 1 MiB (name a topology, not a data file)",
        ),
        ("latin.yaml", b"services:\n- name: caf\xe9\n", "not UTF-8 text (save the file as UTF-8)"),
        ("utf16.yaml", "services: []".encode("utf-16"), "not UTF-8 text (save the file as UTF-8)"),
    ],
)
def test_a_file_that_is_no_text_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(TopologyError) as caught:
        load_topology(str(file))
    assert str(caught.value).startswith(str(file))
    assert str(caught.value).endswith(message)


def test_the_line_of_what_is_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(b"services:\n- name: a\n- name: \xff\n")
    with pytest.raises(TopologyError) as caught:
        load_topology(str(file))
    assert caught.value.line == 3


def test_a_file_that_is_not_there_or_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(
        TopologyError, match=r"none\.yaml: no such file \(these ship with the mesh: bookinfo, "
    ):
        load_topology(str(tmp_path / "none.yaml"))
    with pytest.raises(TopologyError, match=r"cannot be read: Is a directory \(name a file you may read\)"):
        load_topology(str(tmp_path))


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(entry(""), encoding="utf-8-sig")
    assert load_topology(str(file)).file == str(file)


KEYS = [
    *("services", "name", "script", "call", "sleep", "service", "size", "probability", "defaults"),
    *("latency", "distribution", "p50", "p99", "isEntrypoint", "numReplicas", "errorRate", "policies"),
    *("load", "rate", "command", "port", "versions", "health", "kind"),
]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 70_000)
    | st.sampled_from(["a", "b", "10ms", "5%", "1 KB", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300)
@given(values)
def test_any_document_is_a_topology_or_a_topology_error(value: object) -> None:
    """No shape of a file ends in a traceback, and every fault is one line with a line number."""
    text = yaml.safe_dump({"services": value} if not isinstance(value, dict) else value)
    error = fault_of(text)
    if error is None:
        topology = parse_topology(text, "f")
        assert topology.entrypoint in topology.services
        return
    for each in (error, *error.more):
        assert each.line is not None
        assert "\n" not in str(each)
        assert each.problem
        assert each.remedy
