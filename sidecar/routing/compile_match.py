"""HTTPMatchRequest -> the conditions of a rule: for who calls, and for who is called."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from .connection_routes import L4MatchAttributes
from .fields import StringMatch
from .match import Match, Text
from .virtual_service import HTTPMatchRequest, HTTPRoute

PEER_HEADER: Final = b"x-envoy-peer-metadata-id"  # instance~service~version
NAMESPACE: Final = "default"
NOBODY: Final = Text("exact", b"\n")  # no field of a head has a line break in it


def compile_match(request: HTTPMatchRequest) -> Match:
    """The conditions that a request itself can meet; sourceLabels and gateways are about who asks."""
    return Match(
        path=_given(request.uri, request.ignoreUriCase),
        method=_given(request.method),
        authority=_given(request.authority),
        headers=_named(request.headers, lower=True),
        without=_named(request.withoutHeaders, lower=True),
        query=_named(request.queryParams, lower=False),
        port=request.port,
    )


def compile_below(request: HTTPMatchRequest, block: HTTPRoute) -> Match:
    """The same as the called service sees it: rewritten, its caller by the header that a sidecar sends."""
    match = _as_rewritten(compile_match(request), block)
    if not same_namespace(request):
        return replace(match, headers=(*match.headers, (PEER_HEADER, NOBODY)))
    if not request.sourceLabels:
        return match
    return replace(match, headers=(*match.headers, (PEER_HEADER, _peer(request.sourceLabels))))


def same_namespace(request: HTTPMatchRequest | L4MatchAttributes) -> bool:
    """Whether its callers are of the namespace that there is."""
    return request.sourceNamespace in ("", NAMESPACE)


def compile_text(match: StringMatch, ignore_case: bool = False) -> Text:
    """One condition on a text."""
    if match.exact is not None:
        return Text("exact", match.exact.encode(), ignore_case)
    if match.prefix is not None:
        return Text("prefix", match.prefix.encode(), ignore_case)
    return Text("regex", (match.regex or "").encode(), ignore_case)


def _named(conditions: Mapping[str, StringMatch], lower: bool) -> tuple[tuple[bytes, Text], ...]:
    return tuple(
        ((name.lower() if lower else name).encode(), compile_text(condition))
        for name, condition in conditions.items()
    )


def _given(match: StringMatch | None, ignore_case: bool = False) -> Text | None:
    return None if match is None else compile_text(match, ignore_case)


def _as_rewritten(match: Match, block: HTTPRoute) -> Match:
    """The match as the called service sees the request, after the caller rewrote its path."""
    if block.rewrite is not None and block.rewrite.authority is not None:
        match = replace(match, port=None)  # it went with the host
    if block.rewrite is None or match.path is None:
        return match
    if block.rewrite.uri is None or match.path.kind == "regex":
        return replace(match, path=None) if block.rewrite.uriRegexRewrite is not None else match
    return replace(match, path=Text(match.path.kind, block.rewrite.uri.encode(), match.path.ignore_case))


def _peer(labels: Mapping[str, str]) -> Text:
    """The caller's `app` and `version`; other labels are not sent along, so they match nobody."""
    if set(labels) - {"app", "version"}:
        return NOBODY
    app, version = (re.escape(labels[name]) if name in labels else "[^~]*" for name in ("app", "version"))
    return Text("regex", f"[^~]*~{app}~{version}".encode())
