"""Policies: pure decisions about one request, one endpoint or one service.

Words: an *exchange* is one request through one sidecar, an *attempt* one try of it at one
endpoint, an *outcome* how an attempt ended (`outcome.py`: one table says what each feeds).
Nothing here knows a loop, a socket, a wall clock or a logger: clock and rng come in last.
Main path, as `sidecar/stack.py` composes it: `concurrency` and `admission` admit a request,
`retry_budget` is paid in, `breaker` + `outlier` say which endpoints may be picked,
`deadline` bounds the attempt, `outcome` classifies it, `retry` + `backoff` decide on the next.
Each policy's settings are an immutable dataclass beside it, validated when it is made.
Rare changes of state are told as `events.PolicyEvent`; nothing is built per request.
"""
