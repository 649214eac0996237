"""Where policies are asked for and changed: the whole set is checked before anything of it is written.

One change after the other; a change is one transaction of the registry. After it the sidecars are asked until
all act on it.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import aiohttp

from mesh import fault_text
from mesh.control.acknowledged import Acknowledged
from mesh.control.off_loop import OffLoop
from mesh.control.operator import Observed
from mesh.control.policy_change import Plan, check_change
from mesh.control.policy_rows import Document, check_there, report_of, told, understood, unknown_policy
from mesh.errors import ActionRefused
from mesh.policies import PolicyStore, Stored
from mesh.policy_names import HOME, split_key

if TYPE_CHECKING:
    from mesh.policy_set import Change, Policy
    from sidecar.routing.lint_subsets import Instances

# Somebody else may write to the same registry between our look and our transaction, but not for ever.
TRIES = 3

Told = Callable[[str, str, Document], object]


class PolicyDesk:
    """One for a mesh. `tell(by, kind, fields)` keeps an event; `wall_clock` is seconds since the epoch."""

    def __init__(
        self,
        store: PolicyStore,
        observed: Observed,
        session: aiohttp.ClientSession,
        wall_clock: Callable[[], float],
        tell: Told | None = None,
    ) -> None:
        self._store = store
        self._observed = observed
        self._sidecars = Acknowledged(observed, session)
        self._wall_clock = wall_clock
        self._tell = tell
        self._changing = asyncio.Lock()
        self._off_loop = OffLoop()

    # asking

    async def documents(
        self, kind: str | None = None, name: str | None = None, namespace: str = HOME
    ) -> Document:
        """All policies or those of a kind or name, and how many sidecars act on the set."""
        stored = await self._store.read()
        rows, version, problems = await self._off_loop.run(partial(report_of, stored))
        found = [row for row in rows if kind in (None, row["kind"])]
        if name is not None:
            found = [row for row in found if row["namespace"] == namespace]
            names = [row["name"] for row in found]
            found = [row for row in found if row["name"] == name]
            if not found:
                raise unknown_policy(str(kind), name, names)
        return {
            "version": version,
            "documents": found,
            "problems": problems,
            "sidecars": await self._sidecars.report(version),
        }

    async def understood(self, stored: Sequence[Stored]) -> Collection[str]:
        """The keys of those that can be read."""
        if not stored:
            return ()  # most meshes have no faults, and what reads them takes a tenth of a second to import
        return (await self._off_loop.run(partial(understood, stored)))[0]

    # changing

    async def apply(self, raws: Sequence[object], by: str, *, dry_run: bool, wait_s: float) -> Document:
        """Put documents beside or in the place of what is there; all of them, or DocumentsRefused."""
        from mesh import policy_set

        put = await self._off_loop.run(partial(policy_set.read_policies, raws))

        def plan(before: "list[Policy]") -> "tuple[list[Change], list[Policy]]":
            made = policy_set.stamped(before, put, self._wall_clock())
            return policy_set.changes(before, made), policy_set.merged(before, made)

        return await self._change(plan, by, dry_run=dry_run, wait_s=wait_s)

    async def delete(self, keys: Sequence[str], by: str, *, dry_run: bool, wait_s: float) -> Document:
        """Remove documents by Kind/name, all or none; UnknownName when one is not there."""
        from mesh import policy_set

        def plan(before: "list[Policy]") -> "tuple[list[Change], list[Policy]]":
            raws = {policy.key: policy.raw for policy in before}
            gone = dict.fromkeys(keys)
            changes = [policy_set.Change(key, "deleted", raws.get(key), None) for key in gone]
            return changes, [policy for policy in before if policy.key not in gone]

        return await self._change(plan, by, dry_run=dry_run, wait_s=wait_s, removed=list(keys))

    async def _change(
        self,
        plan: Plan,
        by: str,
        *,
        dry_run: bool,
        wait_s: float,
        removed: Sequence[str] = (),
    ) -> Document:
        async with self._changing:
            for _ in range(TRIES):
                stored = await self._store.read()
                check_there(removed, stored)
                check = partial(check_change, stored, plan, self._instances(), removing=bool(removed))
                checked = await self._off_loop.run(check)
                changes = checked.changes
                if dry_run:
                    break
                put = [change.after for change in changes if change.word in ("created", "configured")]
                raws = [raw for raw in put if raw is not None]
                if await self._store.write(raws, list(dict.fromkeys(removed)), stored):
                    break
            else:
                raise ActionRefused("somebody else changes the policies at the same time: try again")
        version = checked.version
        document = {
            "version": version,
            "changes": [told(change) for change in changes],
            "warnings": checked.warnings,
        }
        if dry_run:
            return {**document, "sidecars": None}
        self._audit(by, changes, version)
        return {**document, "sidecars": await self._sidecars.settled(version, wait_s)}

    def _audit(self, by: str, changes: "list[Change]", version: str) -> None:
        if self._tell is None:
            return
        for change in changes:
            if change.word == "unchanged":
                continue
            kind, _, name = split_key(change.key)
            fields: Document = {"action": change.word, "document": change.key, "version": version}
            spec = (change.after or change.before or {}).get("spec")
            if kind == "Fault" and isinstance(spec, Mapping):
                fields |= {"name": name, "target": spec.get("instance") or spec.get("host")}
                fields |= {"reason": fault_text.what(spec), "ttl": spec.get("ttl")}
                fields["action"] = "ended" if change.word == "deleted" else "began"
            self._tell(by, "fault" if kind == "Fault" else "policy", fields)

    def _instances(self) -> "Instances":
        found: dict[str, list[dict[str, str]]] = {}
        for each in self._observed.status()["instances"]:
            own = {"app": each["service"], "version": each["version"], "zone": each["zone"]}
            found.setdefault(each["service"], []).append({**each.get("labels", {}), **own})
        return found
