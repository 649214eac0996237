"""Policy documents from files, folders and standard input, with the place of each for errors."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.errors import DocumentsRefused, UsageError
from mesh.policy_set import Policy, read_policies
from sidecar.routing.documents import read_text
from sidecar.routing.errors import DocumentError
from sidecar.routing.plain import TEXT_MAX

STDIN = "-"
SUFFIXES = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True, slots=True)
class Read:
    """What was read: policies, and Kind/name -> the file that it stands in."""

    policies: tuple[Policy, ...]
    files: Mapping[str, str]


def read_files(names: Sequence[str]) -> Read:
    """Every document of the files; a folder stands for its *.yaml, *.yml and *.json.

    Raises UsageError for what cannot be read, DocumentsRefused with every problem of every file, each line
    beginning with its file.
    """
    policies: list[Policy] = []
    files: dict[str, str] = {}
    problems: list[str] = []
    for file in [file for name in names for file in _files(name)]:
        text = _text(file)
        shown = "standard input" if file == STDIN else file
        try:
            found = read_policies(read_text(text, shown), shown)
        except DocumentError as error:
            problems += [str(problem) for problem in error.problems]
            continue
        except DocumentsRefused as error:
            problems += [line if line.startswith(shown) else f"{shown}: {line}" for line in error.problems]
            continue
        for policy in found:
            if policy.key in files:
                problems.append(
                    f"{shown}: {policy.key}: metadata.name: stands in {files[policy.key]} already; keep one"
                )
            files[policy.key] = shown
        policies += found
    if problems:
        raise DocumentsRefused(problems)
    return Read(tuple(policies), files)


def _files(name: str) -> Iterator[str]:
    path = Path(name)
    if name == STDIN or not path.is_dir():
        yield name
        return
    found = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES and each.is_file())
    if not found:
        raise UsageError(f"-f {name}: there is no *.yaml, *.yml or *.json in this folder")
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
