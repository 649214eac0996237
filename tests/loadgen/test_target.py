"""Targets: what goes onto the wire, and what never does."""

import pytest

from loadgen.target import TargetError, parse_target


def test_the_bytes_of_a_request() -> None:
    """Head, then the traceparent, then nothing."""
    target = parse_target("http://127.0.0.1:8080/a/b?x=1&y=%20")
    assert (target.host, target.port) == ("127.0.0.1", 8080)
    assert target.request("00-aa-bb-01") == (
        b"GET /a/b?x=1&y=%20 HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nuser-agent: loadgen\r\n"
        b"traceparent: 00-aa-bb-01\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("url", "host", "port", "shown"),
    [
        ("http://shop", "shop", 80, "http://shop/"),
        ("127.0.0.1:81", "127.0.0.1", 81, "http://127.0.0.1:81/"),
        ("http://[::1]:82/x#part", "::1", 82, "http://[::1]:82/x"),
        ("http://h/ä b", "h", 80, "http://h/%C3%A4%20b"),
    ],
)
def test_urls(url: str, host: str, port: int, shown: str) -> None:
    """Port 80 and / by default; fragments stay at home; other characters are escaped."""
    target = parse_target(url)
    assert (target.host, target.port, target.url) == (host, port, shown)
    assert target.head.isascii()


def test_methods_and_headers() -> None:
    """A method with a body says that it is empty; a given user-agent replaces ours."""
    target = parse_target("http://h/", method="POST", headers=["X-Kind: a b", "User-Agent:  me "])
    assert target.head == (
        b"POST / HTTP/1.1\r\nhost: h\r\nX-Kind: a b\r\nUser-Agent: me\r\ncontent-length: 0\r\n"
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://h/", "only http://"),
        ("ftp://h/", "only http://"),
        ("http://", "needs a host"),
        ("http:///x", "needs a host"),
        ("http://a b/", "needs a host"),
        ("http://h:99999/", "Port"),
        ("http://h:x/", "Port"),
        ("http://me:secret@h/", "Authorization"),
        ("http://[::1", "IPv6"),
        ("http://h\u00e4user/", "needs a host"),
    ],
)
def test_bad_urls_are_refused_in_words(url: str, words: str) -> None:
    """One line with the remedy."""
    with pytest.raises(TargetError) as refused:
        parse_target(url)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "header",
    [
        "no colon",
        ": x",
        "a b: c",
        "x: a\r\nhost: evil",
        "x: \x00",
        "Host: other",
        "Traceparent: 1",
        "Content-Length: 5",
    ],
)
def test_bad_headers_are_refused(header: str) -> None:
    """Nothing smuggles a line in, and what we set ourselves is set once."""
    with pytest.raises(TargetError, match="header"):
        parse_target("http://h/", headers=[header])


def test_other_limits() -> None:
    """HEAD cannot be parsed, and headers are not endless."""
    with pytest.raises(TargetError, match="method 'HEAD'"):
        parse_target("http://h/", method="HEAD")
    with pytest.raises(TargetError, match="51 headers"):
        parse_target("http://h/", headers=[f"x-{i}: 1" for i in range(51)])


@pytest.mark.parametrize("url", ["http://h/\r\nx: y", "http://h/\tx", "http://h/ x HTTP/1.1"])
def test_no_url_breaks_the_request_line(url: str) -> None:
    """Whatever stands in the URL, the first line has two spaces and one end."""
    line, _, rest = parse_target(url).head.partition(b"\r\n")
    assert line.count(b" ") == 2
    assert rest.startswith(b"host: h\r\n")
