"""The measured ceiling: what was answered while more was asked for, and nothing before."""

from mesh.control.ceiling import STRUGGLING_S, Ceiling


def load(answered: float, fine: bool, asked: float = 500) -> dict[str, object]:
    last = {"rps": answered, "offered_rps": asked}
    return {"running": True, "generator_ok": True, "system_ok": fine, "last_second": last}


def test_nobody_knows_it_until_it_was_too_much() -> None:
    """A late second or two say nothing."""
    ceiling = Ceiling()
    for _ in range(20):
        ceiling.take(load(100, fine=True))
    for _ in range(STRUGGLING_S - 1):
        ceiling.take(load(100, fine=False))
    ceiling.take(load(100, fine=True))
    assert ceiling.rate is None


def test_a_generator_that_is_late_is_no_ceiling() -> None:
    """All that it asked for was answered."""
    ceiling = Ceiling()
    for _ in range(20):
        ceiling.take(load(30, fine=False, asked=30))
    assert ceiling.rate is None


def test_it_is_what_was_answered_meanwhile() -> None:
    """On average over the last seconds of it."""
    ceiling = Ceiling()
    for answered in (10, 280, 300, 320, 300):
        ceiling.take(load(answered, fine=False))
    assert ceiling.rate == 300


def test_more_that_went_well_ends_it() -> None:
    """Replicas came, or the machine has less to do; a mesh that changed has to be measured anew."""
    ceiling = Ceiling()
    for _ in range(STRUGGLING_S):
        ceiling.take(load(300, fine=False))
    ceiling.take(load(200, fine=True))
    assert ceiling.rate == 300
    ceiling.take(load(350, fine=True))
    assert ceiling.rate is None
