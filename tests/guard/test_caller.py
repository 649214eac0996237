"""Where a request comes from, by its address and by what a browser says."""

import pytest

from guard.caller import foreign_page, is_loopback, is_loopback_host, names_this_machine


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine(peer: str) -> None:
    """Whatever the form of the address; a listener that is bound to :: sees the last one."""
    assert is_loopback(peer)


@pytest.mark.parametrize("peer", ["10.0.0.7", "172.17.0.1", "::2", "::ffff:10.0.0.7", "localhost", "", None])
def test_another_machine(peer: str | None) -> None:
    """Or nobody knows: then it is another."""
    assert not is_loopback(peer)


def test_where_a_listener_is_for_this_machine_alone() -> None:
    """By name or by address; what is bound to everything is not."""
    assert is_loopback_host("localhost")
    assert is_loopback_host("127.0.0.1")
    assert is_loopback_host("::1")
    assert not any(map(is_loopback_host, ("0.0.0.0", "::", "10.0.0.7", "orders-1")))


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:15000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:80", "10.0.0.7:8500"]
)
def test_hosts_that_no_dns_answers_for(host: str) -> None:
    """An address cannot be rebound; localhost is nobody's domain."""
    assert names_this_machine(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:15000",
        "127.0.0.1.evil.example:15000",
        "localhost.evil.example",
        "evil-localhost",
        "[::1].evil.example",
        "2130706433",
        "orders-1:15000",
        "",
    ],
)
def test_hosts_that_somebodys_dns_may_answer_for(host: str) -> None:
    """A page of that name could have been led here."""
    assert not names_this_machine(host)


HOST = "127.0.0.1:15000"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {"Origin": "http://evil.example"}),
        ("POST", {"Origin": "null"}),
        ("POST", {"Origin": ""}),
        ("GET", {"Origin": "http://127.0.0.1:15001"}),
        ("GET", {"Origin": "https://127.0.0.1:15000"}),
        ("GET", {"Origin": "http://127.0.0.1"}),
        ("GET", {"Origin": "http://localhost:15000"}),
        ("GET", {"Sec-Fetch-Site": "cross-site"}),
        ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
        ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object"}),
        (
            "POST",
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        ),
    ],
)
def test_a_page_from_elsewhere(method: str, headers: dict[str, str]) -> None:
    """Another scheme, name or port is elsewhere; a form, a frame and a picture are of the page."""
    assert foreign_page(method, {"Host": HOST, **headers})


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("PUT", {}),
        ("POST", {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}),
        ("GET", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
    ],
)
def test_no_page_from_elsewhere(method: str, headers: dict[str, str]) -> None:
    """A program, the listener's own page, the address bar, and a link that a person clicks."""
    assert not foreign_page(method, {"Host": HOST, **headers})


def test_an_origin_is_compared_without_case() -> None:
    """As host names are."""
    assert not foreign_page("GET", {"Host": "LocalHost:1", "Origin": "http://LOCALHOST:1"})
