"""The table of `make bench`, smaller: our rule against Linkerd's and Envoy's, at each rate."""

import pytest

from tests.benchmarks.bench_breaker import LIMIT, RATES, RULES, false_trips, seconds_to_trip


@pytest.mark.parametrize("rate", RATES)
def test_a_tenth_that_fails_trips_at_most_once_an_hour(rate: float) -> None:
    """In simulated hours, enough for ten expected trips at the bar."""
    hours = {0.5: 40.0, 2.0: 20.0, 10.0: 8.0, 50.0: 3.0}[rate]
    assert false_trips(RULES["ours"], rate, hours, 17) <= 1.0


@pytest.mark.parametrize("ratio", [0.5, 0.9])
@pytest.mark.parametrize("rate", RATES)
def test_real_failures_trip_nearly_as_fast_as_the_fastest(rate: float, ratio: float) -> None:
    """Within 1.5x of the faster of the two; the mean is 1.41x, and 1,000 trials are noisy by 0.05."""
    seconds = {name: seconds_to_trip(make, rate, ratio, 0.0, 1000, 23) for name, make in RULES.items()}
    assert seconds["ours"] <= LIMIT * min(seconds["Linkerd"], seconds["Envoy"])
