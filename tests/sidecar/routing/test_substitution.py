"""uriRegexRewrite: as RE2's GlobalReplace, with a bound on what one path may cost."""

import pytest

from sidecar.routing.substitution import MATCHES_MAX, RESULT_MAX, Substitution


@pytest.mark.parametrize(
    ("pattern", "template", "path", "expected"),
    [
        (r"^/v(\d+)/(.*)$", r"/\2/version/\1", b"/v2/x/y", b"/x/y/version/2"),
        ("a", "bb", b"/aXa", b"/bbXbb"),
        ("x*", "-", b"abxd", b"-a-b-d-"),  # nothing right behind a match is none; Python says -a-b--d-
        ("", "-", b"ab", b"-a-b-"),
        (r"(a)|b", r"[\1]", b"/ab", b"/[a][]"),
        (r"/(\w+)", r"\\\0", b"/a/b", rb"\/a\/b"),
        ("nothing", "x", b"/a", b"/a"),
        (".", "-", "/é".encode(), b"--"),
    ],
)
def test_every_match_is_replaced(pattern: str, template: str, path: bytes, expected: bytes) -> None:
    assert Substitution(pattern, template).apply(path) == expected


@pytest.mark.parametrize(
    ("pattern", "template", "words"),
    [
        ("(", "", "missing closing )"),
        ("a", r"\1", "it has 0"),
        ("(a)(b)", r"\3", "it has 2"),
        ("a", r"\x", "neither a group"),
        ("a", "x\\", "neither a group"),
        ("a", "\\²", "neither a group"),
    ],
)
def test_what_is_none_is_refused(pattern: str, template: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the words are looked at
        Substitution(pattern, template)
    assert words in str(caught.value)


def test_a_path_with_too_many_places_is_not_rewritten() -> None:
    """Each search may look at all that is left: 16 KiB of `a` would take a quarter of a second."""
    every = Substitution("a.*b|a", "c")
    assert every.apply(b"/" + b"a" * MATCHES_MAX) == b"/" + b"c" * MATCHES_MAX
    assert every.apply(b"/" + b"a" * (MATCHES_MAX + 1)) is None
    twice = Substitution("(.*)", r"\1" * 500)
    assert twice.apply(b"/" * (RESULT_MAX // 500 + 1)) is None
