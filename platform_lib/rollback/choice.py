"""Which revision would a rollback go to, and how? Reading and planning; nothing is changed here."""

from __future__ import annotations

from typing import Any, Literal

from platform_lib import sync
from platform_lib.errors import InvalidInput, NotFound
from platform_lib.model import App, Plan, Platform, Step
from platform_lib.rules import history
from platform_lib.rules.history import Candidate
from platform_lib.wire import argocd
from platform_lib.wire.git import repository

Method = Literal["revert", "history"]
_METHODS = ("revert", "history")


def targets(platform: Platform, app: App, *, limit: int = 50) -> list[Candidate]:
    """Return the revisions of an application, newest first, each with why it is no target.

    Args:
        platform: Where.
        app: What.
        limit: Commits to look back.
    """
    repo = repository(platform)
    revisions = repo.log(app, limit=limit)
    rows = _history_rows(platform, app)
    contents = repo.contents(
        [*(revision.sha for revision in revisions), *(str(row["revision"]) for row in rows)], app.path
    )
    deployed = {contents[row["revision"]]: int(row["id"]) for row in rows if row.get("revision") in contents}
    reverted = {sha: by[:7] for sha, by in repo.reverted(app, limit=limit).items()}
    reverted = history.abandoned(revisions, rows) | reverted
    return history.candidates(revisions, contents, deployed=deployed, reverted=reverted)


def plan_rollback(platform: Platform, app: App, *, to: str | None = None, method: Method = "revert") -> Plan:
    """Say what a rollback would do, without doing it.

    Args:
        platform: Where.
        app: What.
        to: Commit or version; None for the newest good revision.
        method: ``revert`` commits the old content again; ``history`` lets Argo CD deploy an old row.

    Raises:
        NoRollbackTarget: No revision qualifies; says of each why.
        RollbackRefused: The named revision is refused.
    """
    found = targets(platform, app)
    target = choose(found, to, method)
    undone = history.undone(found, target)
    goal = f"{target.revision.version} ({target.revision.sha[:7]})"
    taken = ", ".join(f"{revision.version or '?'} ({revision.sha[:7]})" for revision in undone[:5])
    inputs = {"app": app.name, "to": target.revision.sha, "method": method}
    if method == "revert":
        steps: tuple[Step, ...] = (
            Step("revert", app.path, f"take back {taken}, so that the folder equals {goal}"),
            Step("push", platform.gitops_branch, "git stays the truth; hooks run and automation stays on"),
            Step("wait", f"Application/{app.name}", "until every pod runs the old version and is ready"),
        )
    else:
        names = ", ".join([*argocd.parents(platform, app), app.application_name])
        steps = (
            Step("pause", names, "Argo CD refuses a rollback under automation, and parents would heal the pause"),
            Step("rollback", f"history id {target.history_id}", f"deploy {goal} again; sync hooks do not run"),
            Step("wait", f"Deployment/{app.name}", "until every pod runs the old version and is ready"),
            Step("keep paused", names, f"git still says {taken}: resuming would sync forward to it"),
        )
    return Plan(f"roll back {app.name} to {goal}", steps, inputs)


def choose(found: list[Candidate], to: str | None, method: str) -> Candidate:
    """Choose the target; refuse an unknown method."""
    if method not in _METHODS:
        raise InvalidInput(f"method {method!r} - expected one of {', '.join(_METHODS)}")
    return history.choose(found, to=to, need_history=method == "history")


def _history_rows(platform: Platform, app: App) -> list[dict[str, Any]]:
    """Return Argo CD's rows that name one commit; none when the Application is absent.

    Rows of several sources have one commit each and no answer in this repository: ``redeploy.to_row`` is for them.
    """
    try:
        return [row for row in sync.history(platform, app) if row.get("revision")]
    except NotFound:
        return []
