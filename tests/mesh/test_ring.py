"""The ring of mesh and the one of sidecar: the same rules, in two packages that do not know each other."""

from typing import Any

import pytest

from mesh import ring as of_mesh
from sidecar.observe import ring as of_sidecar

RINGS = pytest.mark.parametrize("ring", [of_mesh.Ring, of_sidecar.Ring])


@RINGS
def test_the_oldest_makes_room_by_number(ring: Any) -> None:
    """However small they are."""
    kept = ring(3, 1000)
    for number in range(10):
        kept.append(number, 1)
    assert (list(kept), len(kept), kept.size) == ([7, 8, 9], 3, 3)


@RINGS
def test_the_oldest_makes_room_by_bytes(ring: Any) -> None:
    """A large one takes the place of many, and no more than the bound is ever kept."""
    kept = ring(100, 1000)
    for number in range(10):
        kept.append(number, 100)
    kept.append("large", 950)
    assert (list(kept), kept.size) == (["large"], 950)
    kept.append("small", 50)
    assert (list(kept), kept.size) == (["large", "small"], 1000)


@RINGS
def test_what_is_larger_than_all_is_not_taken(ring: Any) -> None:
    """And pushes nothing out."""
    kept = ring(100, 1000)
    kept.append("here", 10)
    kept.append("huge", 1001)
    assert (list(kept), kept.size) == (["here"], 10)
