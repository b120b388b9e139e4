"""How does an application reach a commit? Refresh, sync and wait through Argo CD, to *this* commit.

A wait never hangs and never answers for another revision: it has a deadline, says what it waits for, and
ends at once when waiting longer is pointless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from platform_lib import journal
from platform_lib.errors import GitError, Locked, SyncFailed
from platform_lib.model import App, AppState, Obj, Outcome, Platform, joined
from platform_lib.operation import operation
from platform_lib.rules import application as rules
from platform_lib.rules import manifests, workload
from platform_lib.wait import Deadline, now
from platform_lib.wire import argocd
from platform_lib.wire.follow import Follow, Topic
from platform_lib.wire.git import Repository, repository
from platform_lib.wire.kube import APPLICATIONS, DEPLOYMENTS, PODS, connect

Progress = Callable[[str], None]
NAME_LABEL = "app.kubernetes.io/name"
_LOOK_AGAIN_S = 1.0
"""A wait looks at least this often, although it is woken by watches: a lost event must not cost a deadline."""


def state(platform: Platform, app: App) -> AppState:
    """Read what Argo CD and Kubernetes say of an application now.

    Raises:
        NotFound: There is no such Application.
        Unreachable: The API does not answer.
    """
    kube = connect(platform)
    application = argocd.read(platform, app, kube)
    found = kube.find(DEPLOYMENTS, app.name, app.namespace)
    pods, _ = kube.list(PODS, app.namespace, labels=f"{NAME_LABEL}={app.name}")
    return rules.app_state(app.name, application, found, pods, now())


def deployment(platform: Platform, app: App) -> Obj | None:
    """Return the application's Deployment, or None when it is absent."""
    return connect(platform).find(DEPLOYMENTS, app.name, app.namespace)


def refresh(platform: Platform, app: App, *, hard: bool = False) -> None:
    """Ask Argo CD to look at git now, instead of at its next poll (two to three minutes)."""
    argocd.request_refresh(platform, app, hard=hard)


def history(platform: Platform, app: App) -> list[Obj]:
    """Return Argo CD's rows of successful deployments, oldest first (it keeps ten, and no failures)."""
    return argocd.history(argocd.read(platform, app))


def follow(platform: Platform, app: App, *, on_event: Callable[[str, str, Obj], None] | None = None) -> Follow:
    """Return a not yet opened view of an application: its Application, Deployments and pods."""
    topics = (
        Topic(APPLICATIONS, platform.argocd_namespace, fields=f"metadata.name={app.name}"),
        Topic(DEPLOYMENTS, app.namespace),
        Topic(PODS, app.namespace, labels=f"{NAME_LABEL}={app.name}"),
    )
    return Follow(connect(platform), topics, on_event=on_event)


@operation("sync")
def sync(
    platform: Platform,
    app: App,
    *,
    revision: str | None = None,
    prune: bool = False,
    hooks: bool = True,
    timeout_s: float = 120.0,
    wait: bool = True,
    progress: Progress | None = None,
) -> Outcome:
    """Sync an application now and wait until it runs the revision.

    Args:
        platform: Where.
        app: What.
        revision: Commit; None for the newest one of the branch. With automation on it must be that one.
        prune: Delete objects that are no longer in git; Argo CD never implies it.
        hooks: Run sync hooks.
        timeout_s: Deadline of the whole operation in seconds.
        wait: False returns when the operation is requested.
        progress: Called with each new observation.

    Raises:
        SyncFailed: The operation failed, or cannot succeed.
        Locked: Another operation runs.
        WaitTimeout: The deadline passed; carries what was seen last.
    """
    started = now()
    repo = repository(platform)
    newest = repo.head()
    target = repo.resolve(revision) if revision else newest
    # The newest commit is what the branch means; named as a commit, Argo CD would refuse it under automation.
    asked = None if target == newest else target
    identity = argocd.request_sync(platform, app, revision=asked, prune=prune, hooks=hooks)
    journal.current().append("argocd", "operation", app.name, cause=target, operation=identity, prune=prune)
    if wait:
        wait_synced(platform, app, revision=target, timeout_s=timeout_s, since=started, progress=progress)
    return Outcome(
        "sync",
        True,
        started,
        now(),
        figures={"commit": target, "operation": identity},
        message=f"{app.name} {'runs' if wait else 'was asked to run'} {target[:7]}",
    )


def reach(
    platform: Platform,
    app: App,
    *,
    revision: str,
    timeout_s: float = 120.0,
    since: datetime | None = None,
    known: Iterable[tuple[str, str]] = (),
    wait: bool = True,
    progress: Progress | None = None,
) -> AppState | None:
    """Bring an application to the newest commit of its branch: by its automation, or by asking for a sync.

    Where automation is off nothing would happen by itself, so a sync is requested. Automation that a rollback
    by history had paused is switched on again afterwards: git names again what runs.

    Args:
        platform: Where.
        app: What.
        revision: That commit.
        timeout_s: Deadline in seconds.
        since: When the change was requested; see ``wait_synced``.
        known: Error conditions that were there before.
        wait: False returns when the work is requested.
        progress: Called with each new observation.

    Returns:
        The state that was reached, None without ``wait``.

    Raises:
        SyncFailed, WaitTimeout: See ``wait_synced``.
    """
    since, deadline = since or now(), Deadline(timeout_s)
    if rules.automated(argocd.read(platform, app)):
        refresh(platform, app)
    else:
        _request_when_free(platform, app, revision, deadline, progress or (lambda _line: None))
    if not wait:
        return None
    left_s = max(deadline.left_s, 0.01)
    state_then = wait_synced(
        platform, app, revision=revision, timeout_s=left_s, since=since, known=known, progress=progress
    )
    resume(platform, app)
    return state_then


def resume(platform: Platform, app: App) -> list[str]:
    """Switch on again the automation that a rollback by history paused; Argo CD then syncs to what git says.

    Returns:
        The Applications that were resumed; those that somebody else paused stay paused.
    """
    names = [app.name, *reversed(argocd.parents(platform, app))]
    resumed = [name for name in names if argocd.resume_automation(platform, name)]
    if resumed:
        journal.current().append("argocd", "automation resumed", app.name, applications=resumed)
    return resumed


def _request_when_free(platform: Platform, app: App, revision: str, deadline: Deadline, progress: Progress) -> None:
    """Request a sync to a commit as soon as no other operation holds the Application."""
    policy = (manifests.spec(argocd.read(platform, app)).get("syncPolicy") or {}).get("automated") or {}
    with follow(platform, app) as view:
        while True:
            try:
                argocd.request_sync(platform, app, revision=revision, prune=bool(policy.get("prune")))
                progress(f"automation of {app.name} is off: asked for a sync to {revision[:7]}")
                return
            except Locked as error:
                if deadline.expired():
                    raise
                progress(error.message)
            view.wait(min(_LOOK_AGAIN_S, max(deadline.left_s, 0.01)))


def wait_synced(
    platform: Platform,
    app: App,
    *,
    revision: str,
    timeout_s: float = 120.0,
    since: datetime | None = None,
    known: Iterable[tuple[str, str]] = (),
    progress: Progress | None = None,
) -> AppState:
    """Wait until an application runs a commit: synced, healthy, and every pod replaced.

    A later commit counts when it leaves the application's folder as it is; one that changes it means that
    the wanted commit was superseded, which is an error and not a success.

    Args:
        platform: Where.
        app: What.
        revision: Full commit.
        timeout_s: Deadline in seconds; the default leaves room for one slow start of every pod.
        since: When the change was requested, so that an older failure is not held against it; default now.
        known: Error conditions that were there before.
        progress: Called with each new observation.

    Returns:
        The state that satisfied the wait.

    Raises:
        SyncFailed: The operation, the manifests, the Deployment or a pod failed for good; names them.
        WaitTimeout: The deadline passed; carries what was seen last.
    """
    since = since or now()
    deadline = Deadline(timeout_s)
    wanted = Wanted(repository(platform), app, revision)
    said, asked = "", argocd.request_refresh(platform, app)
    with follow(platform, app) as view:
        while True:
            verdict = _look(view, app, wanted, since, known)
            if verdict.seen != said and progress is not None:
                progress(verdict.seen)
            said = verdict.seen
            if verdict.failed:
                raise _sync_failed(view, app, revision, verdict.failed)
            if verdict.done:
                return _state_of(view, app)
            if deadline.expired():
                hint = f"see apqx status and apqx logs {app.name}"
                raise deadline.fail(f"{app.name} at {revision[:7]}", said or "nothing", hint=hint)
            asked = _refresh_again(platform, app, view, wanted, asked)
            view.wait(min(_LOOK_AGAIN_S, max(deadline.left_s, 0.01)))


class Wanted:
    """Answers whether a revision counts as the wanted one; asks git once per revision.

    Args:
        repo: The GitOps repository.
        app: Its folder decides: a later commit that leaves it as it is counts too.
        revision: The wanted commit.
    """

    def __init__(self, repo: Repository, app: App, revision: str) -> None:
        self._repo, self._app, self._revision = repo, app, revision
        self.image = repo.image_at(revision, app)
        self._answers = {revision: True, "": False}
        self._later = {"": False}

    def __call__(self, revision: str) -> bool:
        """Tell whether the revision counts as the wanted one."""
        if revision not in self._answers:
            try:
                self._answers[revision] = self._repo.same_content(self._revision, revision, self._app.path)
            except GitError:
                return False  # asked again at the next look; a git outage must not be remembered as "no"
        return self._answers[revision]

    def superseded_by(self, revision: str) -> bool:
        """Tell whether the revision comes after the wanted one and changes the application's folder."""
        if revision not in self._later:
            self._later[revision] = self._repo.is_ancestor(self._revision, revision)
        return self._later[revision] and not self(revision)


def _look(view: Follow, app: App, wanted: Wanted, since: datetime, known: Iterable[tuple[str, str]]) -> rules.Judgement:
    """Judge once what the watches show: Argo CD first, then the Deployment and its pods."""
    application = view.find(APPLICATIONS, app.name)
    found = rules.judge(application, wanted=wanted, since=since, known=known)
    trouble = view.trouble()
    seen = f"{found.seen} ({trouble})" if trouble else found.seen
    if found.failed or application is None:
        return found._replace(seen=seen)
    if wanted.superseded_by(rules.sync_revision(application)):
        newer = rules.sync_revision(application)[:7]
        return rules.Judgement(False, f"superseded by {newer} before it was reached", seen)
    synced = rules.app_state(app.name, application, None, (), since).sync_status == "Synced"
    if not synced or not wanted(rules.sync_revision(application)):
        return found._replace(seen=seen)
    return _look_at_pods(view, app, found._replace(seen=seen), wanted, since)


def _look_at_pods(view: Follow, app: App, found: rules.Judgement, wanted: Wanted, since: datetime) -> rules.Judgement:
    """Hold the judgement against the Deployment itself, whose state Argo CD reports a moment late.

    Only pods of this change count: those of a broken release that is just being replaced still crash.
    """
    deployment = view.find(DEPLOYMENTS, app.name)
    if deployment is None:
        return found
    image = manifests.image_of(deployment)
    if wanted.image and image != wanted.image:
        return rules.Judgement(False, "", f"{found.seen}; Deployment/{app.name} names {image[-12:]} still")
    rollout = workload.rollout_progress(deployment)
    seen = f"{found.seen}; {rollout.seen}"
    failures = workload.pod_failures(view.items(PODS), image=image, since=since)
    if failures:
        seen += f" [{joined(str(failure) for failure in failures[:3])}]"
    hopeless = workload.hopeless(failures)
    failed = rollout.failed or joined((str(failure) for failure in hopeless[:3]), empty="")
    done = found.done and rollout.done
    return rules.Judgement(done, "" if done else failed, seen)


def _refresh_again(platform: Platform, app: App, view: Follow, wanted: Wanted, asked: datetime) -> datetime:
    """Repeat a refresh that a running comparison swallowed (argo-cd pull request 28414); at most one a second."""
    application = view.find(APPLICATIONS, app.name)
    if application is None or wanted(rules.sync_revision(application)):
        return asked
    pending = rules.REFRESH_ANNOTATION in manifests.annotations(application)
    if pending or (now() - asked).total_seconds() < _LOOK_AGAIN_S:
        return asked
    return argocd.request_refresh(platform, app)


def _sync_failed(view: Follow, app: App, revision: str, why: str) -> SyncFailed:
    """Build the error; its hint names the way out."""
    application = view.find(APPLICATIONS, app.name) or {}
    return SyncFailed(
        f"{app.name} - {why}, expected to run {revision[:7]}",
        hint=f"correct it in git, or go back with apqx rollback {app.name}",
        app=app.name,
        revision=revision,
        phase=rules.operation_state(application).get("phase") or "",
        resources=rules.failed_rows(application),
    )


def _state_of(view: Follow, app: App) -> AppState:
    """Build the state from what the watches show."""
    return rules.app_state(
        app.name,
        view.find(APPLICATIONS, app.name),
        view.find(DEPLOYMENTS, app.name),
        view.items(PODS),
        now(),
    )
