"""The answer of a scripted service: a JSON tree of what it called, padded to its size."""

import json
from dataclasses import dataclass, field

# A service in a deep mesh may answer with everything below it; a size is checked before it is read.
MAX_ANSWER_BYTES = 80 * 1024 * 1024


@dataclass(slots=True)
class CallRecord:
    """One call as the answer shows it. `status` is None as long as there is no answer."""

    service: str
    status: int | None = None
    duration_ms: float = 0.0
    answer: object = None
    error: str = "unfinished"

    @property
    def failed(self) -> bool:
        return self.status is None or self.status >= 400

    def as_json(self) -> dict[str, object]:
        shown: dict[str, object] = {
            "service": self.service,
            "status": self.status,
            "duration_ms": round(self.duration_ms, 3),
            "answer": self.answer,
        }
        if self.error:
            shown["error"] = self.error
        return shown


@dataclass(slots=True)
class Answer:
    """The tree of one request; calls are recorded as they begin, in the script's order."""

    service: str
    instance: str
    version: str
    status: int = 200
    duration_ms: float = 0.0
    error: str = ""
    calls: list[CallRecord] = field(default_factory=list)

    def render(self, size: int) -> bytes:
        """JSON of at least `size` bytes. Blanks fill it up: they are JSON too, and end with the tree."""
        tree: dict[str, object] = {
            "service": self.service,
            "instance": self.instance,
            "version": self.version,
            "status": self.status,
            "duration_ms": round(self.duration_ms, 3),
        }
        if self.error:
            tree["error"] = self.error
        tree["calls"] = [call.as_json() for call in self.calls]
        return json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode().ljust(size - 1) + b"\n"


def parse_tree(body: bytes) -> object:
    """The tree in an answer's body; None when the body is none (another program's page, say)."""
    if not body.startswith(b"{"):
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
