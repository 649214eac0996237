"""The operator's side: the `mesh` command, and the supervisor of everything that it starts.

plan        what a topology becomes: instances, their processes, arguments and ports, before any starts
instance    one replica: two parts, its app and its sidecar; its state in one word, with the reason
fork server the process that imports our programs once and forks every part; parent of them all
crew        the parts that run: started on their own ports, signalled, started again after a crash
stages      the order in which all of them come up and go down
supervisor  starts the planned mesh, keeps it, does what is asked of it, ends it
`.mesh/`    lock, journal of processes, logs: what lets the next command end what this one could not

Main path: cli.up -> up (lock, launch the fork server, plan) -> serve (loop, control API) ->
supervisor.run -> stages -> crew.start -> processes.spawn -> forkserver. A person's command goes
cli (and cli_*) -> client -> control/mesh_routes -> supervisor.act -> actions.
"""
