"""Open-loop load: requests start when the schedule says, not when the last answer came.

Words: an *intended* start is a time that the schedule chose; a request is *planned* when that time
has come, *sent* when it left, *dropped* (with a reason) when it could not, *completed* when it has
an answer or an error. Response time runs from the intended start, service time from the send,
lateness is the generator's own delay between the two.

Main path: `__main__` builds a `Runner`, which takes times from `schedule` (shaped by `patterns`),
sends through `pool` and `connection`, and records into `measurement` (`tally`, `histogram`,
`window`); `report` and `metrics` read that, `lamps` judge it, `server` lets others read and steer.
`client.LoadClient` is the only part that other packages import.
"""
