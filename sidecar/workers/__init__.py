"""`--workers N`: several processes behind the same addresses, and one that answers for all of them.

    manager.py    starts the crew, serves the public admin listener, ends everything in order
    crew.py       one process for each place: started, heard, started again
    work.py       what each of them runs: an ordinary sidecar with a `link.py` to the manager
    metrics.py, snapshot.py    many answers as one: counts add up, of states the worst is shown
    breakers.py   what one worker learnt of an endpoint, for the others

Nothing here is imported by a sidecar that works alone. What lies on the data path does not know of it.
"""
