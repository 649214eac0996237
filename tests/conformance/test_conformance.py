"""Ours is right on every row, on both listeners, and so never worse than any of the others."""

from __future__ import annotations

import pytest

from .__main__ import verdicts_of
from .proxies import OTHERS, OURS, binary_of
from .rows import ROWS


@pytest.mark.parametrize("name", OURS)
async def test_ours_is_right_on_every_row(name: str) -> None:
    """What must pass passes, what must not is refused, and nothing comes out that can be read two ways."""
    verdicts = await verdicts_of(name)
    wrong = {row.name: verdicts[row.number] for row in ROWS if verdicts[row.number]}
    assert wrong == {}


@pytest.mark.parametrize("name", OTHERS)
async def test_the_rows_judge_others_too(name: str) -> None:
    """A table that everybody fails or everybody passes would say nothing."""
    if binary_of(name) is None:
        pytest.skip(f"{name} is not on this machine")
    verdicts = await verdicts_of(name)
    right = sum(not verdict for verdict in verdicts.values())
    assert len(ROWS) * 0.5 < right < len(ROWS)
