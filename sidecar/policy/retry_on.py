"""The words of `retryOn` (Istio) and `x-envoy-retry-on` (Envoy): one reader for documents and requests."""

from dataclasses import dataclass
from typing import Final

from .retry import CONDITIONS

# They look at grpc-status, which an answer of plain HTTP does not have.
_GRPC: Final = frozenset({"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"})
REFUSED: Final = {
    "retriable-headers": "is not honoured: use status codes",
    "http3-post-connect-failure": "is not honoured: there is no HTTP/3",
}
_STATUS_MIN: Final = 400  # what is no failure is never repeated
_STATUS_MAX: Final = 599


@dataclass(frozen=True, slots=True)
class RetryOn:
    """`statuses` belong to the condition 'retriable-status-codes'. `wrong`: words that mean nothing here,
    each with the reason."""

    conditions: frozenset[str]
    statuses: frozenset[int]
    wrong: tuple[str, ...]


def read_retry_on(text: str) -> RetryOn:
    """The comma-separated words of `text`."""
    conditions: set[str] = set()
    statuses: set[int] = set()
    wrong: list[str] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word.isascii() and word.isdigit() and len(word) == 3:
            if _STATUS_MIN <= int(word) <= _STATUS_MAX:
                statuses.add(int(word))
            else:
                wrong.append(f"{word} is no failure of the service")
        elif word == "retriable-4xx":  # Envoy's: 409 alone
            statuses.add(409)
        elif word == "envoy-ratelimited":
            conditions.add("rate-limited")
        elif word in CONDITIONS:
            conditions.add(word)
        elif word not in _GRPC:
            known = ", ".join(sorted(CONDITIONS))
            words = REFUSED.get(word, f"is unknown; known are status codes and {known}")
            wrong.append(f"{word!r} {words}")
    if statuses:
        conditions.add("retriable-status-codes")
    if 429 in statuses:
        conditions.add("rate-limited")
    return RetryOn(frozenset(conditions), frozenset(statuses), tuple(wrong))
