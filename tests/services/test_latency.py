"""Latency distributions have the percentiles that they are written with, and never go negative."""

import random
from statistics import fmean, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.script import parse_topology

DRAWS = 20_000


def drawn(latency: str, seed: int = 7, count: int = DRAWS) -> list[float]:
    text = f"services:\n- name: a\n  isEntrypoint: true\n  latency: {latency}\n"
    distribution = parse_topology(text, "f").service("a").latency
    assert distribution is not None
    rng = random.Random(seed)
    return [distribution.sample(rng) for _ in range(count)]


def percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]


def test_a_bare_duration_is_constant() -> None:
    assert set(drawn("5ms")) == {0.005}
    assert set(drawn("{distribution: constant, value: 5ms}")) == {0.005}


def test_uniform_stays_between_its_bounds() -> None:
    values = drawn("{distribution: uniform, min: 1ms, max: 3ms}")
    assert 0.001 <= min(values) < 0.0011
    assert 0.0029 < max(values) <= 0.003
    assert fmean(values) == pytest.approx(0.002, rel=0.02)


def test_lognormal_has_the_percentiles_it_is_written_with() -> None:
    values = drawn("{distribution: lognormal, p50: 2ms, p99: 9ms}")
    assert percentile(values, 50) == pytest.approx(0.002, rel=0.03)
    assert percentile(values, 99) == pytest.approx(0.009, rel=0.06)


def test_lognormal_with_equal_percentiles_is_constant() -> None:
    assert drawn("{distribution: lognormal, p50: 2ms, p99: 2ms}", count=3) == pytest.approx([0.002] * 3)


def test_normal_is_cut_at_zero_and_at_max() -> None:
    values = drawn("{distribution: normal, mean: 2ms, stddev: 4ms, max: 5ms}")
    assert min(values) == 0
    assert max(values) == 0.005
    assert percentile(values, 50) == pytest.approx(0.002, rel=0.1)


def test_exponential_has_its_mean_and_its_cap() -> None:
    assert fmean(drawn("{distribution: exponential, mean: 2ms}")) == pytest.approx(0.002, rel=0.03)
    assert max(drawn("{distribution: exponential, mean: 2ms, max: 4ms}")) == 0.004


@given(p50=st.integers(1, 1000), factor=st.integers(1, 50), seed=st.integers())
def test_the_same_seed_draws_the_same(p50: int, factor: int, seed: int) -> None:
    written = f"{{distribution: lognormal, p50: {p50}us, p99: {p50 * factor}us}}"
    first = drawn(written, seed, 5)
    assert first == drawn(written, seed, 5)
    assert all(value > 0 for value in first)
