"""`mesh scale` over a fake control API: what it asks, what it prints."""

import json
from typing import Any

import pytest

from mesh.errors import UsageError
from tests.mesh.said import said


class FakeControl:
    """Has `orders` with three replicas, and remembers what it was told."""

    def __init__(self) -> None:
        self.replicas = 3
        self.told: list[tuple[str, int]] = []

    def service(self, name: str) -> dict[str, Any]:
        if name != "orders":
            raise UsageError(f'no service is named "{name}" (there are: orders)')
        return {"name": name, "numReplicas": self.replicas}

    def scale(self, name: str, replicas: int) -> dict[str, Any]:
        self.told.append((name, replicas))
        self.replicas = replicas
        return {"changed": True, "service": self.service(name)}


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> FakeControl:
    fake = FakeControl()
    monkeypatch.setattr("mesh.console.control_client", lambda: fake)
    return fake


def test_it_says_how_many_there_were(control: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    """Also when nothing is to be done."""
    assert said(capsys, "scale", "orders", "5") == (0, "orders: 5 replicas (3 before)\n", "")
    assert said(capsys, "scale", "orders", "5") == (0, "orders: 5 replicas (as before)\n", "")
    assert said(capsys, "scale", "orders", "1") == (0, "orders: 1 replica (5 before)\n", "")
    assert json.loads(said(capsys, "scale", "orders", "2", "--json")[1]) == {
        "name": "orders",
        "numReplicas": 2,
    }
    assert control.told == [("orders", 5), ("orders", 5), ("orders", 1), ("orders", 2)]


def test_a_number_that_cannot_be_is_the_mesh_s_to_refuse(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    """It knows the limits; a negative one is no option."""
    said(capsys, "scale", "orders", "-1")
    assert control.told == [("orders", -1)]
    code, _, err = said(capsys, "scale", "orders", "2", "--jsn")
    assert (code, err.count("\n")) == (2, 1)
    assert "--jsn" in err


def test_an_unknown_service_is_not_added(control: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings put to a service that is not there would be a new one."""
    line = 'mesh scale: no service is named "reviews" (there are: orders)\n'
    assert said(capsys, "scale", "reviews", "2") == (2, "", line)
    assert control.told == []
