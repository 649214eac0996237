"""Policies by the words that people type: `virtualservice/orders`, `dr orders`, `vs,dr`. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mesh.errors import UsageError

HOME: Final = "default"

# As in kubectl: kind, plural and short name, whatever their case; with or without the API's group.
_WORDS: Final = {
    "VirtualService": ("virtualservice", "virtualservices", "vs"),
    "DestinationRule": ("destinationrule", "destinationrules", "dr"),
    "ServiceEntry": ("serviceentry", "serviceentries", "se"),
    "Fault": ("fault", "faults"),
}
_KINDS: Final = {word: kind for kind, words in _WORDS.items() for word in words}
GROUPS: Final = {"Fault": "mesh"}
ISTIO_GROUP: Final = "networking.istio.io"
ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for: kinds (none = all of them), or documents by (kind, name)."""

    kinds: tuple[str, ...] = ()
    named: tuple[tuple[str, str], ...] = ()

    def takes(self, kind: str, name: str) -> bool:
        """Whether a document is among them."""
        return (kind, name) in self.named if self.named else not self.kinds or kind in self.kinds


def kind_of(word: str) -> str:
    """The kind that a word means; UsageError names those that there are."""
    kind = _KINDS.get(word.partition(".")[0].lower())
    if kind is None:
        raise UsageError(
            f'"{word[:60]}" is no kind of policy: virtualservice (vs), destinationrule (dr), '
            "serviceentry (se), fault"
        )
    return kind


def kind_and_name(word: str) -> tuple[str, str | None]:
    """`vs/orders` -> (VirtualService, orders); `vs` alone has no name."""
    return _kind_and_name(word) if "/" in word else (kind_of(word), None)


def wanted(words: Sequence[str]) -> Wanted:
    """`vs/orders dr/orders`, `vs orders users`, `vs,dr`, `all`, or nothing at all."""
    if not words:
        return Wanted()
    if any("/" in word for word in words):
        return Wanted(named=tuple(dict.fromkeys(_kind_and_name(word) for word in words)))
    kinds = () if words[0].lower() == ALL else tuple(kind_of(word) for word in words[0].split(","))
    if words[1:] and not kinds:
        raise UsageError('"all" takes no names: write KIND NAME, as in vs orders')
    named = tuple((kind, name) for kind in kinds for name in words[1:])
    return Wanted(tuple(dict.fromkeys(kinds)), tuple(dict.fromkeys(named)))


def _kind_and_name(word: str) -> tuple[str, str]:
    kind, slash, name = word.partition("/")
    if not slash:
        raise UsageError(f'"{word[:60]}": write each as KIND/NAME, or one KIND before the names')
    if not name or "/" in name:
        raise UsageError(f'"{word[:60]}" names no policy: write KIND/NAME, as in {kind[:60]}/orders')
    return kind_of(kind), name


def key_of(kind: str, name: str, namespace: str = HOME) -> str:
    """Kind/name; Kind/namespace/name outside the namespace `default`."""
    return f"{kind}/{name}" if namespace == HOME else f"{kind}/{namespace}/{name}"


def split_key(key: str) -> tuple[str, str, str]:
    """(kind, namespace, name)."""
    kind, _, rest = key.partition("/")
    namespace, slash, name = rest.partition("/")
    return (kind, namespace, name) if slash else (kind, HOME, rest)


def shown(key: str) -> str:
    """`VirtualService/orders` as kubectl writes it: `virtualservice/orders`."""
    kind, _, name = key.partition("/")
    return f"{kind.lower()}/{name}"


def full_name(kind: str, name: str) -> str:
    """What `-o name` prints: `virtualservice.networking.istio.io/orders`."""
    return f"{kind.lower()}.{GROUPS.get(kind, ISTIO_GROUP)}/{name}"
