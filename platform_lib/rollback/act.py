"""How does an application get back to a good version? The rollback itself, with its figures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from platform_lib import journal, restore, sync
from platform_lib.model import App, Outcome, Platform
from platform_lib.operation import operation
from platform_lib.rollback.choice import Method, choose, targets
from platform_lib.rollback.redeploy import NO_HOOKS, by_history
from platform_lib.rules import history
from platform_lib.rules.history import Candidate
from platform_lib.wait import now
from platform_lib.wire.git import AUTHOR, Repository, repository

Progress = Callable[[str], None]


@operation("rollback", still=restore.moved)
def rollback(
    platform: Platform,
    app: App,
    *,
    to: str | None = None,
    method: Method = "revert",
    timeout_s: float = 120.0,
    wait: bool = True,
    prune: bool = False,
    resume: bool = False,
    author: str = AUTHOR,
    progress: Progress | None = None,
) -> Outcome:
    """Bring an application back to an earlier revision and wait until it runs.

    Args:
        platform: Where.
        app: What.
        to: Commit or version; None for the newest good revision.
        method: ``revert`` (default) or ``history``.
        timeout_s: Deadline in seconds.
        wait: False returns after the push (``revert`` only).
        prune: With ``history``: delete objects that the old revision does not have.
        resume: With ``history``: switch automation on again at once although that syncs forward. Without it,
            automation is resumed only if git holds the same content, and otherwise stays paused.
        author: ``Name <mail>`` of the commit.
        progress: Called with each new observation.

    Returns:
        Figures ``commit``, ``to_commit``, ``to_version``, ``decide_s`` (choosing the target), ``act_s``,
        ``recover_s`` (from the decision until every pod ran it), ``method``, ``automation``.

    Raises:
        NoRollbackTarget, RollbackRefused: No revision qualifies; nothing was changed.
        SyncRefused: A window, a pause or the project forbids it; nothing was changed.
        SyncFailed, WaitTimeout: The old version did not come back either.
    """
    started, said = now(), progress or (lambda _line: None)
    sync.ready(platform, app, change="rollback" if method == "revert" else "sync")
    found = targets(platform, app)
    target = choose(found, to, method)
    decided = now()
    said(f"rolling {app.name} back to {named(target)} by {method}")
    journal.current().append("rollback", "decision", app.name, to=target.revision.sha, method=method)
    if method == "history":
        commit, automation = (
            target.revision.sha,
            by_history(platform, app, target, timeout_s=timeout_s, prune=prune, resume=resume, progress=said),
        )
        acted, wait = decided, True
    else:
        commit, automation = _revert(repository(platform, author=author), app, found, target), "unchanged"
        acted = now()
        sync.reach(platform, app, revision=commit, timeout_s=timeout_s, wait=wait, since=decided, progress=progress)
    moments = _Moments(started, decided, acted, now())
    return _outcome(app, target, method, commit, automation, moments, waited=wait)


class _Moments(NamedTuple):
    """When a rollback began, chose, had written its change, and ended."""

    started: datetime
    decided: datetime
    acted: datetime
    finished: datetime


def named(target: Candidate) -> str:
    """Name a target for people: version and short commit."""
    return f"{target.revision.version or 'no version'} ({target.revision.sha[:7]})"


def _outcome(
    app: App, target: Candidate, method: Method, commit: str, automation: str, at: _Moments, *, waited: bool
) -> Outcome:
    """Build the outcome and write it to the journal."""
    decide_s = round((at.decided - at.started).total_seconds(), 3)
    act_s = round((at.acted - at.decided).total_seconds(), 3)
    figures: dict[str, Any] = {
        "method": method,
        "commit": commit,
        "to_commit": target.revision.sha,
        "to_version": target.revision.version,
        "automation": automation,
        "decide_s": decide_s,
        "act_s": act_s,
    }
    figures |= {"recover_s": round((at.finished - at.decided).total_seconds(), 3)} if waited else {}
    journal.current().append("rollback", "outcome", app.name, cause=commit, **figures)
    note = "" if method == "revert" else f" ({NO_HOOKS})"
    note += "" if automation in ("unchanged", "resumed") else f"; automation is {automation}"
    said = "is back at" if waited else "was told to go back to"
    return Outcome(
        "rollback",
        True,
        at.started,
        at.finished,
        figures=figures,
        stages=(
            ("choose target", decide_s),
            ("commit and push" if method == "revert" else "pause automation", act_s),
            ("recover" if waited else "refresh", (at.finished - at.acted).total_seconds()),
        ),
        message=f"{app.name} {said} {named(target)} by {method}{note}",
    )


def headline(outcome: Outcome) -> str:
    """Return the one line that a summary shows of a rollback."""
    figures = outcome.figures
    if "detect_s" in figures:
        parts = [f"{name} {figures[f'{name}_s']:.1f} s" for name in ("detect", "decide", "recover")]
        return ", ".join(parts)
    return f"back in {figures['recover_s']:.1f} s" if "recover_s" in figures else outcome.message


def _revert(repo: Repository, app: App, found: list[Candidate], target: Candidate) -> str:
    """Commit the target's content again, in the words of git revert; return the commit.

    The folder is set to the target's tree instead of reversing patches one by one: the result is the same,
    cannot conflict, and leaves other applications alone that a commit may have touched too.
    """
    undone = history.undone(found, target)
    revision = target.revision
    lines = [f"Roll back {app.name} to {revision.version} ({revision.sha[:7]})", ""]
    lines += [f"This reverts commit {taken.sha}, as far as {app.path} is concerned." for taken in undone]

    def edit(tree: Path) -> str:
        repo.restore(tree, revision.sha, app.path)
        return "\n".join(lines)

    commit = repo.change(edit)
    journal.current().append("git", "commit", app.name, cause="rollback", commit=commit or "")
    return commit or repo.head()
