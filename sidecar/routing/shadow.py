"""Rules of one document that can never act, because an earlier one takes all of their requests.

To compare every pair of rules would be a million comparisons for 1500. A match that covers another has
nothing that the other has not; so each is kept under its path and what is rarest in it, and looked up by
what a later one has.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from .match import Match, Text

STEPS_MAX: Final = 1_000_000
"""Look-ups and comparisons for one document, a second's worth; thousands of rules that are all alike need
more.
"""

Condition = tuple[str, object]
Path = tuple[str, bytes, bool]
Entry = tuple[int, Match]


class Earlier:
    """The rules before one: `add` them in the document's order, ask `taker` in between. `rules` are all of
    it, to know what is rare.
    """

    def __init__(self, rules: Iterable[Sequence[Match]]) -> None:
        self.steps = 0
        self._common = Counter(
            condition for matches in rules for match in matches for condition in _conditions(match)
        )
        self._by_key: dict[tuple[Path | None, Condition | None], list[Entry]] = {}
        self._lengths: dict[bool, set[int]] = {False: set(), True: set()}
        self._matches: dict[int, Sequence[Match]] = {}
        self._takes_all: int | None = None

    @property
    def tired(self) -> bool:
        """It looked for so long that it says None from now on."""
        return self.steps > STEPS_MAX

    def add(self, number: int, matches: Sequence[Match]) -> None:
        """Rule `number` takes what any of `matches` means; without one it takes all."""
        if not matches and self._takes_all is None:
            self._takes_all = number
        self._matches[number] = matches
        for match in matches:
            if match.path is not None and match.path.kind == "prefix":
                self._lengths[match.path.ignore_case].add(len(match.path.value))
            rarest = min(_conditions(match), key=self._common.__getitem__, default=None)
            self._by_key.setdefault((_key(match.path), rarest), []).append((number, match))

    def taker(self, matches: Sequence[Match]) -> int | None:
        """The first rule that takes every request of these matches, if one does for certain."""
        if not matches or self.tired:
            return self._takes_all
        # who takes all of them takes the one that the fewest may take
        fewest, match = min(
            ((self._candidates(match), match) for match in matches), key=lambda found: len(found[0])
        )
        takers = {number for number, wide in fewest if self._step() and wide.covers(match)}
        found = [] if self._takes_all is None else [self._takes_all]
        for number in sorted(takers):
            if all(self._covered(match, self._matches[number]) for match in matches):
                found.append(number)
                break
        return min(found, default=None)

    def _covered(self, match: Match, wide: Sequence[Match]) -> bool:
        return any(self._step() and one.covers(match) for one in wide)

    def _candidates(self, match: Match) -> list[Entry]:
        found: list[Entry] = []
        conditions = (None, *_conditions(match))
        for path in self._wider(match.path):
            for condition in conditions:
                entries = self._by_key.get((path, condition), ())
                self.steps += 1 + len(entries) // 16  # to copy one costs a sixteenth of a look-up
                found += entries
        return found

    def _wider(self, path: Text | None) -> Iterator[Path | None]:
        """What may cover this path, as far as something like it was added."""
        ways: dict[Path | None, None] = {None: None, _key(path): None}
        for ignore_case in (False, True):
            ways |= {("prefix", b"", ignore_case): None, ("prefix", b"/", ignore_case): None}
        if path is not None and path.kind in ("prefix", "exact"):
            value, ignore_case = path.value, path.ignore_case
            for length in self._lengths[ignore_case]:
                if length <= len(value):
                    ways["prefix", value[:length], ignore_case] = None
        yield from ways

    def _step(self) -> bool:
        self.steps += 1
        return True


def _key(path: Text | None) -> Path | None:
    return None if path is None else (path.kind, path.value, path.ignore_case)


def _conditions(match: Match) -> list[Condition]:
    found: list[Condition] = [("header", each) for each in match.headers]
    found += [("without", each) for each in match.without]
    found += [("query", each) for each in match.query]
    if match.method is not None:
        found.append(("method", match.method))
    if match.authority is not None:
        found.append(("authority", match.authority))
    if match.port is not None:
        found.append(("port", match.port))
    return found
