"""The same bytes through our two listeners, nginx, HAProxy and Envoy: who passes what, and who refuses what.

`rows.py` has what is sent and what is right; `backend.py` is the scripted server behind each proxy;
`proxies.py` starts them; `run.py` puts one row through one proxy. `python -m tests.conformance` prints
the table; in the test suite ours must be right on every row, and never worse than any of the others.
"""
