"""What would a rollback change? The plan, with the fields it takes back, what it prunes, and hooks that do not run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from platform_lib import rollback
from platform_lib.inspection.comparison import diff
from platform_lib.inspection.fields import Diff
from platform_lib.model import App, Plan, Platform, _Table
from platform_lib.rollback import Method


@dataclass(frozen=True, slots=True)
class Preview(_Table):
    """A rollback before it happens.

    Attributes:
        plan: The steps.
        diff: What runs against the target revision.
        prune: Whether what the target does not have is deleted.
    """

    plan: Plan
    diff: Diff
    prune: bool

    def rows(self) -> list[tuple[str, str]]:
        """Return the plan, then the differences, then what stays although the target does not have it."""
        rows = [(self.plan.title, ""), *self.plan.rows(), *self.diff.rows()]
        left = [one.object for one in self.diff.objects if one.change == "prune"]
        if left and not self.prune:
            rows.append(("not pruned", f"{', '.join(left)}: a rollback by history deletes them only with --prune"))
        return rows


def preview_rollback(
    platform: Platform, app: App, *, to: str | None = None, method: Method = "revert", prune: bool = False
) -> Preview:
    """Say what a rollback would do and change, without doing it.

    Args:
        platform: Where.
        app: What.
        to: Commit or version; None for the newest good revision.
        method: ``revert`` prunes as automation does; ``history`` prunes only when told to, and runs no hooks.
        prune: With ``history``: delete objects that the old revision does not have.

    Raises:
        NoRollbackTarget, RollbackRefused: As ``rollback.plan_rollback``.
        InvalidInput: The source cannot be rendered here.
    """
    plan = rollback.plan_rollback(platform, app, to=to, method=method)
    found = diff(platform, app, revision=str(plan.inputs["to"]))
    hooks = found.hooks if method == "history" else ()
    return Preview(plan, replace(found, hooks=hooks), prune or method == "revert")
