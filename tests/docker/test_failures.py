"""Containers that people kill, freeze and cut off, under load: what the ingress's clients lose of it, and how
soon the callers know. Plain `docker` commands do the harm; `docker start` and `mesh heal` undo it."""

import os
import time
from collections.abc import Callable, Iterator

import pytest

from tests.docker.project import Project, docker, eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

RATE = float(os.environ.get("MESH_DOCKER_RATE", "50"))
WATCH_S = 12.0  # more than a TTL of the registry: it has said its word, too
# On a machine with a core to spare the first caller knows within two seconds; this one may run forty
# containers on two cores, so the test only tells "soon" from "by the registry's TTL".
KNOWN_S = 4.0
# Who is silent is known by waiting for it: some attempts of the same caller must have gone unanswered.
KNOWN_SILENT_S = 9.0
GREY_LOSS = 0.001

VICTIM = "payments-1"
CALLERS = ("orders-1", "orders-2", "orders-3")


@pytest.fixture(autouse=True)
def calm(shop: Project) -> Iterator[None]:
    """Everybody healthy and the load steady before, and healed after."""
    shop.call("PUT", "CONTROL", "/api/load", {"rate": RATE})

    def healthy() -> bool:
        status = shop.get("CONTROL", "/api/status")
        last = status["load"].get("window") or {}
        return all(each["healthy"] for each in status["instances"]) and last.get("failed") == 0

    eventually(healthy, 90, "a calm start")
    yield
    for name in (VICTIM, "registry"):
        shop.act("heal", name)


def lost(shop: Project, harm: Callable[[], object], seconds: float = WATCH_S) -> tuple[int, int, float]:
    """(failed, sent, moment of the harm) while it lasts."""
    before, moment = shop.load(), time.time()
    harm()
    time.sleep(seconds)
    after = shop.load()
    return after["failed"] - before["failed"], after["sent"] - before["sent"], moment


def known_after(shop: Project, since: float) -> float:
    """Seconds until the first caller had its breaker open, or the victim out of its set.

    Each caller learns by its own requests: at 50 a second the victim gets four of each caller's.
    """
    times = []
    for caller in CALLERS:
        about = [each for each in shop.events(caller, since) if each.get("endpoint") == VICTIM]
        seen = [each["time"] - since for each in about if each.get("after") == "open" or _gone(each)]
        times += seen[:1]
    assert times, "no caller noticed"
    return min(times)


def _gone(event: dict[str, object]) -> bool:
    return event["kind"] == "membership" and "gone" in str(event.get("after"))


def assert_breaker_in_metrics(shop: Project, since: float) -> None:
    """Prometheus has seen a breaker of the victim open since then."""
    expr = (
        f'sum(increase(circuit_breaker_opens_total{{endpoint="{VICTIM}"}}[{int(time.time() - since) + 15}s]))'
    )
    eventually(lambda: float(shop.query(expr)[0]["value"][1]) > 0, 20, "the breaker in the metrics")


def assert_traffic_is_back(shop: Project) -> None:
    """The victim is healthy, and gets requests again."""
    eventually(lambda: shop.instance(VICTIM)["healthy"], 60, f"{VICTIM} healthy")
    eventually(lambda: (shop.instance(VICTIM)["traffic"]["rps"] or 0) > 0, 60, f"{VICTIM} gets traffic")


@pytest.mark.parametrize("parts", [("app",), ("sidecar",), ("sidecar", "app")], ids="+".join)
def test_docker_kill_loses_nothing(shop: Project, parts: tuple[str, ...]) -> None:
    """The app, the sidecar, both; they stay down, and `docker start` brings the pod back."""
    names = [shop.container(f"{VICTIM}-{part}") for part in parts]
    failed, sent, moment = lost(shop, lambda: docker("kill", *names))
    states = [docker("inspect", "--format", "{{.State.Status}}", name).strip() for name in names]
    assert states == ["exited"] * len(names)
    assert failed == 0, f"{failed} of {sent}"
    assert known_after(shop, moment) <= KNOWN_S
    if "sidecar" in parts:
        assert_breaker_in_metrics(shop, moment)
    for name in names:
        docker("start", name)
    assert_traffic_is_back(shop)


@pytest.mark.parametrize("way", ["pause", "disconnect"])
def test_grey_failures_lose_almost_nothing(shop: Project, way: str) -> None:
    """Frozen, or cut off from the network: nobody says that it is gone."""
    name = shop.container(f"{VICTIM}-sidecar")

    def harm() -> None:
        if way == "pause":
            docker("pause", name, shop.container(f"{VICTIM}-app"))
        else:
            shop.act("cut", VICTIM)

    failed, sent, moment = lost(shop, harm, 20.0)
    assert failed <= max(1, sent * GREY_LOSS), f"{failed} of {sent}"
    assert known_after(shop, moment) <= KNOWN_SILENT_S
    assert shop.instance(VICTIM)["state"] == ("paused" if way == "pause" else "down")
    assert shop.act("heal", VICTIM)["state"] in ("healthy", "starting")
    assert_traffic_is_back(shop)


def test_the_registry_stops_for_a_minute(shop: Project) -> None:
    """Nobody notices; when it is back, with an empty memory, everybody is in it again."""
    failed, sent, _ = lost(shop, lambda: docker("stop", "--time", "2", shop.container("consul")), 60.0)
    assert failed == 0, f"{failed} of {sent}"
    docker("start", shop.container("consul"))
    eventually(
        lambda: len(shop.get("CONSUL", "/v1/health/service/payments", passing="1")) == 3,
        30,
        "registered again",
    )
