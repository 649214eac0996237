"""The only asyncio of the data path: transports, buffers, timers.

`listener` (an `acceptor`) accepts and drains; `downstream` is one client connection, `upstream` one
backend connection, each with at most one exchange at a time; `pool` keeps idle backend connections
and those who wait for one; `tunnel` couples two sides whose bytes pass as they are, after an Upgrade
and for `tcp`; `deadlines` has all timers on one heap. Policy comes in by an injected handler, so
nothing here knows a route or a breaker. Back-pressure is direct: who cannot write pauses the other
side's reading, by reason flags that must all be clear before reading goes on.
"""
