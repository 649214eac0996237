"""Three replicas behind the ingress at 300 requests/s: one dies, and nobody is served an error for it."""

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.real_mesh import RealMesh, alive, real_mesh, send, until, wait

pytestmark = pytest.mark.e2e

RATE = 300
VICTIM = "orders-2"

# A breaker may stay open for some seconds before its first probe, and a ramp lasts some more.
HEALED_S = 25.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    with real_mesh(tmp_path_factory.mktemp("star"), "star", "--rate", str(RATE)) as mesh:
        yield mesh


@pytest.fixture
def star(running: RealMesh) -> RealMesh:
    """All three healthy and taking their share, and the counters at zero."""
    running.ok("heal", VICTIM)
    until(lambda: all(one["healthy"] for one in running.status()["instances"]), 15)
    until(lambda: share(running) > 0.2, HEALED_S)
    running.reset_load()
    wait(1)
    return running


def share(mesh: RealMesh, seconds: float = 0.5) -> float:
    """Which part of the ingress's requests went to the victim, over the next moment."""
    before = counts(mesh)
    wait(seconds)
    after = counts(mesh)
    sent = {name: after[name] - before.get(name, 0) for name in after}
    return max(0, sent.get(VICTIM, 0)) / max(1, sum(sent.values()))


def counts(mesh: RealMesh) -> dict[str, int]:
    endpoints = mesh.snapshot("ingress")["upstreams"]["orders"]["endpoints"]
    return {each["id"]: each["requests"] for each in endpoints}


def failed(mesh: RealMesh) -> dict[str, int]:
    return dict(mesh.load()["errors"])


@pytest.mark.parametrize("part", ["app", "sidecar", "both"])
def test_a_killed_replica_costs_nobody_a_request(star: RealMesh, part: str) -> None:
    """SIGKILL of its app, its sidecar, or both: no request fails, and it gets no more of them."""
    victim = star.instance(VICTIM)
    said = star.ok("kill", VICTIM, "--part", part)
    assert said.startswith(f"{VICTIM} is down (")
    dead = [victim["pids"][each] for each in (("app", "sidecar") if part == "both" else (part,))]
    assert not any(alive(pid) for pid in dead)
    until(lambda: share(star) == 0, 5)
    wait(2)
    status = star.instance(VICTIM)
    assert (status["state"], status["healthy"]) == ("down", False)
    star.ok("heal", VICTIM)
    until(lambda: star.instance(VICTIM)["healthy"], 10)
    until(lambda: share(star) > 0.2, HEALED_S)
    load = star.load()
    assert load["sent"] > 5 * RATE
    assert (load["failed"], load["dropped"], load["errors"]) == (0, 0, {})


def test_the_breaker_of_a_killed_replica_opens(star: RealMesh) -> None:
    """The callers' sidecars see it themselves, before the registry tells them."""
    star.ok("kill", VICTIM, "--part", "sidecar")

    def breaker() -> str | None:
        endpoint = star.endpoint("ingress", VICTIM)
        return endpoint["breaker"] if endpoint else None

    until(lambda: breaker() == "open", 5)
    until(lambda: star.instance(VICTIM)["breakers"]["open"] == ["ingress"], 3)
    star.ok("heal", VICTIM)
    until(lambda: breaker() == "closed", HEALED_S)
    assert star.load()["failed"] == 0


def test_traffic_comes_back_by_a_ramp(star: RealMesh) -> None:
    """A healed replica gets a little first, then more, then its third."""
    star.ok("kill", VICTIM)
    until(lambda: share(star) == 0, 5)
    star.ok("heal", VICTIM)
    shares = [0.0]
    while shares[-1] < 0.25:
        assert len(shares) < 60, shares
        shares.append(share(star))
    first = next(each for each in shares if each > 0)
    between = [each for each in shares if 0 < each < 0.25]
    assert first < 0.2, f"at once: {shares}"
    assert len(between) >= 2, f"no ramp: {shares}"
    assert star.load()["failed"] == 0


@pytest.mark.parametrize(
    ("part", "words"),
    [("app", "app paused"), ("sidecar", "sidecar paused"), ("both", "sidecar and app paused")],
)
def test_a_frozen_replica_costs_almost_nobody_a_request(
    star: RealMesh, record_property: Callable[[str, object], None], part: str, words: str
) -> None:
    """SIGSTOP, the grey failure: at most 0.1 % failed. The tail's length is measured in `make bench`."""
    before = star.load()["window"]["p99_ms"]
    assert star.ok("pause", VICTIM, "--part", part) == f"{VICTIM} is paused ({words})\n"
    wait(10)
    load = star.load()
    record_property("p99_ms before, 10 s with one frozen", f"{before}, {load['window']['p99_ms']}")
    assert load["sent"] > 9 * RATE
    assert load["failed"] <= load["sent"] / 1000, load["errors"]
    assert star.ok("resume", VICTIM).startswith(f"{VICTIM} is ")
    until(lambda: star.instance(VICTIM)["healthy"], 10)


def test_a_drained_replica_gets_no_more_and_heals(star: RealMesh) -> None:
    """It ends what it has; `heal` brings it back; nobody fails."""
    assert star.ok("drain", VICTIM).startswith(f"{VICTIM} is draining")
    until(lambda: share(star) == 0, 10)
    assert star.instance(VICTIM)["state"] == "draining"
    star.ok("heal", VICTIM)
    until(lambda: star.instance(VICTIM)["healthy"], 10)
    until(lambda: share(star) > 0.2, HEALED_S)
    assert failed(star) == {}


def test_every_action_may_be_said_twice(star: RealMesh) -> None:
    """Kill, heal, pause and resume do nothing more the second time."""
    for action, state in (("pause", "paused"), ("resume", "healthy"), ("kill", "down"), ("heal", "healthy")):
        for _ in range(2):
            star.ok(action, VICTIM)
            until(lambda state=state: star.instance(VICTIM)["state"] == state)
    assert star.run("pause", "loadgen", "--part", "sidecar").code == 2


def test_a_process_killed_from_outside_stays_down_and_a_crash_comes_back(star: RealMesh) -> None:
    """`kill -9` by a person is obeyed like `mesh kill`; a segmentation fault is not what anybody wanted."""
    send(star.instance(VICTIM)["pids"]["app"], signal.SIGKILL)
    until(lambda: star.instance(VICTIM)["state"] == "down", 5)
    wait(1.5)
    assert star.instance(VICTIM)["reason"] == "app killed by SIGKILL"
    star.ok("heal", VICTIM)
    until(lambda: star.instance(VICTIM)["healthy"], 10)
    crashed = star.instance(VICTIM)["pids"]["app"]
    send(crashed, signal.SIGSEGV)
    until(lambda: star.instance(VICTIM)["pids"]["app"] not in (None, crashed), 10)
    until(lambda: star.instance(VICTIM)["healthy"], 10)
    assert star.instance(VICTIM)["restarts"] >= 1
    assert failed(star) == {}


def test_the_load_generator_can_be_killed_and_healed(star: RealMesh) -> None:
    """It goes on with the rate that it was last told."""
    star.ok("load", "--rate", "120")
    star.ok("kill", "loadgen")
    assert star.status()["load"]["running"] is False
    star.ok("heal", "loadgen")
    until(lambda: star.status()["load"]["running"])
    until(lambda: star.load()["rate"] == 120)
    star.ok("load", "--rate", str(RATE))
