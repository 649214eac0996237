"""A clock that moves only when the test says so."""


class FakeClock:
    """`Callable[[], float]` in seconds; `advance` moves it, nothing else does."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Move forward; time never goes back."""
        assert seconds >= 0
        self.now += seconds
        return self.now
