"""How is a row of Argo CD's history deployed again? With automation paused, which is said aloud.

Hooks do not run, the specification stays as it is, and git still names the other version: automation that is
resumed before git is corrected syncs forward to it.
"""

from __future__ import annotations

from collections.abc import Callable

from platform_lib import sync
from platform_lib.errors import SyncFailed
from platform_lib.model import App, Platform
from platform_lib.rules import application as rules
from platform_lib.rules import manifests, workload
from platform_lib.rules.history import Candidate
from platform_lib.wait import Deadline
from platform_lib.wire import argocd
from platform_lib.wire.follow import Follow
from platform_lib.wire.git import repository
from platform_lib.wire.kube import APPLICATIONS, DEPLOYMENTS

Progress = Callable[[str], None]
_LOOK_S = 1.0


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
    deadline = Deadline(timeout_s)
    paused = [name for name in [*argocd.parents(platform, app), app.name] if argocd.pause_automation(platform, name)]
    progress(f"automation paused for {', '.join(paused) or 'nothing (it was off)'}; sync hooks do not run")
    try:
        _wait_idle(platform, app, deadline, progress)
        identity = argocd.request_rollback(platform, app, history_id=target.history_id or 0, prune=prune)
        _wait_rolled_back(platform, app, identity, target, deadline, progress)
    except BaseException:
        for name in reversed(paused):
            argocd.resume_automation(platform, name)
        raise
    same = repository(platform).same_content(target.revision.sha, _branch_head(platform), app.path)
    if paused and (same or resume):
        for name in reversed(paused):
            argocd.resume_automation(platform, name)
        if not same:
            progress("automation resumed as asked: Argo CD now syncs forward to what git says")
        return "resumed"
    if paused:
        progress("automation stays paused: git still names the bad version; correct git, then resume")
        return "paused (git still names the other version; after correcting git call rollback.resume)"
    return "unchanged"


def _branch_head(platform: Platform) -> str:
    """Return the newest commit of the GitOps branch."""
    return repository(platform).head()


def _wait_idle(platform: Platform, app: App, deadline: Deadline, progress: Progress) -> None:
    """Wait until no operation runs; one that waits to retry is stopped."""
    with sync.follow(platform, app) as view:
        while True:
            found = view.find(APPLICATIONS, app.name) or {}
            if not rules.busy(found):
                return
            if rules.retry_at(found) is not None:
                argocd.terminate(platform, app)
            progress(rules.describe(found))
            if deadline.expired():
                raise deadline.fail(f"{app.name} without an operation", rules.describe(found))
            view.wait(min(_LOOK_S, max(deadline.left_s, 0.01)))


def _wait_rolled_back(
    platform: Platform, app: App, identity: str, target: Candidate, deadline: Deadline, progress: Progress
) -> None:
    """Wait until our operation succeeded and every pod runs the target's image."""
    said = ""
    with sync.follow(platform, app) as view:
        while True:
            done, failed, seen = _rolled_back(view, app, identity, target)
            if seen != said:
                progress(seen)
            said = seen
            if failed:
                raise SyncFailed(
                    f"{app.name} - {failed}, expected to run {target.revision.version}",
                    hint="automation was switched on again; roll back by git revert instead",
                    app=app.name,
                    revision=target.revision.sha,
                )
            if done:
                return
            if deadline.expired():
                raise deadline.fail(f"{app.name} at {target.revision.version}", seen)
            view.wait(min(_LOOK_S, max(deadline.left_s, 0.01)))


def _rolled_back(view: Follow, app: App, identity: str, target: Candidate) -> rules.Judgement:
    """Judge a rollback by history: our operation first, then the Deployment."""
    found = view.find(APPLICATIONS, app.name) or {}
    deployment = view.find(DEPLOYMENTS, app.name)
    progress = workload.rollout_progress(deployment)
    seen = f"{rules.describe(found)}; {progress.seen}"
    if rules.operation_id(found) != identity:
        return rules.Judgement(False, "", seen)
    phase = rules.operation_state(found).get("phase")
    if phase in ("Failed", "Error") and not found.get("operation"):
        return rules.Judgement(False, f"rollback {phase}: {rules.operation_state(found).get('message')}", seen)
    image = manifests.image_of(deployment or {}) == target.revision.image
    # Sync status stays OutOfSync here: git still names the other version. Health must come back.
    healthy = rules.settled(found) and (manifests.status(found).get("health") or {}).get("status") == "Healthy"
    done = phase == "Succeeded" and healthy and progress.done and image
    return rules.Judgement(done, progress.failed if image else "", seen)
