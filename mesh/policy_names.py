"""The kinds of policies by the words that people type: `virtualservice/orders`, `dr orders`, `vs`. Pure."""

from typing import Final

from mesh.errors import UsageError

# As in kubectl: kind, plural and short name, whatever their case; with or without the API's group.
_WORDS: Final = {
    "VirtualService": ("virtualservice", "virtualservices", "vs"),
    "DestinationRule": ("destinationrule", "destinationrules", "dr"),
    "Fault": ("fault", "faults"),
}
_KINDS: Final = {word: kind for kind, words in _WORDS.items() for word in words}


def kind_of(word: str) -> str:
    """The kind that a word means; UsageError names those that there are."""
    kind = _KINDS.get(word.partition(".")[0].lower())
    if kind is None:
        raise UsageError(
            f'"{word[:60]}" is no kind of policy: virtualservice (vs), destinationrule (dr), fault'
        )
    return kind


def kind_and_name(word: str) -> tuple[str, str | None]:
    """`vs/orders` -> (VirtualService, orders); `vs` alone has no name."""
    kind, slash, name = word.partition("/")
    if slash and not name:
        raise UsageError(f'"{word[:60]}" names no policy: write KIND/NAME, as in {kind}/orders')
    return kind_of(kind), name or None


def shown(key: str) -> str:
    """`VirtualService/orders` as kubectl writes it: `virtualservice/orders`."""
    kind, _, name = key.partition("/")
    return f"{kind.lower()}/{name}"
