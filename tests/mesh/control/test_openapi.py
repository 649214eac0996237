"""The control API does what its OpenAPI document says: schemathesis tries, with good and bad requests."""

import asyncio
import importlib.util
import json
import math
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from loadgen.patterns import PatternError, parse_pattern, pattern_from
from mesh.actions import Action
from mesh.control.openapi import document
from mesh.errors import UsageError
from mesh.plan import Part
from tests.mesh.control.test_control import FakeOperator
from tests.mesh.control.test_security import TOKEN, Served, serve

EXAMPLES = "12"
# A stream has no end, and schemathesis writes no protobuf: test_control sends spans.
LEFT_OUT = ("/api/stream", "/v1/traces")


class StrictOperator(FakeOperator):
    """Answers whole instances, and takes the patterns that the load generator takes."""

    async def act(self, action: Action, name: str, part: Part | None) -> dict[str, Any]:
        words = {"name": name, "service": "a", "state": "down", "reason": ""}
        return {**words, "healthy": False, "pids": {}, "traffic": {}}

    async def set_load(self, rate: float | None, pattern: str | Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            if isinstance(pattern, str):
                parse_pattern(pattern)
            elif isinstance(pattern, Mapping):
                settings = dict(pattern)
                pattern_from(settings.pop("pattern", ""), settings)
            elif pattern is not None:
                raise UsageError("pattern: a name or an object")
            if rate is not None and not 0 <= rate < math.inf:
                raise UsageError("rate: 0 or more")
        except (PatternError, TypeError) as error:
            raise UsageError(str(error)) from error
        return {}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async for one in serve(tmp_path, TOKEN, StrictOperator):
        yield one


@pytest.mark.timeout(180)
async def test_the_document_is_true(served: Served, tmp_path: Path) -> None:
    """What it allows is accepted, what it forbids is refused, and every answer looks as it says."""
    if importlib.util.find_spec("schemathesis") is None:
        assert not os.environ.get("CI"), "schemathesis is missing: pip install schemathesis"
        pytest.skip("schemathesis is not installed")
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document()))
    # whether a document is right cannot be said in a schema: its words refer to each other and to the mesh
    (tmp_path / "schemathesis.toml").write_text(
        "".join(
            f'[[operations]]\ninclude-path = "{path}"\nchecks.positive_data_acceptance.enabled = false\n'
            for path in ("/api/policies", "/api/policies/{kind}/{name}", "/api/faults")
        )
    )
    words = ["run", str(file), "--url", f"http://127.0.0.1:{served[3]}", "-n", EXAMPLES, "--seed", "7"]
    words += ["--phases", "coverage,fuzzing", "--suppress-health-check", "all"]
    words += ["-H", f"Authorization: Bearer {TOKEN}"]
    for path in LEFT_OUT:
        words += ["--exclude-path", path]
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", *words,
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await run.communicate()
    assert run.returncode == 0, out.decode()[-6000:]
