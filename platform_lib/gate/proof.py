"""How is a bad version taken back, and what proves that users have their service back?"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from platform_lib import journal
from platform_lib.errors import PlatformError, RollbackRefused, UndoFailed
from platform_lib.model import App, Check, Outcome, Platform
from platform_lib.rollback import Method, rollback
from platform_lib.rollout import Watch
from platform_lib.rules import recovery
from platform_lib.rules.downtime import Samples
from platform_lib.wait import Deadline, uninterrupted
from platform_lib.wire.git import repository

Progress = Callable[[str], None]
_PATIENCE = 4.0
"""The proof may take so many times what it needs when nothing fails."""
_LOOK_S = 0.25


class TakenBack(NamedTuple):
    """A rollback as the gate did it: what it reported, or why it failed."""

    outcome: Outcome | None
    problem: PlatformError | None


def take_back(watch: Watch, version: str, method: Method, timeout_s: float, progress: Progress) -> TakenBack:
    """Roll back; an error of ours becomes part of the record.

    Args:
        watch: The entered watch.
        version: The bad version.
        method: ``revert`` or ``history``.
        timeout_s: Deadline of the recovery in seconds.
        progress: Called with each new observation.
    """
    try:
        require_ours(watch.platform, watch.app, version)
        outcome = rollback(watch.platform, watch.app, method=method, timeout_s=timeout_s, progress=progress)
    except PlatformError as error:
        progress(f"rollback failed: {error.message}")
        watch.mark("not_recovered", version=version, reason=error.message)
        return TakenBack(None, error)
    watch.mark("recovered", version=str(outcome.figures["to_version"]))
    if method == "history":
        progress("correcting git, so that automation can be resumed")
        rollback(watch.platform, watch.app, to=str(outcome.figures["to_commit"]), progress=progress)
    return TakenBack(outcome, None)


def require_ours(platform: Platform, app: App, version: str) -> None:
    """Refuse to take back what somebody else has put on top of our version since.

    Raises:
        RollbackRefused: Git names another version now.
    """
    newest = repository(platform).log(app, limit=1)
    if newest and newest[0].version != version:
        found = f"{newest[0].version} ({newest[0].sha[:7]} by {newest[0].author})"
        raise RollbackRefused(
            f"{app.name} - git names {found} now, not {version}",
            hint="somebody changed it during the gate; agree with them, then apqx rollback",
        )


def prove(watch: Watch, version: str, objective: float, progress: Progress) -> None:
    """Keep probing until there are enough requests to claim the recovery, or it is clear that there is none.

    Args:
        watch: The entered watch, after the rollback.
        version: The bad version; requests count once it stopped answering.
        objective: Allowed ratio of failed requests.
        progress: Called with what is waited for.
    """
    needed = recovery.requests_to_claim(0, objective)
    progress(f"proving the recovery with {needed} requests")
    deadline = Deadline(_PATIENCE * (needed / watch.probe.rate_rps) + 2.0)
    while not deadline.expired():
        after = requests_after(watch, version)
        if len(after.intended) >= recovery.wanted_requests(after, objective):
            break
        watch.wait(min(_LOOK_S, max(deadline.left_s, 0.01)))
    watch.mark("proven" if judged(watch, version, objective).status == "pass" else "not_proven")


def judged(watch: Watch, version: str, objective: float) -> Check:
    """Judge the service since the recovery, by the requests of users and the version that answers them."""
    return recovery.proof(requests_after(watch, version), version=watch.old_version, objective=objective)


def requests_after(watch: Watch, version: str) -> Samples:
    """Return the requests since the cluster reported the recovery and the bad version answered last."""
    marks = dict(watch.marks)
    since = marks.get("recovered") or marks.get("not_recovered")
    samples = watch.probe.samples()
    if since is None:
        return samples.between(float("inf"))
    return samples.between(recovery.since_last_answer(samples, version, since.timestamp()))


def undo(platform: Platform, app: App, before: str, version: str, progress: Progress) -> str:
    """Make git name again what it named before the gate, after an interruption; the cluster is not waited for.

    Args:
        platform: Where.
        app: What.
        before: Newest commit before the gate changed anything.
        version: The version that the gate deployed.
        progress: Called with what is done.

    Returns:
        One sentence that says where git stands now.

    Raises:
        UndoFailed: Git could not be changed back; it still asks for the version.
    """
    try:
        with uninterrupted():
            return _undo(platform, app, before, version, progress)
    except PlatformError as error:
        raise UndoFailed(
            f"{app.name} - interrupted, and {version} could not be taken back: {error.message}",
            hint=f"git may still name {version}: run apqx rollback {app.name} now",
        ) from error


def _undo(platform: Platform, app: App, before: str, version: str, progress: Progress) -> str:
    """Revert unless that has happened already, and say which."""
    repo = repository(platform)
    head = repo.head()
    if head == before:
        said = "git was not changed"
    elif repo.same_content(before, head, app.path):
        said = f"git names the version from before again ({head[:7]}); Argo CD rolls back to it"
    else:
        require_ours(platform, app, version)
        progress(f"interrupted: taking {version} back")
        outcome = rollback(platform, app, wait=False, progress=progress)
        commit, to = str(outcome.figures["commit"]), outcome.figures["to_version"]
        said = f"{version} is reverted to {to} in git ({commit[:7]}); Argo CD was told and not waited for"
    journal.current().append("gate", "interrupted", app.name, cause=version, state=said)
    progress(said)
    return said
