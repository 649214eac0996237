"""'n of m sidecars at version v': which of them act on a version of the policies, who does not, and why."""

import asyncio
from typing import Any

import aiohttp

from mesh.control.ask import ask_all
from mesh.control.operator import Observed

PATH = "/config_dump"
# Sidecars learn of a change within milliseconds; asked again that often while somebody waits.
AGAIN_S = 0.05


class Acknowledged:
    """Asks the sidecars themselves: what was polled a second ago is too old for an answer to `apply`."""

    def __init__(self, observed: Observed, session: aiohttp.ClientSession) -> None:
        self._observed = observed
        self._session = session

    async def report(self, version: str) -> dict[str, Any]:
        """How many of the `total` are `current`, who is `behind` (instance, version, problem), who `paused`.

        `total` are the sidecars that run; a paused one takes the policies when it is resumed, and is not
        counted.
        """
        behind: list[dict[str, Any]] = []
        paused: list[str] = []
        answers = await ask_all(self._session, self._observed.admins(), PATH)
        frozen = {
            each["name"]
            for each in _instances(self._observed.status())
            if each.get("state") == "paused" and answers.get(each["name"]) is None
        }
        for name, answer in sorted(answers.items()):
            if name in frozen:
                paused.append(name)
            elif (row := _behind(answer, version)) is not None:
                behind.append({"instance": name, **row})
        total = len(answers) - len(paused)
        return {
            "version": version,
            "total": total,
            "current": total - len(behind),
            "behind": behind,
            "paused": paused,
        }

    async def settled(self, version: str, seconds: float) -> dict[str, Any]:
        """`report`, once all are at this version or that time is over."""
        found = await self.report(version)
        try:
            async with asyncio.timeout(seconds):
                while found["behind"]:
                    await asyncio.sleep(AGAIN_S)
                    found = await self.report(version)
        except TimeoutError:
            pass
        return found


def _behind(answer: dict[str, Any] | None, version: str) -> dict[str, Any] | None:
    """Why a sidecar is not at this version; None when it is."""
    if answer is None:
        return {"version": "", "problem": "does not answer"}
    policy = answer.get("policy")
    if not isinstance(policy, dict):
        return {"version": "", "problem": "does not say which policies it acts on"}
    shown, problem = str(policy.get("version", "")), str(policy.get("problem", ""))
    return None if shown == version and not problem else {"version": shown, "problem": problem}


def _instances(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [*status.get("instances", ()), *status.get("extras", ())]
