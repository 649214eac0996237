"""What the registry is told: where callers, scrapers and operators reach the instance."""

import pytest

from sidecar.config import parse
from sidecar.registration import registration

INBOUND = ["--name", "orders-1", "--inbound", "0.0.0.0:15006", "--app", "127.0.0.1:9000"]
BOUND = {"inbound": "0.0.0.0:15006", "admin": "127.0.0.1:15000"}


@pytest.mark.parametrize(
    ("flags", "bound", "meta"),
    [
        ([], BOUND, {"admin": "127.0.0.1:15000"}),
        (["--advertise", "pod-1"], BOUND, {"admin": "pod-1:15000"}),
        # nobody else reaches the admin listener, so nobody is told of it
        (["--advertise", "pod-1"], BOUND | {"status": "0.0.0.0:15020"}, {"status": "pod-1:15020"}),
        (["--advertise", "pod-1"], {"inbound": "0.0.0.0:15006"}, {}),
    ],
)
def test_one_door_for_scrapers_and_operators(
    flags: list[str], bound: dict[str, str], meta: dict[str, str]
) -> None:
    """The status listener, where there is one: it is there for other machines."""
    record = registration(parse([*INBOUND, *flags], {}), bound)
    assert {key: record.meta[key] for key in ("admin", "status") if key in record.meta} == meta
