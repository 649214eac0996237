"""What `mesh fault` is told -> a `Fault` document, and such a document -> words for people. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mesh.errors import UsageError

API_VERSION: Final = "mesh/v1"
KIND: Final = "Fault"
# Long enough to look at a dashboard, short enough that nobody finds it broken tomorrow.
DEFAULT_TTL: Final = "5m"

_URI: Final = {"path": "exact", "prefix": "prefix", "regex": "regex"}
_NAME_LENGTH = 60


def match_of(words: Sequence[str], source: str | None = None) -> dict[str, Any]:
    """`["method=POST", "prefix=/pay", "x-user=ann"]` -> one Istio match, all of which must hold.

    A key that is none of method, path, prefix, regex is a header; `source` is the calling service.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip()
        if not equals or not key or not value:
            raise UsageError(
                f'--match: "{word[:80]}" is not KEY=VALUE; known are method=POST, path=/pay, prefix=/api/, '
                "regex=/v[12]/.* and HEADER=VALUE"
            )
        if key in _URI:
            if "uri" in found:
                raise UsageError("--match: give one of path, prefix, regex")
            found["uri"] = {_URI[key]: value}
        elif key == "method":
            found["method"] = {"exact": value.upper()}
        else:
            found.setdefault("headers", {})[key.lower()] = {"exact": value}
    if source is not None:
        found["sourceLabels"] = {"app": source}
    return found


def document_of(host: str, instance: str | None, name: str | None, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A whole document. Its name is that of its target: one fault for each target and match, so that a second
    one takes the place of the first instead of standing behind it, where it never acts.
    """
    whole: dict[str, Any] = {"host": host}
    if instance is not None:
        whole["instance"] = instance
    whole.update(spec)
    whole.setdefault("ttl", DEFAULT_TTL)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name or _name(host, instance, spec)},
        "spec": whole,
    }


def _name(host: str, instance: str | None, spec: Mapping[str, Any]) -> str:
    name = (instance or host).lower()[:_NAME_LENGTH]
    selected = {key: spec[key] for key in ("labels", "match") if spec.get(key)}
    if selected:
        text = repr(sorted((key, repr(value)) for key, value in selected.items()))
        name += f"-{hashlib.sha256(text.encode()).hexdigest()[:4]}"
    return name


def again(spec: Mapping[str, Any], before: object) -> dict[str, Any]:
    """The same fault put again begins its time anew: another generation of it."""
    fresh = {key: value for key, value in spec.items() if key != "generation"}
    if not isinstance(before, Mapping):
        return fresh
    generation = before.get("generation")
    return fresh | {"generation": (generation if isinstance(generation, int) else 0) + 1}


def what(spec: Mapping[str, Any]) -> str:
    """`delay 200ms (lognormal) for 50 % + abort 503 for 10 %`."""
    parts = []
    delay = spec.get("delay")
    if isinstance(delay, Mapping):
        shape = delay.get("shape", "fixed")
        words = f"delay {delay.get('duration')}" + (f" ({shape})" if shape != "fixed" else "")
        parts.append(words + _percent(delay.get("percentage", 100)))
    action = spec.get("action", "none")
    if action != "none":
        parts.append(_action(str(action), spec) + _percent(spec.get("percentage", 100)))
    return " + ".join(parts) or "nothing (keeps later faults away)"


def _action(action: str, spec: Mapping[str, Any]) -> str:
    match action:
        case "abort":
            return f"abort {spec.get('status', 503)}"
        case "fail-first":
            return f"{spec.get('status', 503)} for the first {spec.get('count', 1)} of each request"
        case "truncate":
            return f"truncate after {spec.get('afterBytes', 0)} bytes"
        case "slow-body":
            return f"body at {spec.get('bytesPerSecond', 1024):g} bytes/s"
    return action


def _percent(value: Any) -> str:
    return "" if value == 100 else f" for {value:g} %"


def which(spec: Mapping[str, Any]) -> str:
    """`POST /pay* from gateway`, or `all`."""
    words = [_match(one) for one in spec.get("match") or () if isinstance(one, Mapping)]
    labels = spec.get("labels") or {}
    found = " or ".join(words) or "all"
    return found + "".join(f" at {key} {value}" for key, value in labels.items())


def _match(one: Mapping[str, Any]) -> str:
    words = [_text(one["method"])] if "method" in one else []
    if "uri" in one:
        words.append(_text(one["uri"]))
    words += [f"{name}: {_text(value)}" for name, value in (one.get("headers") or {}).items()]
    words += [f"from {value}" for value in (one.get("sourceLabels") or {}).values()]
    left = set(one) - {"method", "uri", "headers", "sourceLabels"}
    return " ".join(words + [f"({', '.join(sorted(left))})"] * bool(left)) or "all"


def _text(match: Mapping[str, str]) -> str:
    if "exact" in match:
        return match["exact"]
    return f"{match['prefix']}*" if "prefix" in match else f"~{match.get('regex', '*')}"
