"""How is a row of Argo CD's history deployed again? With automation paused, which is said aloud.

Hooks do not run, the specification stays as it is, and git still names the other version: automation that is
resumed before git is corrected syncs forward to it.

Source: Argo CD v3.5.1, server/application/application.go (Rollback): apply strategy, no retry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_lib import journal, sync
from platform_lib.errors import PlatformError, RollbackRefused, SyncFailed, UndoFailed
from platform_lib.model import App, Obj, Outcome, Plan, Platform, Step, joined
from platform_lib.operation import operation
from platform_lib.rules import application as rules
from platform_lib.rules import manifests
from platform_lib.rules.history import Candidate
from platform_lib.rules.syncchecks import PAUSED_ANNOTATION
from platform_lib.wait import Deadline, monotonic, now, uninterrupted
from platform_lib.wire import argocd
from platform_lib.wire.argocd import View
from platform_lib.wire.git import repository
from platform_lib.wire.kube import APPLICATIONS, DEPLOYMENTS, PODS

Progress = Callable[[str], None]
_LOOK_S = 1.0
_LOST_AFTER_S = 3.0
NO_HOOKS = "sync hooks do not run"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the history as a goal.

    Attributes:
        history_id: Its id.
        revision: Commit, of several sources joined.
        said: How people call it.
        image: What the Deployment has to name then; empty when it is not known.
    """

    history_id: int
    revision: str
    said: str
    image: str = ""


def by_history(
    platform: Platform,
    app: App,
    target: Candidate,
    *,
    timeout_s: float,
    prune: bool,
    resume: bool,
    progress: Progress,
) -> str:
    """Let Argo CD deploy a row of its history again; return what became of automation."""
    revision = target.revision
    row = Row(target.history_id or 0, revision.sha, revision.version, revision.image)
    paused = _deploy(platform, app, row, timeout_s=timeout_s, prune=prune, progress=progress)
    repo = repository(platform)
    same = repo.same_content(revision.sha, repo.head(), app.path)
    return _afterwards(platform, app, paused, same, resume, progress)


def plan_to_row(platform: Platform, app: App, *, history_id: int | None = None, prune: bool = False) -> Plan:
    """Say what ``to_row`` would do, without doing it.

    Args:
        platform: Where.
        app: What.
        history_id: Row; None for the one before the newest.
        prune: Delete objects that the old revision does not have.

    Raises:
        RollbackRefused: There is no such row.
    """
    row = _row(argocd.read(platform, app), history_id)
    names = joined([*argocd.parents(platform, app), app.application_name])
    pruned = "objects that it does not have are deleted" if prune else "nothing is pruned"
    steps = (
        Step("pause", names, "Argo CD refuses a rollback under automation, and parents would heal the pause"),
        Step("rollback", row.said, f"deployed again; {NO_HOOKS}; {pruned}"),
        Step("wait", f"Deployment/{app.name}", "until every pod runs the old version and is ready"),
        Step("keep paused", names, "git still says the newer one: resuming would sync forward to it"),
    )
    inputs = {"app": app.name, "row": row.history_id, "to": row.revision, "prune": prune}
    return Plan(f"roll back {app.name} to {row.said}", steps, inputs)


@operation("rollback to row")
def to_row(
    platform: Platform,
    app: App,
    *,
    history_id: int | None = None,
    timeout_s: float = 120.0,
    prune: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Deploy a row of Argo CD's history again without asking git: for several sources, or a git that is away.

    Args:
        platform: Where.
        app: What.
        history_id: Row; None for the one before the newest, as ``argocd app rollback`` takes.
        timeout_s: Deadline in seconds.
        prune: Delete objects that the old revision does not have.
        resume: Switch automation on again at once although that syncs forward to what git says.
        progress: Called with each new observation.

    Returns:
        Figures ``history_id``, ``to_commit``, ``automation``, ``recover_s``.

    Raises:
        RollbackRefused: There is no such row; nothing was changed.
        SyncRefused: A window, a pause or the project forbids it; nothing was changed.
        SyncFailed, WaitTimeout: The old row did not come back; automation is on again.
    """
    started, said = now(), progress or (lambda _line: None)
    row = _row(sync.ready(platform, app).application, history_id)
    journal.current().append("rollback", "decision", app.name, to=row.revision, method="history")
    paused = _deploy(platform, app, row, timeout_s=timeout_s, prune=prune, progress=said)
    automation = _afterwards(platform, app, paused, False, resume, said)
    return _outcome(app, row, automation, started)


def _row(application: Obj, history_id: int | None) -> Row:
    """Return the row that is meant; the newest is what runs now."""
    rows = rules.history(application)
    name, ids = manifests.name(application), joined(str(row.get("id")) for row in rows)
    if history_id is None and len(rows) < 2:
        raise RollbackRefused(
            f"{name} - its history has {len(rows)} rows, a rollback needs an earlier one",
            hint="Argo CD keeps successful deployments only; older versions come back by git revert",
        )
    found = rows[-2] if history_id is None else next((row for row in rows if row.get("id") == history_id), None)
    if found is None:
        raise RollbackRefused(
            f"{name} - does not have deployment with id {history_id}, it has {ids}", hint="choose one of those"
        )
    revision = str(found.get("revision") or ",".join(found.get("revisions") or []))
    short = joined(one[:7] for one in revision.split(","))
    return Row(int(found["id"]), revision, f"history id {found['id']} ({short})")


def _outcome(app: App, row: Row, automation: str, started: datetime) -> Outcome:
    """Build the outcome and write it to the journal."""
    finished = now()
    figures: dict[str, Any] = {
        "method": "history",
        "history_id": row.history_id,
        "to_commit": row.revision,
        "automation": automation,
        "recover_s": round((finished - started).total_seconds(), 3),
    }
    journal.current().append("rollback", "outcome", app.name, cause=row.revision, **figures)
    message = f"{app.name} is back at {row.said} by history ({NO_HOOKS}); automation is {automation}"
    return Outcome("rollback", True, started, finished, figures=figures, message=message)


def _deploy(
    platform: Platform, app: App, row: Row, *, timeout_s: float, prune: bool, progress: Progress
) -> list[App | str]:
    """Pause automation, deploy a row and wait until it runs; return whose automation was paused.

    When it fails, automation is switched on again: what was there before comes back.
    """
    deadline = Deadline(timeout_s)
    above: list[App | str] = list(argocd.parents(platform, app))
    paused: list[App | str] = []
    try:
        for one in [*above, app]:
            if argocd.pause_automation(platform, one):
                paused.append(one)  # noqa: PERF401 - what was paused before an error has to come back
        progress(f"automation paused for {joined(map(_name, paused), empty='nothing (it was off)')}; {NO_HOOKS}")
        _wait_idle(platform, app, deadline, progress)
        identity = argocd.request_rollback(platform, app, history_id=row.history_id, prune=prune)
        _wait_rolled_back(platform, app, identity, row, deadline, progress)
    except BaseException as error:
        with uninterrupted():
            _put_back(platform, paused, error)
        raise
    return paused


def _name(one: App | str) -> str:
    """Return the name of an Application."""
    return one if isinstance(one, str) else one.application_name


def _put_back(platform: Platform, paused: list[App | str], error: BaseException) -> None:
    """Switch automation on again after a failure, the innermost first: a parent would overwrite what it finds.

    Raises:
        UndoFailed: It could not be switched on everywhere; names where not.
    """
    left = []
    for one in reversed(paused):
        try:
            argocd.resume_automation(platform, one)
        except PlatformError as why:
            left.append((_name(one), why.message))
    if left:
        names = joined(name for name, _ in left)
        raise UndoFailed(
            f"automation of {names} - stays paused after a rollback that failed ({error}): {left[0][1]}",
            hint=f"when the API answers again: apqx app resume {left[0][0]}",
        ) from error


def _afterwards(
    platform: Platform, app: App, paused: list[App | str], same: bool, resume: bool, progress: Progress
) -> str:
    """Resume automation where git holds the same content, or where that was asked for; say what became of it.

    An earlier rollback of ours may have paused it: that counts like a pause of this one.
    """
    if not paused and PAUSED_ANNOTATION not in manifests.annotations(argocd.read(platform, app)):
        return "unchanged"
    if same or resume:
        sync.resume(platform, app)
        if not same:
            progress("automation resumed as asked: Argo CD now syncs forward to what git says")
        return "resumed"
    way_on = f"correct git, then apqx app resume {app.name}"
    progress(f"automation stays paused, because git still names the other version: {way_on}")
    return f"paused (git still names the other version: {way_on})"


def _wait_idle(platform: Platform, app: App, deadline: Deadline, progress: Progress) -> None:
    """Wait until no operation runs; one that waits to retry is stopped."""
    with sync.follow(platform, app) as view:
        while True:
            found = view.find(APPLICATIONS, app.application_name) or {}
            if not rules.busy(found):
                return
            if rules.retry_at(found) is not None:
                argocd.terminate(platform, app)
            progress(rules.describe(found))
            if deadline.expired():
                hint = f"end it with apqx app terminate {app.name}; apqx app explain says what it waits for"
                raise deadline.fail(f"{app.name} without an operation", rules.describe(found), hint=hint)
            view.wait(min(_LOOK_S, max(deadline.left_s, 0.01)))


def _wait_rolled_back(
    platform: Platform, app: App, identity: str, row: Row, deadline: Deadline, progress: Progress
) -> None:
    """Wait until our operation succeeded and every pod runs the target's image."""
    said, missing_since = "", None
    with sync.follow(platform, app) as view:
        while True:
            found = view.find(APPLICATIONS, app.application_name) or {}
            gone = _gone(found, identity)
            missing_since = (missing_since or monotonic()) if gone else None
            lost = gone if missing_since is not None and monotonic() - missing_since >= _LOST_AFTER_S else ""
            done, failed, seen = _rolled_back(platform, view, app, found, identity, row)
            if seen != said:
                progress(seen)
            said = seen
            if failed or lost:
                raise SyncFailed(
                    f"{app.name} - {failed or lost}, expected to run {row.said}",
                    hint="automation was switched on again; roll back by git revert instead",
                    app=app.name,
                    revision=row.revision,
                )
            if done:
                return
            if deadline.expired():
                raise deadline.fail(f"{app.name} at {row.said}", seen)
            view.wait(min(_LOOK_S, max(deadline.left_s, 0.01)))


def _gone(application: Obj, identity: str) -> str:
    """Say that our operation is not there any more; a reading that is older than the request shows that too."""
    fate = rules.fate(application, identity)
    return f"our rollback was {fate.kind}: {fate.said}" if fate.kind in ("replaced", "lost") else ""


def _rolled_back(platform: Platform, view: View, app: App, found: Obj, identity: str, row: Row) -> rules.Judgement:
    """Judge a rollback by history: our operation first, then the Deployment."""
    deployment = view.find(DEPLOYMENTS, app.name)
    progress = sync.pods_progress(platform, app, deployment, view.items(PODS))
    trouble = view.trouble()
    seen = f"{rules.describe(found)}; {progress.seen}" + (f" ({trouble})" if trouble else "")
    if not rules.carries(found, identity):
        return rules.Judgement(False, "", seen)
    phase = rules.operation_state(found).get("phase")
    if phase in ("Failed", "Error") and not found.get("operation"):
        return rules.Judgement(False, f"rollback {phase}: {rules.operation_state(found).get('message')}", seen)
    image = not row.image or manifests.image_of(deployment or {}) == row.image
    # Sync status stays OutOfSync here: git still names the other version. Health must come back.
    healthy = rules.settled(found) and (manifests.status(found).get("health") or {}).get("status") == "Healthy"
    rolled_out = progress.done and image if deployment is not None else not row.image
    return rules.Judgement(phase == "Succeeded" and healthy and rolled_out, progress.failed if image else "", seen)
