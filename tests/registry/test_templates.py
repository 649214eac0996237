"""Prepared query templates: what is refused, what comes of a name."""

import pytest

from registry.codec.prepared import prepared
from registry.templates import MAX_REGEXP, TemplateError, render


def _made(name: str, service: dict[str, object], **template: object) -> dict[str, object]:
    body = {"Name": "geo-", "Template": {"Type": "name_prefix_match", **template}, "Service": service}
    definition = prepared(body)
    return render(name, "geo-", definition["Template"], definition["Service"])


def test_the_parts_of_a_name_fill_the_holes() -> None:
    made = _made("geo-web", {"Service": "${name.suffix}", "Tags": ["${name.full}", "${ name.prefix }"]})
    assert (made["Service"], made["Tags"]) == ("web", ["geo-web", "geo-"])


def test_groups_of_the_pattern_and_nothing_where_there_is_none() -> None:
    service = {"Service": "${match(1)}", "Tags": ["${match(0)}", "${match(2)}", "${match(9)}"]}
    made = _made("geo-web-x", service, Regexp="^geo-(.*)-(y)?x$", RemoveEmptyTags=True)
    assert (made["Service"], made["Tags"]) == ("web", ["geo-web-x"])
    assert _made("geo-web", service, Regexp="^geo-(.*)-x$")["Service"] == ""


def test_a_hole_that_does_not_end_is_text() -> None:
    """However many begin, each is looked at once: half a megabyte of them held the registry for minutes."""
    assert _made("geo-a", {"Service": "a", "Tags": ["${" * 200_000]})["Tags"] == ["${" * 200_000]
    assert _made("geo-a", {"Service": "${name.suffix}-${name.full}${"})["Service"] == "a-geo-a${"


def test_a_pattern_takes_linear_time() -> None:
    made = _made("geo-" + "a" * 50_000, {"Service": "x${match(1)}"}, Regexp="^geo-(a+)+b$")
    assert made["Service"] == "x"


@pytest.mark.parametrize(
    ("service", "template", "why"),
    [
        ({"Service": "${node}"}, {}, r"Service.Service: 1:3: unknown variable accessed: node"),
        ({"Service": "a", "Tags": ["x", "a${b}"]}, {}, r"in Service.Tags\[1\]: 1:4: unknown"),
        ({"Service": "a"}, {"Regexp": "("}, "Bad Regexp: error parsing regexp"),
        ({"Service": "a"}, {"Regexp": "a" * (MAX_REGEXP + 1)}, f"longer than {MAX_REGEXP}"),
        ({"Service": "a"}, {"Type": "other"}, "Bad Template.Type 'other'"),
    ],
)
def test_what_is_refused(service: dict[str, object], template: dict[str, object], why: str) -> None:
    with pytest.raises(TemplateError, match=why):
        _made("geo-a", service, **template)
