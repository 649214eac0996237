"""Balancing: which endpoint gets the next attempt.

Words: an *endpoint* is an instance as a caller's sidecar sees it; its *share* (0..1) is what registry weight,
reported health and ramp leave of a full part; its *cost* is the latency to expect times the attempts before
us. `endpoints.py` holds them over changes of membership, `latency.py` and `peak_ewma.py` estimate how fast
they are, `p2c.py` picks by cost; `round_robin.py`, `ring_hash.py` and others pick otherwise, by policy.
Pure: no loop, socket, clock or randomness of its own. One pick is O(1), or O(N) for four endpoints and fewer.
"""
