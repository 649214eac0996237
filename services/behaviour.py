"""What one request gets: the draws of error, latency and probability, made from a service's script.

Pure: nothing here waits or sends. Each request is drawn on its own, never counted: with an
error rate of 30 % three consecutive errors are as likely as anywhere.
"""

import random
from dataclasses import dataclass

from services.topology import Call, Concurrent, Service, Sleep, Step


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done for one request: fail at once, or the steps in their order."""

    fails: bool
    steps: tuple[Step, ...]


_FAIL = Decision(True, ())


class Behaviour:
    """The behaviour of one instance.

    `service` may be replaced while it runs: the next request is drawn from the new one. Draws follow from
    the request, or, with `in_order` (a run with a seed), only from `rng` and from how many came before.
    `version` is the instance's: a call that names versions is made by these alone.
    """

    def __init__(
        self, service: Service, rng: random.Random, *, in_order: bool = False, version: str = ""
    ) -> None:
        self.service = service
        self._rng = rng
        self._in_order = in_order
        self._version = version

    def decide(self, request: str = "") -> Decision:
        """Draw for one request: first the error, as isotope does, then the latency, then each call.

        What is drawn follows from `request`: the same text gets the same again, from every instance.
        """
        service = self.service
        own = bool(request) and not self._in_order
        rng = random.Random(f"{service.name} {request}") if own else self._rng
        if service.error_rate and rng.random() < service.error_rate:
            return _FAIL
        steps: list[Step] = []
        if service.latency is not None:
            steps.append(Sleep(service.latency.sample(rng)))
        for step in service.script:
            if isinstance(step, Concurrent):
                steps.append(Concurrent(tuple(part for part in step.steps if self._happens(part, rng))))
            elif self._happens(step, rng):
                steps.append(step)
        return Decision(False, tuple(steps))

    def _happens(self, step: Sleep | Call, rng: random.Random) -> bool:
        if isinstance(step, Sleep):
            return True
        if step.versions and self._version not in step.versions:
            return False
        return step.probability >= 1 or rng.random() < step.probability
