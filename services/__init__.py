"""The workloads of the mesh: scripted services that behave as a topology file says.

topology   services, their replicas and scripts, in one YAML file (isotope's format and more)
service    a name in it; instance: one replica of it (`orders-1`), one process of this package
script     the steps of a service: sleep, call, or a list of them at once
behaviour  what one request gets: draws of latency, error and probability made from the script
context    what a request hands on to the calls it causes: trace, request id, deadline, criticality

Main path: script.load_topology -> behaviour.Behaviour.decide -> app.ScriptedService.answer
-> peers.Peers.call -> tree.render. `services.script` and what it imports are pure.
Other people's services need one file from here: `services/context.py`.
"""
