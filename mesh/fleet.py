"""Every instance of a mesh by name; services come and go, the mesh's own parts stay."""

from collections.abc import Callable

from mesh.instance import Instance
from mesh.plan import InstancePlan, MeshPlan


class Fleet:
    """`services` in the topology's order, `extras` (ingress, registry, load generator), `everything`."""

    def __init__(self, plan: MeshPlan, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.everything = {each.name: Instance(each, clock) for each in plan.everything()}
        self.services = [self.everything[each.name] for each in plan.instances]
        self.extras = [each for each in self.everything.values() if each not in self.services]
        self.leaving: set[str] = set()  # those that are being removed: nothing else is done to them

    def enlist(self, plan: InstancePlan) -> Instance:
        """A new replica, behind the last one of its service, not started yet."""
        instance = Instance(plan, self._clock)
        self.everything[plan.name] = instance
        mates = [place for place, each in enumerate(self.services) if each.plan.service == plan.service]
        self.services.insert(mates[-1] + 1 if mates else len(self.services), instance)
        return instance

    def strike(self, instance: Instance) -> None:
        """It has ended and is no longer part of the mesh."""
        self.everything.pop(instance.plan.name, None)
        if instance in self.services:
            self.services.remove(instance)
        self.leaving.discard(instance.plan.name)
