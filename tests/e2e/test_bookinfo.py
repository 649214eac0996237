"""The topology of the tutorials comes up, and its versions of reviews are as Bookinfo's."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real_mesh import http, real_mesh

pytestmark = pytest.mark.e2e


def test_reviews_v1_asks_nobody_and_the_others_ask_ratings(tmp_path: Path) -> None:
    with real_mesh(tmp_path, "bookinfo", "--no-load") as mesh:
        entrypoint = mesh.status()["entrypoint"]
        asked: dict[str, list[str]] = {}
        for _ in range(30):
            page: dict[str, Any] = http(entrypoint).json()
            assert [call["service"] for call in page["calls"]] == ["details", "reviews"]
            reviews = page["calls"][1]["answer"]
            asked[reviews["version"]] = [call["service"] for call in reviews["calls"]]
    assert asked == {"v1": [], "v2": ["ratings"], "v3": ["ratings"]}
