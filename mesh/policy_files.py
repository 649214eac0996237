"""Policy documents from files, folders and standard input, with the place of each for errors."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mesh.errors import DocumentsRefused, UsageError
from mesh.policy_set import Policy
from sidecar.routing.documents import KINDS, label_of, parse_entry
from sidecar.routing.entries import Entry, read_entries
from sidecar.routing.errors import DocumentError, Problem
from sidecar.routing.fields import Budget
from sidecar.routing.foreign import is_foreign
from sidecar.routing.names import at_home
from sidecar.routing.plain import TEXT_MAX

STDIN = "-"
SUFFIXES = frozenset({".yaml", ".yml", ".json"})


@dataclass(slots=True)
class Read:
    """Policies, `entries` by their keys, entries of foreign kinds, and what is wrong with others."""

    policies: list[Policy] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    foreign: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    refused: int = 0  # documents, or files that hold none

    def placed(self, line: str) -> str:
        """A line about a document, `Kind/name: field: …`, with file and line where the document came from."""
        key, _, rest = line.partition(": ")
        entry = self.entries.get(key)
        return line if entry is None else f"{entry.place(rest.partition(': ')[0])}: {line}"

    def skipped(self) -> list[str]:
        """A line for each document of a foreign kind."""
        return [
            f"{entry.place('kind')}: {label_of(entry.raw) or 'a document'}: skipped" for entry in self.foreign
        ]

    def check(self) -> None:
        """Raises DocumentsRefused with every problem of every file."""
        if self.problems:
            raise DocumentsRefused([str(problem) for problem in self.problems])


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read. `skip_unknown`: foreign kinds are no problem. `namespace`: of documents that name none;
    others must name the same, as with kubectl. `home`: where a cluster has the mesh's services.
    """

    skip_unknown: bool = False
    recursive: bool = False
    namespace: str | None = None
    home: str | None = None


def read_all(names: Sequence[str], how: Reading = Reading()) -> Read:
    """Every document of the files; a folder stands for its *.yaml, *.yml and *.json.

    Raises UsageError for what is no file.
    """
    read = Read()
    budget = Budget()
    for file in [file for name in names for file in _files(name, how.recursive)]:
        try:
            entries = read_entries(_text(file), "standard input" if file == STDIN else file)
        except DocumentError as error:
            read.problems += error.problems
            read.refused += 1
            continue
        for entry in entries:
            if is_foreign(entry.raw, KINDS):
                read.foreign.append(entry)
                if how.skip_unknown:
                    continue
            _take(read, entry, budget, how)
    return read


def read_files(names: Sequence[str], how: Reading = Reading()) -> Read:
    """The same where nothing may be wrong: raises DocumentsRefused as well."""
    read = read_all(names, how)
    read.check()
    return read


def _take(read: Read, entry: Entry, budget: Budget, how: Reading) -> None:
    try:
        if how.namespace is not None:
            entry = _inside(entry, how.namespace)
        if how.home is not None and isinstance(entry.raw, dict):
            entry = replace(entry, raw=at_home(entry.raw, how.home))
        document = parse_entry(entry, budget)
    except DocumentError as error:
        read.problems += error.problems
        read.refused += 1
        return
    policy = Policy.of(entry.raw, document)
    if policy.key in read.entries:
        words = f"stands in {read.entries[policy.key].place()} already; keep one"
        read.problems.append(entry.placed(Problem(policy.key, "metadata.name", words)))
        read.refused += 1
        return
    read.entries[policy.key] = entry
    read.policies.append(policy)


def _inside(entry: Entry, namespace: str) -> Entry:
    raw = entry.raw
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or not isinstance(metadata, dict) or raw.get("kind") == "Fault":
        return entry
    own = metadata.get("namespace", namespace)
    if own != namespace:
        words = f"is {str(own)[:80]!r}, and -n says {namespace!r}; leave one of them out"
        raise DocumentError([entry.placed(Problem(label_of(raw), "metadata.namespace", words))])
    return replace(entry, raw={**raw, "metadata": {**metadata, "namespace": namespace}})


def _files(name: str, recursive: bool) -> Iterator[str]:
    path = Path(name)
    if name == STDIN or not path.is_dir():
        yield name
        return
    inside = path.rglob("*") if recursive else path.iterdir()
    found = sorted(each for each in inside if each.suffix in SUFFIXES and each.is_file())
    if not found:
        more = "" if recursive else "; -R looks into its folders too"
        raise UsageError(f"-f {name}: there is no *.yaml, *.yml or *.json in this folder{more}")
    yield from (str(each) for each in found)


def _text(file: str) -> str:
    try:
        if file == STDIN:
            return sys.stdin.read(TEXT_MAX + 1)
        with Path(file).open(encoding="utf-8") as stream:
            return stream.read(TEXT_MAX + 1)  # as much as shows that it is too long
    except OSError as error:
        raise UsageError(f"-f {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"-f {file}: is no UTF-8 text") from error
