"""`trafficPolicy.tls`: what is refused, what it compiles to, what is warned of."""

import pytest

from sidecar.policy.tls import TlsPolicy
from sidecar.routing.compile import compile_documents
from sidecar.routing.compiled import Identity
from sidecar.routing.documents import parse_text
from sidecar.routing.errors import DocumentError
from sidecar.routing.lint import lint

API = "apiVersion: networking.istio.io/v1"


def rule(tls: str, host: str = "api.example.com") -> str:
    return (
        f"{API}\nkind: DestinationRule\nmetadata: {{name: api}}\n"
        f"spec: {{host: '{host}', trafficPolicy: {{tls: {{{tls}}}}}}}\n"
    )


def entry(host: str, more: str) -> str:
    return (
        f"---\n{API}\nkind: ServiceEntry\nmetadata: {{name: e}}\nspec: {{hosts: ['{host}'], "
        f"ports: [{{number: 80, name: http, targetPort: 443}}], {more}}}\n"
    )


def tls_of(text: str, key: str = "api.example.com") -> TlsPolicy | None:
    return compile_documents(parse_text(text), Identity("a")).destination(key).policy.connection.tls


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ("mode: MUTUAL", "spec.trafficPolicy.tls: mode MUTUAL needs clientCertificate and privateKey"),
        (
            "mode: SIMPLE, clientCertificate: /a",
            "spec.trafficPolicy.tls: clientCertificate and privateKey go with",
        ),
        (
            "mode: SIMPLE, insecureSkipVerify: true, caCertificates: /a",
            "spec.trafficPolicy.tls: insecureSkipVerify looks at nothing",
        ),
        (
            "mode: SIMPLE, caCertificates: ca.pem",
            "spec.trafficPolicy.tls.caCertificates: 'ca.pem' is no path",
        ),
        ("mode: SIMPLE, credentialName: x", "spec.trafficPolicy.tls.credentialName: is known to Istio"),
        ("mode: PLAIN", "spec.trafficPolicy.tls.mode: "),
        ("mode: SIMPLE, sni: '*.a'", "spec.trafficPolicy.tls: sni: is one name"),
        ("caCertificates: /a", "spec.trafficPolicy.tls.mode: is missing"),
    ],
)
def test_a_fault_is_told_with_its_field(tls: str, words: str) -> None:
    """One line."""
    with pytest.raises(DocumentError) as caught:
        parse_text(rule(tls))
    assert str(caught.value.problems[0]).partition(": ")[2].startswith(f"DestinationRule/api: {words}")


def test_what_it_compiles_to() -> None:
    """SNI and the wanted name are the host's, unless the rule, or the host's entry, says others."""
    assert tls_of(rule("mode: DISABLE")) is None
    assert tls_of(rule("mode: ISTIO_MUTUAL")) is None
    assert tls_of(rule("mode: SIMPLE")) == TlsPolicy(server_name="api.example.com")
    made = tls_of(
        rule(
            "mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /a, caCrl: /r, "
            "sni: other.example.com, subjectAltNames: [x, y]"
        )
    )
    assert made == TlsPolicy("/a", "/c", "/k", "/r", "other.example.com", ("x", "y"))
    named = entry("api.example.com", "resolution: DNS, subjectAltNames: ['spiffe://a/b']")
    assert tls_of(rule("mode: SIMPLE") + named) == TlsPolicy(
        server_name="api.example.com", names=("spiffe://a/b",)
    )
    skipped = tls_of(rule("mode: SIMPLE, insecureSkipVerify: true") + named)
    assert skipped == TlsPolicy(server_name="api.example.com", verify=False)


def test_a_pattern() -> None:
    """Each host its own name; where all share endpoints, the rule must say whose certificate it is."""
    wild = rule("mode: SIMPLE", "*.example.org")
    found = tls_of(wild + entry("*.example.org", "resolution: NONE"), "*.example.org|@a.example.org:80")
    assert found == TlsPolicy(server_name="a.example.org")
    shared = entry("*.example.org", "resolution: STATIC, endpoints: [{address: 10.0.0.1}]")
    with pytest.raises(DocumentError, match=r"spec.trafficPolicy.tls.sni: is needed for a pattern"):
        tls_of(wild + shared)
    assert tls_of(rule("mode: SIMPLE, sni: a.example.org", "*.example.org") + shared, "*.example.org")


def test_what_does_not_do_as_it_looks() -> None:
    """The mesh has no identities yet, its sidecars take plain HTTP; who is not verified may be anybody."""

    def warned(tls: str, host: str = "api.example.com") -> list[str]:
        return [
            str(each) for each in lint(parse_text(rule(tls, host)), {"orders": 1}) if ".tls." in each.path
        ]

    assert "no identities of its own yet; connections stay plain" in warned("mode: ISTIO_MUTUAL")[0]
    assert "no request will arrive" in warned("mode: SIMPLE", "orders")[0]
    assert "nobody knows who answers" in warned("mode: SIMPLE, insecureSkipVerify: true")[0]
    assert warned("mode: SIMPLE") == []
    assert warned("mode: DISABLE") == []
