"""What a change of the policies would do, checked as a whole before anything is written. Pure, and it takes a
second for thousands of routes: it runs off the loop.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesh.control.policy_rows import understood
from mesh.errors import DocumentsRefused
from mesh.policies import Stored

if TYPE_CHECKING:
    from mesh.policy_set import Change, Policy
    from sidecar.routing.lint_subsets import Instances

Plan = Callable[[list["Policy"]], tuple[list["Change"], list["Policy"]]]
"""The documents that are there -> what is done to each, and the documents then."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A change that may be made; `version` is the set's after it."""

    changes: "list[Change]"
    version: str
    warnings: list[str]


def check_change(stored: Sequence[Stored], plan: Plan, instances: "Instances", *, removing: bool) -> Checked:
    """Raises DocumentsRefused when the set after it would be wrong; what is wrong already may be removed."""
    from mesh import policy_set

    there, broken = understood(stored)
    before = list(there.values())
    changes, after = plan(before)
    mended = {change.key for change in changes}
    # what is wrong already may be removed or put right, and nothing else may be done before that
    left = [problem for key, problems in broken.items() if key not in mended for problem in problems]
    if left and not removing:
        raise DocumentsRefused(left)
    problems = policy_set.problems_of(after)
    if removing and problems:
        known = set(policy_set.problems_of(before))
        problems = [problem for problem in problems if problem not in known]
    if problems:
        raise DocumentsRefused(problems)
    return Checked(changes, policy_set.version(after), _warnings(before, after, mended, instances))


def _warnings(
    before: "list[Policy]", after: "list[Policy]", mended: set[str], instances: "Instances"
) -> list[str]:
    """Of the documents that are put, and of others what is new."""
    from mesh import policy_set

    known = set(policy_set.warnings_of([policy.document for policy in before], instances))
    return [
        warning
        for warning in policy_set.warnings_of([policy.document for policy in after], instances)
        if warning.split(":")[0] in mended or warning not in known
    ]
