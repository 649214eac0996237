"""Prepared query templates: one query for every name with a prefix, its service made from the name.

Of Consul's template language the part that names are made of: `${name.full}`, `${name.prefix}`,
`${name.suffix}`, `${match(N)}` and `${agent.segment}`. Anything else is refused when the query is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from registry import regexp
from registry.errors import RegistryError

NAME_PREFIX_MATCH: Final = "name_prefix_match"
MAX_REGEXP: Final = 256
"""Characters; a pattern runs on the server's only thread, so it stays as small as a name needs."""

_MATCH: Final = re.compile(r"match\((\d{1,3})\)")


class TemplateError(RegistryError):
    """A template that cannot be used, in Consul's words."""


def check(template: Mapping[str, Any], service: Mapping[str, Any]) -> None:
    """Refuse a template whose type, pattern or text is none."""
    if template["Type"] != NAME_PREFIX_MATCH:
        raise TemplateError(f"failed compiling template: Bad Template.Type '{template['Type']}'")
    _pattern(template["Regexp"])
    for path, text in _texts("Service", service):
        for start, end in _holes(text):
            inner = text[start + 2 : end - 1].strip()
            known = ("name.full", "name.prefix", "name.suffix", "agent.segment")
            if inner not in known and not _MATCH.fullmatch(inner):
                why = f"1:{start + 3}: unknown variable accessed: {inner}"
                raise TemplateError(
                    f"failed compiling template: Bad evaluation for '{text}' in {path}: {why}"
                )


def render(name: str, prefix: str, template: Mapping[str, Any], service: Mapping[str, Any]) -> dict[str, Any]:
    """The service part for this name, which starts with `prefix`."""
    groups: list[str] = []
    if template["Regexp"]:
        asked = name.encode("utf-8", "replace")
        spans = _pattern(template["Regexp"]).search(asked) or ()
        groups = [asked[slice(*span)].decode("utf-8", "replace") for span in spans]
    values = {
        "name.full": name,
        "name.prefix": prefix,
        "name.suffix": name[len(prefix) :],
        "agent.segment": "",
    }

    def fill(inner: str) -> str:
        if match := _MATCH.fullmatch(inner):
            number = int(match[1])
            return groups[number] if number < len(groups) else ""
        return values[inner]

    made: dict[str, Any] = _mapped(service, lambda text: _filled(text, fill))
    if template["RemoveEmptyTags"] and made["Tags"]:
        made["Tags"] = [tag for tag in made["Tags"] if tag]
    return made


def _holes(text: str) -> Iterator[tuple[int, int]]:
    """Where each `${…}` begins and ends."""
    start = text.find("${")
    while start >= 0:
        end = text.find("}", start)
        if end < 0:
            return
        yield start, end + 1
        start = text.find("${", end)


def _filled(text: str, fill: Callable[[str], str]) -> str:
    parts, at = [], 0
    for start, end in _holes(text):
        parts += [text[at:start], fill(text[start + 2 : end - 1].strip())]
        at = end
    return "".join((*parts, text[at:]))


def _pattern(text: str) -> regexp.Regexp:
    if len(text) > MAX_REGEXP:
        raise TemplateError(f"failed compiling template: Bad Regexp: longer than {MAX_REGEXP} characters")
    try:
        return regexp.compile(text, search=True, groups=True)
    except regexp.RegexpError as bad:
        raise TemplateError(
            f"failed compiling template: Bad Regexp: error parsing regexp: {bad}: `{text}`"
        ) from bad


def _texts(path: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, str):
        return [(path, value)]
    if isinstance(value, Mapping):
        return [found for key, one in value.items() for found in _texts(f"{path}.{key}", one)]
    if isinstance(value, list):
        return [found for at, one in enumerate(value) for found in _texts(f"{path}[{at}]", one)]
    return []


def _mapped(value: Any, change: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [_mapped(one, change) for one in value]
    return value
