"""Expressions in linear time, in the language of RE2 and the words of Go; and where RE2 is missing, in
less.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import regexp, regexp_bounds
from registry.regexp import MAX_PROGRAM, RegexpError, compile

EVIL = [
    r"^([a-z0-9]+[._-]?)+@example$",
    r"^(([a-f0-9]+-?)+)+Z$",
    r"(a+)+b",
    r"(a|a)*b",
    r"(.*)*b",
    r".*.*.*.*.*b",
    r"(a*)*(a*)*b",
]


@pytest.mark.parametrize("text", EVIL)
def test_what_stops_a_backtracking_engine_ends(text: str) -> None:
    """60 KiB, as much as a head may have; Python's engine would not end at 40 bytes."""
    value = b"a" * 60_000 + b"!"
    assert not compile(text).fullmatch(value)
    assert compile(text, search=True).search(value) is None


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        (r"[[:alpha:]]+", b"abc", True),
        (r"[[:alpha:]]+", b"ab1", False),
        (r"\pN+", "1٣".encode(), True),
        (r"\p{Greek}", "λ".encode(), True),
        (r"a\z", b"a", True),
        (r"a$", b"a\n", False),  # to Python "$" is before a last line feed too
        (r"(?i)straße", "STRAßE".encode(), True),
        (r".", "é".encode(), True),  # one character, two bytes
        (r".", b"\xe9", False),  # bytes that are no text
        (r"[^/]+", b"a\xffb", False),
        (r"\xff", "ÿ".encode(), True),
        (r"(?s).*", b"a\nb", True),
        (r".*", b"a\nb", False),
        (r"v\d", "v٣".encode(), False),  # \d is ASCII
        (r"\Qa.b\E", b"a.b", True),
        (r"a|ab", b"ab", True),  # the whole value, whichever branch that takes
    ],
)
def test_the_language_is_res2(text: str, value: bytes, expected: bool) -> None:
    """As Istio's documents mean it (Envoy matches by the same library) and Consul's filters."""
    assert compile(text).fullmatch(value) is expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(", "missing closing ): `(`"),
        ("[a", "missing closing ]: `[a`"),
        ("a)", "unexpected ): `a)`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("[b-a]", "invalid character class range: `b-a`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("(a{100}){100}", "invalid repeat count: `{100}`"),
        ("(?u)a", "invalid or unsupported Perl syntax: `(?u`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
        ("\ud800", "invalid UTF-8"),
    ],
)
def test_what_is_none_is_told_in_gos_words(text: str, words: str) -> None:
    """Those of Go 1.26 itself, looked up by running it."""
    with pytest.raises(RegexpError) as caught:
        compile(text)
    assert str(caught.value) == words


@pytest.mark.parametrize("text", [r"(?:\pL{54})", r"(?:\pL{999})"])
def test_a_program_is_bounded(text: str) -> None:
    """What it took to find out is counted, for whoever has many to compile."""
    with pytest.raises(RegexpError, match=r"^expression too large") as caught:
        compile(text)
    assert caught.value.cost > MAX_PROGRAM
    assert 0 < compile(r"(?:\pL{9})").cost < MAX_PROGRAM


def test_a_search_says_where() -> None:
    """The whole, and each group; one that took no part is nowhere."""
    found = compile(r"(b)|(c)", search=True, groups=True)
    assert found.search(b"abc") == [(1, 2), (1, 2), (-1, -1)]
    assert found.search(b"abc", 2) == [(2, 3), (-1, -1), (2, 3)]
    assert found.search(b"xyz") is None
    assert compile("^b", search=True).search(b"ab", 1) is None


# -- without RE2 -------------------------------------------------------------------------------------


@pytest.fixture
def without_re2(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a platform that it has no wheel for."""
    monkeypatch.setattr(regexp, "_re2", lambda: None)


@pytest.mark.usefixtures("without_re2")
@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("/api/v[12]/.*", "/api/v2/x", "/api/v3/x"),
        ("/users/[^/]+/orders/[^/]+", "/users/a/orders/b", "/users/a/orders/b/c"),
        ("(foo|bar)?[0-9]{1,3}", "bar12", "bar1234"),
        (r"[a-z0-9_]+@example\.com", "ann@example.com", "ann@example_com"),
        ("^v1$", "v1", "v1\n"),
        ("h.llo", "hällo", "hllo"),
        ("(?:GET|HEAD)", "HEAD", "POST"),
        (r"[^~]*~app~[^~]*", "a~app~v1", "a~app~b~c"),
        ("", "", "x"),
    ],
)
def test_what_is_bounded_by_its_shape_is_taken(text: str, yes: str, no: str) -> None:
    pattern = compile(text)
    assert pattern.fullmatch(yes.encode())
    assert not pattern.fullmatch(no.encode())
    assert not pattern.fullmatch(b"\xff" + yes.encode())


@pytest.mark.usefixtures("without_re2")
@pytest.mark.parametrize(
    "text",
    [
        *EVIL, ".*canary.*", "a*a*", "a{1,9}{1,9}", "[a-c]*[b-d]+x", "a{500}b{501}", "(?i)a", r"\pN", "a|b",
        "[[:alpha:]]", r"\s", "é", "(a*)", "[]a]", "[a--b]", r"\z", "a{2,1}", "a{1001}", "x**", "[", "(",
        "\\",
    ],
)  # fmt: skip
def test_what_cannot_be_bounded_is_refused_by_name(text: str) -> None:
    with pytest.raises(RegexpError, match=r"^needs RE2, which this platform has no wheel of: ") as caught:
        compile(text)
    assert text in str(caught.value)


@pytest.mark.usefixtures("without_re2")
def test_inside_a_value_less_is_bounded() -> None:
    """A repetition without end would begin anew at each place."""
    assert compile("^a*b", search=True).search(b"aab") is not None
    assert compile("b[0-9]", search=True, groups=True).search("äb1".encode(), 1) == [(2, 4)]
    with pytest.raises(RegexpError, match=r'without "\^" before it'):
        compile("a*b", search=True)


PIECES = st.sampled_from(
    [
        "a",
        "b",
        "/",
        ".",
        r"\.",
        "[ab]",
        "[^/]",
        r"\d",
        "(a|ab)",
        "(?:b)?",
        "*",
        "+",
        "?",
        "{2}",
        "{0,3}",
        "+?",
        "^",
        "$",
        "-",
    ]
)
VALUES = st.text(alphabet="ab/.1é\n", max_size=12)


@given(st.lists(PIECES, max_size=8), st.lists(VALUES, min_size=1, max_size=6))
def test_both_engines_agree_on_what_both_take(pieces: list[str], values: list[str]) -> None:
    """What the small language lets pass is in RE2's, and means the same there."""
    text = "".join(pieces)
    if regexp_bounds.problem_of(text, search=True):
        return
    small, full = regexp._bounded(text, search=True), compile(text, search=True, groups=True)
    for value in values:
        assert small.fullmatch(value.encode()) == full.fullmatch(value.encode()), (text, value)
        assert small.search(value.encode()) == full.search(value.encode()), (text, value)
