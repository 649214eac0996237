"""The one error of this package: settings that cannot be meant."""


class PolicyError(ValueError):
    """A setting is out of range; `field` is its dotted name, `problem` says what would be right."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def check_range(field: str, value: float, low: float, high: float) -> None:
    """Raise `PolicyError` unless low <= value <= high (NaN fails too)."""
    if not low <= value <= high:
        raise PolicyError(field, f"must be between {low:g} and {high:g}, got {value!r}")
