"""The registry: Consul's HTTP API, embedded, and the client that speaks it to ours or to real Consul.

Words. *Catalog*: nodes, service instances and checks, as everybody sees them. *Agent*: the part
that owns this node's services and runs their checks. *Index*: one number that grows with every
write; each answer carries the index of its last change, and a *blocking query* waits until that
grows. *Topic*: what a write changed and a waiter waits for.

Main path of a write: `http/` (decode, validate) -> `agent.py` or `store/` (pure state, one index,
the rows that changed) -> `journal/` (durable) -> `watchers.py` (wake who waits) -> answer.
Main path of a watch: `client/watch.py` -> `http/health.py` -> `watchers.py` until the index grew.
Read in this order: model, store/state, store/catalog, agent, http/call, client/api, client/watch.
"""
