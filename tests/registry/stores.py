"""A store with a node in it, and what commits it made: the start of every test about writes."""

from collections.abc import Callable

from registry.model import Check, Node, Service
from registry.store import Commit, Store, Write
from registry.store.catalog import ensure_check, ensure_node, ensure_service


class Recorded(Store):
    """A store that remembers its commits."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Commit] = []
        self.on_commit(self.commits.append)

    def do(self, *writes: Callable[[Write], object]) -> Commit | None:
        """One transaction; its commit, or None when it changed nothing."""
        before = len(self.commits)
        with self.write() as write:
            for one in writes:
                one(write)
        return self.commits[-1] if len(self.commits) > before else None


def put_node(name: str = "n1", **fields: str) -> Callable[[Write], object]:
    """Register a node."""
    return lambda write: ensure_node(write, Node(name, fields.get("address", "10.0.0.1")))


def put_service(
    service_id: str, name: str = "web", node: str = "n1", tags: tuple[str, ...] = ()
) -> Callable[[Write], object]:
    """Register an instance."""
    return lambda write: ensure_service(write, Service(node, service_id, name, tags=tags))


def put_check(
    check_id: str, status: str, service_id: str = "", node: str = "n1"
) -> Callable[[Write], object]:
    """Register a check."""
    return lambda write: ensure_check(write, Check(node, check_id, check_id, status, service_id=service_id))


def stored() -> Recorded:
    """A store with node n1."""
    store = Recorded()
    store.do(put_node())
    return store
