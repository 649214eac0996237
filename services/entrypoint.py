"""Where requests come in when no service says that it is there: at the one that nobody calls. Pure.

isotope's own graphs often say nothing of it. Two that nobody calls, or none, leave a choice that is the
author's: then the file is refused, and the message says what to write where.
"""

from collections.abc import Iterable, Sequence

from services.errors import NAMES_SHOWN


def uncalled(names: Iterable[str], callees: Iterable[str]) -> list[str]:
    """The services that no script calls, in the file's order."""
    called = frozenset(callees)
    return [name for name in names if name not in called]


def note_of(name: str) -> str:
    """What a person is told once of an entrypoint that was found."""
    return (
        f'no service is marked as the entrypoint: it is "{name}", the one that nobody calls '
        '("isEntrypoint: true" there says it for good)'
    )


def problem_of(names: Sequence[str], found: Sequence[str]) -> tuple[str, str]:
    """(problem, remedy) when it cannot be found."""
    if found:
        shown = ", ".join(f'"{name}"' for name in found[:NAMES_SHOWN])
        more = ", …" if len(found) > NAMES_SHOWN else ""
        problem = f"no service is marked as the entrypoint, and nobody calls {shown}{more}"
        return f"{problem}: requests could come in at any of them", 'write "isEntrypoint: true" in one'
    problem = "no service is marked as the entrypoint, and each is called by another"
    return (
        f"{problem}: requests would come in nowhere",
        f'write "isEntrypoint: true" in one, such as "{names[0]}"',
    )
