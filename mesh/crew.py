"""The processes of all instances: started on their own ports, signalled, and started again after a crash."""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterable

from mesh.changes import Changes
from mesh.errors import ForkServerLost, SpawnFailed
from mesh.instance import Instance
from mesh.logs import last_line
from mesh.plan import Part
from mesh.ports import Ports
from mesh.processes import Process, Processes

log = logging.getLogger("mesh.crew")


class Crew:
    """Joins instances (what is known) with processes (what runs).

    `changed` is called with the instance after each event of one of its processes; restarts run as tasks of
    the group `tasks` until `dismiss`.
    """

    def __init__(
        self,
        processes: Processes,
        ports: Ports,
        changes: Changes,
        tasks: asyncio.TaskGroup,
        changed: Callable[[Instance, Part], None],
    ) -> None:
        self._processes = processes
        self._ports = ports
        self._changes = changes
        self._tasks = tasks
        self._changed = changed
        self._running: dict[tuple[str, Part], Process] = {}
        self._starting: set[tuple[str, Part]] = set()
        self._dismissed = False

    async def start(self, instance: Instance, part: Part) -> None:
        """Start a part unless it runs or is being started; a failure is recorded, and tried again later."""
        key = (instance.plan.name, part)
        if self._dismissed or key in self._starting or instance.parts[part].alive:
            return
        self._starting.add(key)
        try:
            for port in self._ports_of(instance, part):
                self._ports.hand_over(port)
            process = await self._processes.spawn(instance.plan.parts[part], lambda _: None)
        except SpawnFailed as error:
            words = str(error).partition(": ")[2]
            log.warning("%s: %s did not start: %s", instance.plan.name, part, words)
            self._restart_after(instance, part, instance.not_started(part, words))
            self._note(instance, part)
            return
        except ForkServerLost:
            return  # the supervisor hears of it by itself, and ends
        finally:
            self._starting.discard(key)
        self._running[key] = process
        instance.spawned(part, process.pid)
        process.watcher = lambda process: self._heard(instance, part, process)
        self._heard(instance, part, process)

    def signal(self, instance: Instance, part: Part, number: int) -> None:
        """Send a signal to the part's process group, if it runs."""
        process = self._running.get((instance.plan.name, part))
        if process is not None:
            self._processes.signal(process, number)

    async def ended(self, instances: Iterable[Instance], seconds: float) -> bool:
        """Wait until no process of these instances runs."""
        names = {instance.plan.name for instance in instances}
        return await self._changes.wait_for(
            lambda: not any(name in names for name, _ in self._running), seconds
        )

    def dismiss(self) -> None:
        """Start nothing from now on."""
        self._dismissed = True

    def terminate(self, instances: Iterable[Instance]) -> None:
        """Ask every process of these instances to end; a frozen one could not, so it is killed."""
        for instance in instances:
            for part in instance.parts:
                process = self._running.get((instance.plan.name, part))
                if process is not None:
                    self._processes.signal(process, signal.SIGKILL if process.stopped else signal.SIGTERM)

    def _ports_of(self, instance: Instance, part: Part) -> list[int]:
        ports = instance.plan.ports
        if part is Part.APP:
            return [ports["app"]]
        return [port for role, port in ports.items() if role != "app"]

    def _heard(self, instance: Instance, part: Part, process: Process) -> None:
        key = (instance.plan.name, part)
        if self._running.get(key) is not process:
            return
        if process.exit is not None:
            del self._running[key]
            delay = instance.ended(part, process.exit, last_line(process.spec.log))
            log.info("%s: %s (pid %d) %s", instance.plan.name, part, process.pid, process.exit)
            if delay is not None:
                self._restart_after(instance, part, delay)
        else:
            if process.ready_line is not None:
                instance.ready(part)
            serving = process.ready_line is not None or process.spec.command is not None
            instance.frozen(part, process.stopped, serving)
        self._note(instance, part)

    def _note(self, instance: Instance, part: Part) -> None:
        self._changed(instance, part)
        self._changes.notify()

    def _restart_after(self, instance: Instance, part: Part, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._restart, instance, part)

    def _restart(self, instance: Instance, part: Part) -> None:
        # None: somebody said that it stays down, or started it meanwhile
        if not self._dismissed and instance.parts[part].restart_at is not None:
            self._tasks.create_task(self.start(instance, part), name=f"restart {instance.plan.name} {part}")
