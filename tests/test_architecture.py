"""The design's import arrows, held by walking the imports of every module of ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("mesh", "services", "sidecar", "registry", "loadgen", "guard")

# What a module (by longest prefix) may import of ours; its own prefix is always allowed.
ALLOWED: dict[str, tuple[str, ...]] = {
    # what stands before a listener: one answer for all that have one
    "guard": (),
    "registry": ("guard",),
    "loadgen": ("guard",),
    "services": ("guard",),
    "mesh": (
        "guard",
        "registry.client",
        "registry.errors",
        "sidecar.routing",
        "loadgen.client",
        "services.script",
    ),
    "sidecar.wire": (),
    "sidecar.policy": (),
    "sidecar.balance": ("sidecar.policy",),
    "sidecar.routing": ("sidecar.policy", "registry.regexp"),
    "sidecar.io": ("sidecar.wire", "sidecar.errors"),
    "sidecar.stack": ("sidecar.policy", "sidecar.balance"),
    # `/stats?filter=`: whoever asks must not stop the process
    "sidecar.admin": ("sidecar", "guard", "registry.regexp"),
    # where policy meets I/O, and what an exchange is made of
    "sidecar": ("sidecar", "registry.client", "guard"),
}

# Pure parts: no loop, socket, clock, randomness or logging of their own.
PURE = (
    "guard.caller",
    "guard.gate",
    "guard.token",
    "sidecar.wire",
    "sidecar.policy",
    "sidecar.balance",
    "sidecar.routing",
    "sidecar.stack",
    "registry.store",
    "registry.regexp",
    "registry.regexp_bounds",
    "loadgen.schedule",
    "loadgen.histogram",
    "services.script",
)
IMPURE = {"asyncio", "socket", "time", "logging", "aiohttp", "uvloop", "threading", "subprocess", "selectors"}


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(name: str, path: Path) -> Iterator[str]:
    """Absolute names of what a module imports; `from a import b` gives both a and a.b."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package[: len(package) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def rule(name: str) -> str:
    return max((prefix for prefix in ALLOWED if under(name, prefix)), key=len)


def forbidden(name: str, path: Path) -> list[str]:
    prefix = rule(name)
    allowed = (prefix, *ALLOWED[prefix])
    ours = {item for item in imports(name, path) if item.split(".")[0] in PACKAGES}
    # `from registry import client` names the package on its way to what is allowed
    return sorted(
        item
        for item in ours
        if not any(under(item, ok) or (under(ok, item) and ok != item) for ok in allowed)
    )


MODULES = dict(modules())


@pytest.mark.parametrize("name", MODULES)
def test_imports_only_what_the_design_allows(name: str) -> None:
    """Every arrow of the design's picture, and no other."""
    assert forbidden(name, MODULES[name]) == []


@pytest.mark.parametrize("name", [name for name in MODULES if any(under(name, pure) for pure in PURE)])
def test_pure_parts_have_no_edge(name: str) -> None:
    """What decides imports nothing that waits, connects, tells the time or logs."""
    roots = {item.split(".")[0] for item in imports(name, MODULES[name])}
    assert roots & IMPURE == set()


def test_the_walk_sees_a_forbidden_import(tmp_path: Path) -> None:
    """The check itself: a relative and an absolute import across an arrow are both found."""
    module = tmp_path / "bad.py"
    module.write_text("from ..io import pool\nimport services.app\nfrom registry import client\n")
    assert forbidden("sidecar.wire.bad", module) == [
        "registry",
        "registry.client",
        "services.app",
        "sidecar.io",
        "sidecar.io.pool",
    ]
