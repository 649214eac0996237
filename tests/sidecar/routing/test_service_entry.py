"""ServiceEntry: what is refused, by field; which host and port of a request it means."""

import pytest

from sidecar.routing.compile import compile_documents
from sidecar.routing.compiled import OUTSIDE_CONNECT_S, Compiled, Identity
from sidecar.routing.documents import parse_text
from sidecar.routing.errors import DocumentError
from sidecar.routing.lint import lint
from sidecar.routing.outside import parts_of, passthrough_key, port_of

API = "apiVersion: networking.istio.io/v1"
# Istio's own example of an external HTTPS service that the sidecar opens TLS for, with endpoints.
API_ENTRY = """\
hosts: [api.example.com]
ports:
- {number: 80, name: http, protocol: HTTP}
- {number: 8080, name: alt, protocol: HTTP, targetPort: 9090}
- {number: 443, name: https, protocol: HTTPS}
resolution: STATIC
location: MESH_EXTERNAL
endpoints:
- {address: 10.0.0.1, ports: {http: 8001}, weight: 3, locality: eu/north/a, labels: {version: v2}}
- {address: 10.0.0.2}
"""


def entry(spec: str, name: str = "outside") -> str:
    inside = "".join(f"  {line}\n" for line in spec.splitlines())
    return f"{API}\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n{inside}"


def compiled(*texts: str) -> Compiled:
    documents = parse_text("---\n".join(texts))
    return compile_documents(documents, Identity("caller"), known=lambda name: name == "orders")


def problems(*texts: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        compiled(*texts)
    return [str(problem) for problem in caught.value.problems]


def key_of(found: Compiled, authority: str) -> str | None:
    route = found.table.match(authority, b"GET", b"/", [])
    return None if route is None else route.upstream


PORT = "ports: [{number: 80, name: http}]\n"
STATIC = "resolution: STATIC\nendpoints: [{address: 10.0.0.1}]\n"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            f"hosts: [consul]\n{PORT}",
            "spec.hosts[0]: 'consul' is the registry itself, and no sidecar leads there",
        ),
        (f"hosts: [a, Consul.mesh]\n{PORT}", "spec.hosts[1]: 'Consul.mesh' is the registry itself"),
        (f"hosts: [a.localhost]\n{PORT}", "spec.hosts[0]: 'a.localhost' is this machine to every program"),
        (f"hosts: ['*']\n{PORT}", "spec.hosts[0]: '*': only *.domain is a pattern here"),
        (f"hosts: ['a.*.b']\n{PORT}", "spec.hosts[0]: 'a.*.b': only *.domain is a pattern here"),
        (f"hosts: [a.b, A.b.]\n{PORT}", "spec.hosts[1]: 'A.b.' is there twice"),
        (f"hosts: []\n{PORT}", "spec.hosts: List should have at least 1 item"),
        ("hosts: [a.b]\n", "spec.ports: is missing"),
        (f"hosts: [a.b]\n{PORT}resolution: DYNAMIC_DNS\n", "spec.resolution: "),
        (f"hosts: [a.b]\n{PORT}resolution: STATIC\n", "spec.endpoints: resolution STATIC needs some"),
        (
            f"hosts: [a.b]\n{PORT}endpoints: [{{address: 1.2.3.4}}]\n",
            "spec.endpoints: resolution NONE has none",
        ),
        (f"hosts: ['*.b']\n{PORT}resolution: DNS\n", "spec.hosts: no pattern can be asked of DNS"),
        (
            f"hosts: [a.b]\n{PORT}resolution: DNS\nendpoints: [{{address: localhost}}]\n",
            "spec.endpoints[0].address: write 127.0.0.1, with resolution: STATIC",
        ),
        (
            f"hosts: [a.b]\n{PORT}resolution: DNS\nendpoints: [{{address: consul}}]\n",
            "spec.endpoints[0].address: is the registry itself",
        ),
        (
            f"hosts: [a.b]\n{PORT}resolution: STATIC\nendpoints: [{{address: c.d}}]\n",
            "spec.endpoints[0].address: 'c.d' is a name: write resolution: DNS",
        ),
        (
            f"hosts: [a.b]\n{PORT}resolution: STATIC\nendpoints: [{{address: 'unix:///run/x'}}]\n",
            "spec.endpoints[0].address: a Unix socket is not honoured here",
        ),
        (
            f"hosts: [a.b]\n{PORT}resolution: STATIC\nendpoints: [{{address: 'a b'}}]\n",
            "spec.endpoints[0].address: 'a b' is neither an IP address nor a host name",
        ),
        (
            f"hosts: [a.b]\n{PORT}resolution: STATIC\nendpoints: [{{address: 1.2.3.4, ports: {{web: 1}}}}]\n",
            "spec.endpoints[0].ports.web: no port has that name; known are http",
        ),
        (
            "hosts: [a.b]\nports: [{number: 80, name: a}, {number: 80, name: b}]\n",
            "spec.ports[1].number: 80 is there twice",
        ),
        (
            "hosts: [a.b]\nports: [{number: 80, name: a, protocol: GRPC}]\n",
            "spec.ports[0].protocol: 'GRPC' is not",
        ),
        ("hosts: [a.b]\nports: [{number: 0, name: a}]\n", "spec.ports[0].number: "),
        (f"hosts: [a.b]\n{PORT}addresses: [10.0.0]\n", "spec.addresses[0]: '10.0.0' is no IP address"),
        (f"hosts: [a.b]\n{PORT}workloadSelector: {{}}\n", "spec.workloadSelector: is known to Istio"),
        (
            f"hosts: [a.b]\n{PORT}resolution: STATIC\nendpoints: [{{address: 1.2.3.4, network: n}}]\n",
            "spec.endpoints[0].network: is known to Istio",
        ),
    ],
)
def test_a_fault_is_told_with_its_field(spec: str, words: str) -> None:
    """One line; the whole set is refused."""
    found = problems(entry(spec))
    assert any(f"ServiceEntry/outside: {words}" in problem for problem in found), found


def test_two_documents_of_one_host() -> None:
    """The ports of both; endpoints that are written add up, else the older document acts: it is said."""
    texts = (
        entry(f"hosts: [a.b]\n{PORT}{STATIC}", "one"),
        entry("hosts: [A.b]\nports: [{number: 80, name: w}, {number: 81, name: x}]\n"
              "resolution: STATIC\nendpoints: [{address: 10.0.0.2}]\n", "two"),
        entry(f"hosts: [a.b]\n{PORT}resolution: DNS\n", "ugly"),
    )  # fmt: skip
    for order in (texts, texts[::-1]):
        found = compiled(*order)
        usual, other = (found.destination(key).entry for key in ("a.b", "a.b|:81"))
        assert usual is not None
        assert other is not None
        assert [place.host for place in usual.places] == ["10.0.0.1", "10.0.0.2"]
        assert [place.host for place in other.places] == ["10.0.0.2"]
        warnings = [str(each) for each in lint(parse_text("---\n".join(order)))]
        assert warnings == [
            "ServiceEntry/ugly: spec.hosts[0]: changes nothing at port 80 of 'a.b': ServiceEntry/one is older"
        ]


def test_endpoints_by_port() -> None:
    """An endpoint's own port by name, else the targetPort, else the number; weight and locality too."""
    found = compiled(entry(API_ENTRY))
    usual = found.destination("api.example.com")
    assert usual.entry is not None
    first, second = usual.entry.places
    assert (first.host, first.port, first.weight, first.zone) == ("10.0.0.1", 8001, 3, "north")
    assert (second.port, second.weight, second.zone) == (80, 1, "")
    other = found.destination("api.example.com|:8080")
    assert other.entry is not None
    assert [place.port for place in other.entry.places] == [9090, 9090]
    assert other.service == "api.example.com"
    assert other.policy.connection.outside
    assert other.policy.connection.connect_timeout_s == OUTSIDE_CONNECT_S


def test_weights_beyond_what_there_is_keep_their_relation() -> None:
    """Istio's go to 2^32; here the heaviest is 128."""
    spec = f"hosts: [a.b]\n{PORT}resolution: STATIC\n"
    found = compiled(
        entry(spec + "endpoints: [{address: 1.1.1.1, weight: 900}, {address: 1.1.1.2, weight: 100}]")
    )
    places = found.destination("a.b").entry
    assert places is not None
    assert [place.weight for place in places.places] == [128, 14]


@pytest.mark.parametrize(
    ("authority", "key"),
    [
        ("api.example.com", "api.example.com"),
        ("API.example.com:80", "api.example.com"),
        ("api.example.com:8080", "api.example.com|:8080"),
        ("api.example.com:81", None),
        ("en.wikipedia.org", "*.wikipedia.org|@en.wikipedia.org:80"),
        ("a.static.example:80", "*.static.example"),
        ("wikipedia.org", None),
        ("*.wikipedia.org", None),
        ("a@b.wikipedia.org", None),
        ("240.0.0.7", "vip.example"),
        ("10.9.1.2:9000", "range.example|@10.9.1.2:9000"),
        ("10.10.1.2:9000", None),
        ("range.example:9000", "range.example|@range.example:9000"),
        ("orders", "orders"),
        ("other.example", None),
    ],
)
def test_which_requests_are_meant(authority: str, key: str | None) -> None:
    """By name, by pattern, by address; a port that the document has not is nobody's."""
    found = compiled(
        entry(API_ENTRY),
        entry(f"hosts: ['*.wikipedia.org']\n{PORT}resolution: NONE\n", "wiki"),
        entry(f"hosts: ['*.static.example']\n{PORT}{STATIC}", "static"),
        entry(f"hosts: [vip.example]\n{PORT}{STATIC}addresses: [240.0.0.7]\n", "vip"),
        entry(
            "hosts: [range.example]\nports: [{number: 9000, name: a}]\naddresses: [10.9.0.0/16]\n", "range"
        ),
    )
    assert key_of(found, authority) == key


def test_rules_of_a_host_outside() -> None:
    """A VirtualService splits it, by subset and port; a DestinationRule says how it is called."""
    service = (
        f"{API}\nkind: VirtualService\nmetadata: {{name: api}}\nspec:\n  hosts: [api.example.com]\n  http:\n"
        "  - match: [{uri: {prefix: /new}}]\n    route: [{destination: {host: api.example.com, subset: v2, "
        "port: {number: 8080}}}]\n  - route: [{destination: {host: api.example.com}}]\n"
    )
    rule = (
        f"{API}\nkind: DestinationRule\nmetadata: {{name: api}}\nspec: {{host: api.example.com, "
        "trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}, "
        "subsets: [{name: v2, labels: {version: v2}}]}\n"
    )
    found = compiled(entry(API_ENTRY), service, rule)
    assert key_of(found, "api.example.com") == "api.example.com"
    route = found.table.match("api.example.com", b"GET", b"/new", [])
    assert route is not None
    assert route.upstream == "api.example.com|v2:8080"
    meaning = found.destination(route.upstream)
    assert meaning.labels == {"version": "v2"}
    assert meaning.policy.bulkhead.max_active == 7
    assert meaning.policy.connection.connect_timeout_s == OUTSIDE_CONNECT_S
    assert meaning.entry is not None
    assert meaning.entry.places[0].port == 9090
    assert found.table.reaches(route.upstream) is False
    assert route.upstream in found.table.upstreams()


def test_a_route_to_a_port_that_is_not_there() -> None:
    """Named with those that there are; a service of the mesh has one, whatever the number."""
    service = (
        f"{API}\nkind: VirtualService\nmetadata: {{name: api}}\nspec: {{hosts: [orders], http: [{{route: "
        "[{destination: {host: api.example.com, port: {number: 81}}}]}]}\n"
    )
    assert problems(entry(API_ENTRY), service) == [
        "VirtualService/api: spec.http[0].route[0].destination.port.number: 'api.example.com' has no port "
        "81; it has 80, 443, 8080"
    ]


def test_a_rule_for_a_pattern_is_for_each_host_of_its_entry() -> None:
    rule = f"{API}\nkind: DestinationRule\nmetadata: {{name: w}}\nspec: {{host: '*.wikipedia.org'}}\n"
    found = compiled(rule, entry(f"hosts: ['*.wikipedia.org']\n{PORT}"))
    meaning = found.destination("*.wikipedia.org|@de.wikipedia.org:80")
    assert meaning.entry is not None
    assert (meaning.entry.dynamic, meaning.entry.places[0].host) == (True, "de.wikipedia.org")


def test_keys_are_taken_apart() -> None:
    """Whatever stands in them; a port that is none is none."""
    assert parts_of("a") == ("a", "", 0, "")
    assert parts_of("a|v2:80") == ("a", "v2", 80, "")
    assert parts_of("*.a|v2@x.a:81") == ("*.a", "v2", 81, "x.a")
    assert parts_of("P|@fd00::1:80") == ("P", "", 80, "fd00::1")
    assert parts_of("a|@b:x") == ("a", "", 0, "b")
    assert passthrough_key("a|b", None) is None
    assert passthrough_key("a.b", None) == "PassthroughCluster|@a.b:80"
    assert [port_of(text) for text in ("a", "a:81", "[::1]", "[::1]:82", "a:99999", "a:b", "a:")] == [
        None, 81, None, 82, 0, 0, None,
    ]  # fmt: skip


def test_what_will_not_do_as_it_looks() -> None:
    """TLS from the app does not pass a sidecar; a host that is a service of the mesh hides it."""
    documents = parse_text("---\n".join([entry(API_ENTRY), entry(f"hosts: [orders]\n{PORT}{STATIC}", "o")]))
    found = [str(problem) for problem in lint(documents, {"orders": 2})]
    assert any("spec.ports[2].protocol: HTTPS: a sidecar takes no TLS" in line for line in found)
    assert any("'orders' is a service of the mesh: its 2 instances get no requests" in line for line in found)
    assert not any("no service is named" in line for line in found)


def test_a_set_is_bounded() -> None:
    """Before any work: ports times endpoints would be millions."""
    ports = ", ".join(f"{{number: {number}, name: p{number}}}" for number in range(1, 101))
    endpoints = ", ".join(f"{{address: 10.0.{number // 250}.{number % 250}}}" for number in range(600))
    text = entry(f"hosts: [a.b]\nports: [{ports}]\nresolution: STATIC\nendpoints: [{endpoints}]\n")
    assert problems(text) == [
        "ServiceEntry/outside: spec.endpoints: the set has more than 50,000 hosts and endpoints by port "
        "with it"
    ]


def test_settings_of_one_port() -> None:
    """As in Istio's example of TLS that begins at the sidecar: of port 80 alone; others have the rule's."""
    rule = (
        f"{API}\nkind: DestinationRule\nmetadata: {{name: api}}\nspec: {{host: api.example.com, "
        "trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}, portLevelSettings: ["
        "{port: {number: 80}, tls: {mode: SIMPLE}}, "
        "{port: {number: 8080}, connectionPool: {tcp: {maxConnections: 9}}}]}}\n"
    )
    found = compiled(entry(API_ENTRY), rule)
    usual, other, last = (
        found.destination(key).policy
        for key in ("api.example.com", "api.example.com|:8080", "api.example.com|:443")
    )
    assert usual.connection.tls is not None
    assert usual.connection.tls.server_name == "api.example.com"
    assert (other.connection.tls, other.bulkhead.max_active) == (None, 9)
    assert (last.connection.tls, last.bulkhead.max_active) == (None, 7)
    assert key_of(found, "api.example.com:8080") == "api.example.com|:8080"
    assert found.destination("api.example.com|:8080").key == "api.example.com|:8080"


@pytest.mark.parametrize(
    ("route", "authority", "key"),
    [
        ("", "api.example.com", "api.example.com"),
        ("", "api.example.com:8080", "api.example.com|:8080"),
        ("", "api.example.com:81", None),
        ("port: {number: 80}", "api.example.com:8080", "api.example.com"),
        ("port: {number: 8080}", "api.example.com", "api.example.com|:8080"),
        ("port: {number: 8080}", "orders", "api.example.com|:8080"),
        ("", "orders:8080", "api.example.com"),
    ],
)
def test_the_port_of_a_route(route: str, authority: str, key: str | None) -> None:
    """Its own; else the one that the host itself was asked for, if it has that; else the usual one."""
    service = (
        f"{API}\nkind: VirtualService\nmetadata: {{name: api}}\nspec: {{hosts: [api.example.com, orders], "
        f"http: [{{route: [{{destination: {{host: api.example.com, {route}}}}}]}}]}}\n"
    )
    found = compiled(entry(API_ENTRY), service)
    named = key_of(found, authority)
    assert named is not None
    host, port = authority.partition(":")[0], port_of(authority)
    assert found.outside.at(named, host, host, port) == key


def test_a_document_for_others_is_none_of_ours() -> None:
    """As `exportTo` says; and a short name is its namespace's."""
    foreign = entry(f"hosts: [a.b]\n{PORT}{STATIC}exportTo: ['.']\n").replace(
        "{name: outside}", "{name: outside, namespace: prod}"
    )
    assert not compiled(foreign).outside.has("a.b")
    shared = entry(f"hosts: [db]\n{PORT}{STATIC}").replace(
        "{name: outside}", "{name: outside, namespace: prod}"
    )
    assert compiled(shared).outside.names() == ["db.prod"]
