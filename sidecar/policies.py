"""The policy documents in force: files given at the start, and what the registry has under `mesh/policy/`.

    watch -> parse -> compile the whole set -> tell everybody who acts on it, in one turn of the loop

A set with any fault in it is refused whole, and what is in force stays: half a set would be a policy that
nobody wrote. Whatever the fault, the sidecar goes on. A document of the registry takes the place of a
file's of the same kind and name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .errors import ConfigError
from .observe.events import EventLog
from .routing.compiled import Compiled
from .routing.errors import DocumentError, Problem

if TYPE_CHECKING:
    from .routing.documents import Document
    from .routing.fields import Budget

    _Set = tuple[dict[str, Document], Compiled]

log = logging.getLogger("sidecar.policies")

PREFIX = "mesh/policy/"
# A set can be wrong in a thousand places; what goes into each snapshot and event must not grow with it.
PROBLEM_CHARS = 1000
# A set of some ten documents is read in a few milliseconds; a larger one must not hold up the requests
# meanwhile.
INLINE_BYTES = 16 * 1024


class Entry(Protocol):
    """A key of the registry's store, as `registry.client.KVEntry`."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> bytes: ...


class PolicySource(Protocol):
    """The part of `registry.client.RegistryClient` that is used here."""

    def watch_kv(self, prefix: str) -> AsyncIterator[tuple[Any, ...]]: ...


class Policies:
    """What this sidecar acts on, and what was wrong with the last set that it refused.

    Args:
        compile: documents -> compiled set, for this sidecar; raises DocumentError.
        apply: takes a compiled set over; called once for each set that differs.
        wall_clock: seconds since the epoch.
    """

    def __init__(
        self,
        files: Sequence[Document],
        compile: Callable[[list[Document]], Compiled],
        apply: Callable[[Compiled], None],
        events: EventLog,
        wall_clock: Callable[[], float],
    ) -> None:
        self._files = {document.key: document for document in files}
        self._documents = dict(self._files)
        self._compile = compile
        self._apply = apply
        self._events = events
        self._wall_clock = wall_clock
        self._at = wall_clock()
        self.problem = ""
        self.compiled = compile(list(self._files.values()))
        apply(self.compiled)

    async def watch(self, source: PolicySource) -> None:
        """Follow the registry's documents, without end."""
        async for entries in source.watch_kv(PREFIX):
            if sum(len(entry.value) for entry in entries) <= INLINE_BYTES:
                self.take(entries)
            else:
                self._put(await asyncio.to_thread(self._read, entries))

    def take(self, entries: Sequence[Entry]) -> None:
        """All documents that the registry has now."""
        self._put(self._read(entries))

    def _read(self, entries: Sequence[Entry]) -> _Set | str:
        """The set that they make with the files, or why it is refused. Changes nothing."""
        try:
            documents = self._documents_of(entries)
            return documents, self._compile(list(documents.values()))
        except DocumentError as error:
            return "; ".join(map(str, error.problems))
        except Exception as error:  # a fault of ours, and no reason to leave the requests alone
            log.exception("policies: a set that can be neither taken nor refused by name")
            return f"the set cannot be read ({type(error).__name__}): the log says more"

    def _documents_of(self, entries: Sequence[Entry]) -> dict[str, Document]:
        documents = dict(self._files)
        if not entries:
            return documents
        from .routing.documents import SET_BYTES_MAX  # see routing/compiled.py
        from .routing.fields import Budget

        size = sum(len(entry.value) for entry in entries)
        if size > SET_BYTES_MAX:
            words = f"the set has {size} bytes, more than {SET_BYTES_MAX}"
            raise DocumentError([Problem(PREFIX, "", words)])
        budget = Budget()
        problems: list[Problem] = []
        for entry in entries:
            try:
                document = _parse(entry, budget)
                documents[document.key] = document
            except DocumentError as error:
                problems.extend(error.problems)
        if problems:
            raise DocumentError(problems)
        return documents

    def _put(self, found: _Set | str) -> None:
        """Act on it from now on, if it differs; in one turn of the loop."""
        if isinstance(found, str):
            self._refuse(found[:PROBLEM_CHARS])
            return
        documents, compiled = found
        changed = compiled.version != self.compiled.version
        if changed:
            try:
                self._apply(compiled)
            except Exception as error:  # as in `_read`
                log.exception("policies: a set that can be read and not be acted on")
                self._apply(self.compiled)
                self._refuse(f"the set cannot be acted on ({type(error).__name__}): the log says more")
                return
            self.compiled, self._documents, self._at = compiled, documents, self._wall_clock()
        if changed or self.problem:
            self.problem = ""
            self._events.add("policy", after=compiled.version, reason=f"{len(documents)} documents in force")

    def _refuse(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            version = self.compiled.version
            log.warning("policies refused, version %s stays in force: %s", version, problem)
            self._events.add("policy", after=version, reason=f"a set was refused: {problem}")

    def state(self) -> dict[str, Any]:
        """For the snapshot: version and number of documents in force, since when, and what was refused."""
        return {
            "version": self.compiled.version,
            "documents": len(self._documents),
            "problem": self.problem,
            "at": round(self._at, 3),
        }

    def dump(self) -> dict[str, Any]:
        """For `/config_dump`: the documents themselves, and the table made of them."""
        return {
            **self.state(),
            "routes": self.compiled.table.describe(),
            "connections": self.compiled.connections.describe(),
            "documents": {
                key: document.model_dump(mode="json", exclude_unset=True)
                for key, document in sorted(self._documents.items())
            },
        }


def read_files(paths: Sequence[Path]) -> list[Document]:
    """The documents of `--policy` files.

    Raises:
        ConfigError: naming the file and every fault in it.
    """
    found: list[Document] = []
    for path in paths:
        from .routing.documents import parse_text  # see routing/compiled.py

        try:
            found += parse_text(path.read_text(encoding="utf-8"), str(path))
        except OSError as error:
            raise ConfigError(f"--policy {path}: cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, DocumentError) as error:
            raise ConfigError(f"--policy {path}: {error}") from error
    return found


def _parse(entry: Entry, budget: Budget) -> Document:
    from .routing.documents import parse_document  # see routing/compiled.py
    from .routing.plain import NotPlain, read_json

    try:
        raw = read_json(entry.value)
    except NotPlain as error:
        raise DocumentError([Problem(entry.key, error.path, error.problem)]) from None
    return parse_document(raw, entry.key, budget)
