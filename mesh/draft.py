"""A topology that is changed while it runs: the document as it was written, one change after the other.

Pure. Each change gives a new draft that is valid as a whole, or raises UsageError or ActionRefused in one
line; what it was made from stays as it is. Settings have the names and units of the topology file.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from mesh.errors import ActionRefused, UsageError
from mesh.words import unknown_name
from services.script import Topology, TopologyError, parse_topology, read_document

# What of a running service can be another from one request to the next.
SETTINGS = ("numReplicas", "latency", "errorRate", "requestSize", "responseSize", "script")
# A replica is of its version for as long as it lives.
FIRST_SETTINGS = ("version", "versions", "zone", "zones", "health")
CALL_SETTINGS = ("probability", "required", "timeout", "size", "method", "path")
# The control API starts no programs that somebody names to it: those stand in the topology file.
FILE_ONLY = ("command", "port")

INGRESS = "ingress"
HEADER = "# As it ran when it was saved: mesh up FILE\n"

Document = dict[str, Any]


class Draft:
    """`topology` is what it means, `text` the file that says so."""

    def __init__(self, text: str, file: str) -> None:
        """Raises TopologyError when the text is no valid topology."""
        self.text = text
        self.file = file
        self.topology: Topology = parse_topology(text, file)
        self._document = read_document(text, file)
        # where it was only understood: a service that is added must not make it one of two that nobody calls
        self._own(self._document, self.topology.entrypoint.name)["isEntrypoint"] = True

    def service(self, name: str) -> Document:
        """A service as the file would say it in full: its own settings, else the shared ones."""
        own = self._own(self._document, name)
        service = self.topology.service(name)
        shown = {key: self._setting(self._document, own, key) for key in (*SETTINGS, *FIRST_SETTINGS)}
        return {
            "name": name,
            **{key: value for key, value in shown.items() if value is not None},
            "numReplicas": service.replicas,
            "errorRate": service.error_rate,
            "isEntrypoint": service.is_entrypoint,
            "command": service.command is not None,
            "calls": [
                {"service": call.service, "probability": call.probability, "required": call.required}
                for call in service.calls()
            ],
        }

    def with_service(self, name: str, settings: Mapping[str, Any]) -> "Draft":
        """Add it, or change these settings of it; None is the setting's default again."""
        _known(settings, (*SETTINGS, *FIRST_SETTINGS), "settings")
        document = copy.deepcopy(self._document)
        there = next((each for each in document["services"] if each["name"] == name), None)
        own = {"name": name} if there is None else there
        for key, value in settings.items():
            if there is not None and key in FIRST_SETTINGS and there.get(key) != value:
                raise ActionRefused(
                    f"{name}: {key}: replicas that run keep theirs (remove the service, and add it anew)"
                )
            if value is None:
                own.pop(key, None)
            else:
                own[key] = value
        if there is None:
            document["services"].append(own)
        return self._made(document)

    def without_service(self, name: str) -> "Draft":
        """Remove it, and every call to it."""
        document = copy.deepcopy(self._document)
        own = self._own(document, name)
        if self.topology.entrypoint.name == name:
            raise ActionRefused(f"{name} is the entrypoint: requests come in there, so it stays")
        document["services"].remove(own)
        for holder in (*document["services"], document.get("defaults"), document.get("default")):
            if holder and holder.get("script"):
                holder["script"] = _without(holder["script"], name)
        return self._made(document)

    def with_call(self, caller: str, callee: str, settings: Mapping[str, Any]) -> "Draft":
        """Let one call the other, last in its script; when it does already, change how."""
        _known(settings, CALL_SETTINGS, "settings of a call")
        document = copy.deepcopy(self._document)
        own = self._caller(document, caller)
        self._own(document, callee)
        if own.get("command") is not None:
            raise UsageError(f"{caller} runs a program of its own: whom it calls is written there")
        if caller == callee:
            raise ActionRefused(f"{caller} cannot call itself: that would never end")
        script = copy.deepcopy(self._setting(document, own, "script") or [])
        found = next((step for step in _steps(script) if _callee(step) == callee), None)
        if found is None:
            script.append({"call": {"service": callee, **settings} if settings else callee})
        elif settings:
            before = found["call"] if isinstance(found["call"], dict) else {"service": callee}
            found["call"] = {**before, **settings}
        own["script"] = script
        return self._made(document)

    def without_call(self, caller: str, callee: str) -> "Draft":
        """Let one no longer call the other."""
        document = copy.deepcopy(self._document)
        own = self._caller(document, caller)
        self._own(document, callee)
        script = self._setting(document, own, "script") or []
        if any(_callee(step) == callee for step in _steps(script)):
            own["script"] = _without(script, callee)
        return self._made(document)

    def _made(self, document: Document) -> "Draft":
        if document == self._document:
            return self
        text = HEADER + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
        try:
            return Draft(text, self.file)
        except TopologyError as error:
            # lines are those of a text that nobody has seen; a service's name says more
            raise UsageError(f"{_place(document, error.field)}{error.problem} ({error.remedy})") from error

    def _caller(self, document: Document, name: str) -> Document:
        if name == INGRESS:
            entrypoint = self.topology.entrypoint.name
            raise UsageError(f"the ingress calls the entrypoint, {entrypoint}, and nobody else")
        return self._own(document, name)

    def _own(self, document: Document, name: str) -> Document:
        for each in document["services"]:
            if each["name"] == name:
                assert isinstance(each, dict)
                return each
        raise unknown_name("service", name, [each["name"] for each in document["services"]])

    @staticmethod
    def _setting(document: Document, own: Document, key: str) -> Any:
        shared = document.get("defaults") or document.get("default") or {}
        return shared.get(key) if own.get(key) is None else own[key]


def _known(settings: Mapping[str, Any], known: tuple[str, ...], noun: str) -> None:
    for key in settings:
        if key in FILE_ONLY:
            raise UsageError(f"{key}: stands in the topology file only; nobody can start programs from here")
        if key not in known:
            raise UsageError(f'no key is named "{key[:40]}" ({noun}: {", ".join(known)})')


def _place(document: Document, field: str) -> str:
    """`services[3].versions` as `recommendations: versions: `."""
    found = re.fullmatch(r"services\[(\d+)\]\.?(.*)", field)
    words = [str(document["services"][int(found[1])]["name"]), found[2]] if found else [field]
    return "".join(f"{word}: " for word in words if word)


def _steps(script: list[Any]) -> Iterator[Document]:
    for item in script:
        yield from item if isinstance(item, list) else (item,)


def _callee(step: Document) -> Any:
    call = step.get("call")
    return call.get("service") if isinstance(call, dict) else call


def _without(script: list[Any], callee: str) -> list[Any]:
    def keep(step: Document) -> bool:
        return bool(_callee(step) != callee)

    kept: list[Any] = []
    for item in script:
        if not isinstance(item, list):
            kept += [item] if keep(item) else []
        elif inner := [step for step in item if keep(step)]:
            kept.append(inner)
    return kept
