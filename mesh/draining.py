"""The begin of a drain, the same for processes and containers."""

import aiohttp

from mesh.errors import ActionRefused
from mesh.instance import Instance
from mesh.plan import Part

# The sidecar answers its admin at once; draining itself goes on after the answer.
ADMIN_TIMEOUT = aiohttp.ClientTimeout(total=2.0)
# As with Envoy: first out of the registry, so that nobody new comes, then out of the connections.
STEPS = ("/healthcheck/fail", "/drain_listeners?graceful")


async def begin_draining(session: aiohttp.ClientSession, instance: Instance) -> None:
    """Returns when the instance's sidecar has agreed; raises ActionRefused."""
    name = instance.plan.name
    if Part.SIDECAR not in instance.parts:
        raise ActionRefused(f"{name} has no sidecar that could drain it")
    if not instance.parts[Part.SIDECAR].alive:
        raise ActionRefused(f"{name} has no running sidecar that could drain it")
    for path in STEPS:
        try:
            async with session.post(f"{instance.plan.admin}{path}", timeout=ADMIN_TIMEOUT) as answer:
                if answer.status >= 400:
                    words = (await answer.content.read(200)).decode(errors="replace")
                    raise ActionRefused(f"the sidecar of {name} refuses {path}: {words}")
        except (aiohttp.ClientError, TimeoutError) as error:
            words = str(error) or type(error).__name__
            raise ActionRefused(f"the sidecar of {name} does not answer: {words}") from error
