"""The mesh in containers: what `mesh` does to processes, done to the containers of a Compose project.

engine      Docker's API through its SDK: the few calls that are needed, every failure one line
containers  what one look at the engine says: each container with its labels and its state (pure)
plan        the topology and the containers put together as the plan that the rest of mesh/ works on (pure)
driver      the operator behind the control API: looks, acts, heals pods whose halves have lost each other
exposition  the driver's view as Prometheus metrics (pure)
__main__    the program of the container `control`

Main path: compose labels -> containers -> plan -> driver.look -> Instance -> the same status and page.
"""
