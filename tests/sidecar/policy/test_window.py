"""The window counts exactly what happened in its last ten buckets."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.window import BUCKETS, CountWindow

steps = st.lists(st.tuples(st.floats(0.0, 4.0), st.booleans(), st.booleans()), min_size=1, max_size=80)


@given(steps, st.sampled_from([0.1, 0.5, 1.0]))
def test_counts_equal_a_plain_recount(events: list[tuple[float, bool, bool]], width: float) -> None:
    """Whatever the pauses, the running sums are those of a list that is filtered by bucket."""
    window = CountWindow(width)
    now = 1000.0
    seen: list[tuple[int, bool, bool]] = []
    for pause, bad, slow in events:
        now += pause
        head = int(now * (1.0 / width))
        seen.append((head, bad, slow))
        window.record(now, int(bad), int(slow))
        recent = [entry for entry in seen if entry[0] > head - BUCKETS]
        assert window.total == len(recent)
        assert window.bad == sum(entry[1] for entry in recent)
        assert window.slow == sum(entry[2] for entry in recent)


@given(st.permutations(list(range(12))))
def test_order_within_a_bucket_does_not_matter(order: list[int]) -> None:
    """The same events in another order give the same counts."""
    window = CountWindow()
    for index in order:
        window.record(50.5, int(index < 5), int(index == 7))
    assert (window.total, window.bad, window.slow) == (12, 5, 1)


def test_silence_empties_it() -> None:
    """After the whole window has passed nothing is left."""
    window = CountWindow()
    window.record(100.0, 1, 0)
    window.rotate(109.9)
    assert window.total == 1
    window.rotate(110.0)
    assert (window.total, window.bad) == (0, 0)


def test_each_count_leaves_with_its_bucket() -> None:
    """Bad and slow ones too; a clock that was set back begins anew rather than keep the future."""
    window = CountWindow()
    window.record(100.0, 1, 0)
    window.record(101.0, 0, 1)
    window.rotate(110.0)
    assert (window.total, window.bad, window.slow) == (1, 0, 1)
    window.rotate(111.0)
    assert (window.total, window.bad, window.slow) == (0, 0, 0)
    window.record(112.0, 1, 1)
    window.rotate(50.0)
    assert (window.total, window.bad, window.slow) == (0, 0, 0)
