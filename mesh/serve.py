"""The composition root of a running mesh: loop, HTTP session, control API, supervisor, signals, show."""

import asyncio
import logging
import os
import random
import signal
import time

import aiohttp
import uvloop
from aiohttp import web

from guard.door import TIMES, Door
from mesh.control.app import END_S, control_app
from mesh.control.graph import graph_of
from mesh.control.hub import Hub
from mesh.control.jaeger_link import jaeger_url
from mesh.control.policy_desks import make_desks
from mesh.launch import Launched
from mesh.log_rotation import LogRotation
from mesh.plan import MeshPlan
from mesh.ports import LOOPBACK, Ports
from mesh.processes import Processes
from mesh.show import Show
from mesh.state import PROCESS, SUPERVISOR, StateDirectory
from mesh.supervisor import Supervisor
from mesh.tokens import Scope, authorization
from mesh.traces import TraceStore
from mesh.up import Times


def serve(
    plan: MeshPlan, launched: Launched, ports: Ports, state: StateDirectory, show: Show, times: Times
) -> int:
    """Run the mesh until SIGINT, SIGTERM, SIGHUP or the control API ends it; returns the exit code."""
    logging.basicConfig(
        filename=state.log_path(SUPERVISOR, PROCESS),
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(plan, launched, ports, state, show, times))
    return 0


async def _serve(
    plan: MeshPlan, launched: Launched, ports: Ports, state: StateDirectory, show: Show, times: Times
) -> None:
    processes = await Processes.connect(launched.channel)
    assert plan.tokens is not None
    tokens = plan.tokens
    # the session is for sidecars and the load generator only: nobody else is told their token
    headers = authorization(tokens.of(Scope.ADMIN))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        supervisor = Supervisor(
            plan, processes, ports, state, session, times.began, launched.process.pid, times.clock
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, supervisor.stop)
        traces = TraceStore()
        jaeger = jaeger_url(os.environ)
        graph = graph_of(supervisor.draft().topology, plan.topology, jaeger)
        hub = Hub(supervisor, traces, graph, session, time.time, random.Random())
        desks = make_desks(supervisor.policies, supervisor, session, time.time, hub.journal.add)
        supervisor.reshaped.append(lambda topology: hub.rewired(graph_of(topology, plan.topology, jaeger)))
        control = web.AppRunner(
            control_app(
                supervisor,
                traces,
                plan.control_port,
                hub,
                desks,
                token=tokens.control,
                spans=tokens.of(Scope.SPANS),
            ),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=END_S,
            **TIMES,
        )
        await control.setup()
        door = Door(control.server)
        try:
            ports.hand_over(plan.control_port)
            await door.open(LOOPBACK, plan.control_port, reuse_address=True)
            async with asyncio.TaskGroup() as tasks:
                shown = tasks.create_task(show.run(supervisor), name="show")
                live = tasks.create_task(hub.run(), name="live page")
                faults = tasks.create_task(desks.faults.run(), name="faults")
                rotation = tasks.create_task(LogRotation(state).run(), name="log rotation")
                await supervisor.run()
                live.cancel()
                faults.cancel()
                rotation.cancel()
                shown.cancel()
        except* Exception as group:
            # one error is one line for the person; a group of one only hides it
            raise _only(group) from None
        finally:
            door.close()
            await control.cleanup()
            processes.close()


def _only(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup) and len(group.exceptions) == 1:
        group = group.exceptions[0]
    return group
