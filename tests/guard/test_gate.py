"""Who may do what at a listener: every kind of caller, with and without a token."""

from itertools import product

import pytest

from guard.gate import Gate, Refusal, bearer
from guard.token import Token

HERE, ELSEWHERE = "127.0.0.1", "10.0.0.7"
PUBLIC = frozenset({"/metrics"})
LOCAL = {"Host": "127.0.0.1:15000"}


def status(
    gate: Gate,
    method: str = "GET",
    path: str = "/snapshot",
    peer: str | None = HERE,
    headers: dict[str, str] = LOCAL,
    given: str | None = None,
) -> int:
    """200 when it is let through."""
    refused = gate.refusal(method, path, peer, headers, given)
    return 200 if refused is None else refused.status


def open_gate() -> Gate:
    return Gate("the listener", Token(), PUBLIC)


def locked_gate() -> Gate:
    return Gate("the listener", Token("secret"), PUBLIC)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_without_a_token_this_machine_may_do_all(method: str) -> None:
    """curl, Prometheus, scripts as for Envoy: nobody notices."""
    assert status(open_gate(), method) == 200
    assert status(open_gate(), method, peer="::1", headers={"Host": "localhost:15000"}) == 200
    assert status(open_gate(), method, headers={}) == 200, "HTTP/1.0 needs no Host, and no browser speaks it"


def test_without_a_token_another_machine_reads_what_is_public() -> None:
    """By any name, and nothing else; a token that nobody knows opens nothing."""
    gate = open_gate()
    for host in ("orders-1:15000", "10.0.0.9", "evil.example"):
        assert status(gate, path="/metrics", peer=ELSEWHERE, headers={"Host": host}) == 200
    for method, path in product(("GET", "POST"), ("/snapshot", "/quitquitquit")):
        for given in (None, "", "secret"):
            assert status(gate, method, path, ELSEWHERE, given=given) == 403
    assert status(gate, "POST", "/metrics", ELSEWHERE) == 403
    assert status(gate, "GET", "/metrics/", ELSEWHERE) == 403
    assert status(gate, peer=None) == 403


def test_with_a_token_what_acts_needs_it() -> None:
    """On this machine too, where other users are; reading does not."""
    gate = locked_gate()
    assert status(gate) == 200
    for method in ("POST", "PUT", "DELETE", "PATCH", "ANYTHING"):
        assert status(gate, method) == 401
        assert status(gate, method, given="wrong") == 401
        assert status(gate, method, given="\udcff") == 401
        assert status(gate, method, given="secret") == 200


def test_with_a_token_another_machine_needs_it_for_all_but_what_is_public() -> None:
    """And with it may do all."""
    gate = locked_gate()
    named = {"Host": "orders-1:15000"}
    assert status(gate, path="/metrics", peer=ELSEWHERE, headers=named) == 200
    for method in ("GET", "POST"):
        assert status(gate, method, peer=ELSEWHERE, headers=named) == 401
        assert status(gate, method, peer=ELSEWHERE, headers=named, given="secret") == 200


def test_a_name_that_was_led_here_is_refused() -> None:
    """DNS rebinding: the page's own name, from this machine's own browser; the token does not help it."""
    for gate, path in product((open_gate(), locked_gate()), ("/metrics", "/snapshot")):
        assert status(gate, path=path, headers={"Host": "evil.example:15000"}) == 403
    led = {"Host": "evil.example:15000", "Origin": "http://evil.example:15000"}
    assert status(open_gate(), "POST", headers=led) == 403
    refused = open_gate().refusal("GET", "/", HERE, {"Host": "evil\x1b[31m.example"}, None)
    assert refused is not None
    assert "\x1b" not in refused.words


@pytest.mark.parametrize("peer", [HERE, ELSEWHERE])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_from_elsewhere_may_nothing(method: str, peer: str) -> None:
    """Not even read what is public: a program would not say Origin."""
    for gate in (open_gate(), locked_gate()):
        assert status(gate, method, "/metrics", peer, {**LOCAL, "Origin": "http://evil.example"}) == 403
        assert status(gate, method, "/metrics", peer, {**LOCAL, "Sec-Fetch-Site": "cross-site"}) == 403


def test_anybody_may_what_this_machine_may_when_it_is_said() -> None:
    """Without a token all; with one, reading."""
    gate = Gate("the listener", Token(), anybody=True)
    named = {"Host": "registry:8500"}
    assert status(gate, "PUT", peer=ELSEWHERE, headers=named) == 200
    assert status(gate, "PUT", headers=named) == 403, "a browser of this machine could have been led here"
    locked = Gate("the listener", Token("secret"), anybody=True)
    assert status(locked, "GET", peer=ELSEWHERE, headers=named) == 200
    assert status(locked, "PUT", peer=ELSEWHERE, headers=named) == 401


def test_a_refusal_says_what_would_help() -> None:
    """One line."""
    assert locked_gate().refusal("POST", "/x", HERE, LOCAL, None) == Refusal(
        401, "the listener wants its token: send Authorization: Bearer TOKEN"
    )
    refused = open_gate().refusal("POST", "/x", ELSEWHERE, LOCAL, None)
    assert refused is not None
    assert refused.words == "the listener has no token: without one it takes this from its own machine only"


def test_the_word_after_bearer() -> None:
    """In any case, and of no other scheme."""
    assert bearer({"Authorization": "bEaReR  secret "}) == "secret"
    assert bearer({"Authorization": "Basic secret"}) is None
    assert bearer({"Authorization": "secret"}) is None
    assert bearer({}) is None
