"""The histogram against small cases by hand, against a sorted list, and against HdrHistogram."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.histogram import SIZE, Histogram, upper_edge

values = st.integers(min_value=0, max_value=(1 << 27) - 1)
quantiles = st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0])


def filled(samples: list[int]) -> Histogram:
    histogram = Histogram()
    for sample in samples:
        histogram.record(sample)
    return histogram


def nearest_rank(samples: list[int], quantile: float) -> int:
    """The definition: the smallest sample with at least that share of samples at or below it."""
    ordered = sorted(samples)
    return ordered[max(1, math.ceil(round(quantile * len(ordered), 6))) - 1]


def test_empty_has_no_percentiles() -> None:
    """Nothing recorded is shown as nothing, not as 0."""
    histogram = Histogram()
    assert histogram.percentiles((0.5, 0.99)) == [None, None]
    assert histogram.mean_us() is None
    assert histogram.min_us is None


def test_one_value_is_every_percentile_exactly() -> None:
    """The largest value is kept exact, so a bucket's upper edge is never shown above it."""
    assert filled([1_234_567]).percentiles((0.0, 0.5, 1.0)) == [1_234_567] * 3


@pytest.mark.parametrize(
    ("n", "quantile", "rank"),
    [(100, 0.99, 99), (100, 0.5, 50), (101, 0.5, 51), (3, 0.5, 2), (4, 0.5, 2), (10, 0.99, 10), (2, 0.0, 1)],
)
def test_small_samples_are_exact_nearest_ranks(n: int, quantile: float, rank: int) -> None:
    """Below 256 us there is no rounding: the values 1..n give their ranks."""
    assert filled(list(range(1, n + 1))).percentile(quantile) == rank


@given(st.lists(values, min_size=1, max_size=300), quantiles)
def test_percentiles_are_within_one_percent_of_a_sorted_list(samples: list[int], quantile: float) -> None:
    """Two significant digits, and never too small."""
    exact = nearest_rank(samples, quantile)
    shown = filled(samples).percentile(quantile)
    assert shown is not None
    assert exact <= shown <= exact + exact / 128


@given(st.lists(values, max_size=100), st.lists(values, max_size=100))
def test_merging_equals_recording_all_in_one(left: list[int], right: list[int]) -> None:
    """A merge loses nothing."""
    whole, merged = filled(left + right), filled(left)
    merged.merge(filled(right))
    assert list(merged.buckets()) == list(whole.buckets())
    assert (merged.count, merged.total_us, merged.max_us) == (whole.count, whole.total_us, whole.max_us)
    if whole.count:
        assert merged.min_us == whole.min_us == min(left + right)
        assert merged.mean_us() == sum(left + right) / len(left + right)


@given(st.lists(values, max_size=100), st.lists(values, min_size=1, max_size=5))
def test_at_most_counts_to_the_resolution_of_the_buckets(samples: list[int], bounds: list[int]) -> None:
    """Cumulative counts never count a value above the bound, and miss only those of its own bucket."""
    bounds.sort()
    for bound, shown in zip(bounds, filled(samples).at_most(bounds), strict=True):
        assert sum(s <= bound * 127 / 128 - 1 for s in samples) <= shown <= sum(s <= bound for s in samples)


def test_every_edge_falls_into_its_own_bucket_and_the_next_value_does_not() -> None:
    """The 2688 buckets join without gap or overlap."""
    for index in range(SIZE - 1):
        edge = upper_edge(index)
        assert list(filled([edge]).counts) == [index]
        assert list(filled([edge + 1]).counts) == [index + 1]
    assert upper_edge(SIZE - 1) == (1 << 27) - 1


def test_values_beyond_the_last_bucket_are_counted_as_overflow() -> None:
    """Ten minutes do not vanish: they count, they are the maximum, and a percentile among them is it."""
    histogram = filled([5, 600_000_000, 200_000_000])
    assert histogram.overflow == 2
    assert histogram.count == 3
    assert histogram.percentiles((0.3, 0.5, 1.0)) == [5, 600_000_000, 600_000_000]


def test_overflow_survives_a_merge() -> None:
    """A merged percentile among the overflowed values is still the largest value."""
    histogram = filled([5])
    histogram.merge(filled([200_000_000, 300_000_000]))
    assert histogram.overflow == 2
    assert histogram.percentiles((0.3, 0.9)) == [5, 300_000_000]


def test_memory_is_bounded_however_much_is_recorded() -> None:
    """A million different values take no more than the buckets there are."""
    histogram = filled(list(range(0, 200_000_000, 400)))
    assert len(histogram.counts) <= SIZE
    assert histogram.count == 500_000


def test_a_negative_value_counts_as_zero() -> None:
    """A clock that went back must not break the counting."""
    assert filled([-5]).percentile(1.0) == 0


@given(st.lists(st.integers(min_value=1, max_value=60_000_000), min_size=1, max_size=300), st.data())
def test_agrees_with_hdrhistogram(samples: list[int], data: st.DataObject) -> None:
    """At every rank the answer is HdrHistogram's, within the resolution of the two.

    Between ranks the two differ by definition: HdrHistogram rounds to the nearest, nearest-rank rounds up.
    """
    hdrh = pytest.importorskip("hdrh.histogram", reason="hdrhistogram has no wheel for this machine")
    oracle = hdrh.HdrHistogram(1, 134_000_000, 3)
    for sample in samples:
        oracle.record_value(sample)
    quantile = data.draw(st.integers(1, len(samples))) / len(samples)
    theirs = oracle.get_value_at_percentile(quantile * 100)
    assert filled(samples).percentile(quantile) == pytest.approx(theirs, rel=0.01)
