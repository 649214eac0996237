"""Names that people mistype."""

import difflib
from collections.abc import Iterable

from mesh.errors import UsageError

NAMES_SHOWN = 8


class UnknownName(UsageError):
    """There is nothing of that name."""


def unknown_name(noun: str, name: str, known: Iterable[str]) -> UnknownName:
    """`no instance is named "order-1" (did you mean "orders-1"?)`."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        remedy = f'did you mean "{close[0]}"?'
    else:
        more = ", …" if len(names) > NAMES_SHOWN else ""
        remedy = f"there are: {', '.join(names[:NAMES_SHOWN])}{more}"
    return UnknownName(f'no {noun} is named "{name}" ({remedy})')
