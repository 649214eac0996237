"""The data plane: one proxy process beside each service replica.

Words: *downstream* is the client's connection, *upstream* the one to a backend; an *exchange* is one
request through this sidecar, an *attempt* one try of it at one *endpoint*. The *inbound* listener
takes requests for the app behind us, the *outbound* one takes the app's own calls, *admin* is for
people and scrapers.

Main path: `io.downstream` reads bytes -> `wire.request_parser` makes events -> `exchange` matches,
admits, picks (`stack`), sends an attempt through `io.pool`/`io.upstream` -> `wire.response_parser`
-> `exchange` classifies, retries or relays -> `observe` counts it.
"""
