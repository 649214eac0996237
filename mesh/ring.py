"""The newest of something, bounded twice: by how many there are, and by how many bytes they take. Pure."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Ring(Generic[T]):
    """The oldest makes room; what is larger than the whole ring is not taken."""

    def __init__(self, items: int, size: int) -> None:
        self._items = items
        self._most = size
        self._kept: deque[tuple[T, int]] = deque()
        self.size = 0  # bytes of all that is kept

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[T]:
        return (item for item, _ in self._kept)

    def append(self, item: T, size: int) -> bool:
        """Keep it; False when it is too large by itself."""
        if size > self._most:
            return False
        self._kept.append((item, size))
        self.size += size
        while len(self._kept) > self._items or self.size > self._most:
            self.size -= self._kept.popleft()[1]
        return True
