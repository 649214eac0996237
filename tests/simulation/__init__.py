"""Virtual time: the real policy and balance code against modelled servers, in one thread, without a loop.

Words: a *server* is a replica with a latency model and a switch for each way to fail; a *caller* is one
sidecar with its own `Upstream`; a *call* is one request with its attempts. `world.py` is the machine, the
tests are scenarios: they say what is promised and what number proves it.
"""
