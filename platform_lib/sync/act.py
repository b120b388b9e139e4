"""How is an application brought to a commit? By its automation, or by asking for a sync."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from platform_lib import journal
from platform_lib.errors import InvalidInput, Locked, NotFound
from platform_lib.model import App, AppState, Obj, Outcome, Platform
from platform_lib.operation import operation
from platform_lib.rules import application as rules
from platform_lib.rules import manifests, syncchecks
from platform_lib.rules.syncchecks import PAUSED_ANNOTATION, Facts
from platform_lib.sync.reading import LOOK_AGAIN_S, Progress, follow, refresh
from platform_lib.sync.ready import facts_of, ready
from platform_lib.sync.stopping import clear_the_way
from platform_lib.sync.waiting import Wanted, request_newest, wait_synced
from platform_lib.wait import Deadline, now
from platform_lib.wire import argocd
from platform_lib.wire.git import repository


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
    supersede: bool = True,
    progress: Progress | None = None,
) -> Outcome:
    """Sync an application now and wait until it runs the revision.

    Args:
        platform: Where.
        app: What.
        revision: Commit; None for the newest one of the branch. With automation on it must be that one. With
            several sources it stays None: each goes to what it follows.
        prune: Delete objects that are no longer in git; Argo CD never implies it.
        hooks: Run sync hooks.
        timeout_s: Deadline of the whole operation in seconds.
        wait: False returns when the operation is requested.
        supersede: Terminate an operation that keeps retrying an older revision, instead of being refused.
        progress: Called with each new observation.

    Raises:
        SyncRefused: A window, a pause or the project forbids it; nothing was changed.
        SyncFailed: The operation failed, or cannot succeed.
        Locked: Another operation runs.
        WaitTimeout: The deadline passed; carries what was seen last.
    """
    started, said, deadline = now(), progress or (lambda _line: None), Deadline(timeout_s)
    facts = ready(platform, app)
    several = len(rules.sources(facts.application)) > 1
    if several and revision:
        raise InvalidInput(
            f"{app.name} - has several sources, one commit was given, expected none",
            hint="leave the commit out: each source goes to the newest commit of what it follows",
        )
    target, asked = ("", None) if several else _target(platform, revision)
    if supersede and target:
        _supersede(platform, app, facts.application, target, deadline, said)
    identity = argocd.request_sync(platform, app, revision=asked, prune=prune, hooks=hooks)
    journal.current().append("argocd", "operation", app.name, cause=target, operation=identity, prune=prune)
    if wait:
        wait_synced(
            platform,
            app,
            revision=target,
            timeout_s=max(deadline.left_s, 0.01),
            since=started,
            known=rules.errors_of(facts.application),
            operation=identity,
            supersede=supersede,
            progress=progress,
        )
    shown = target[:7] or "what its sources name"
    return Outcome(
        "sync",
        True,
        started,
        now(),
        figures={"commit": target, "operation": identity},
        message=f"{app.name} {'runs' if wait else 'was asked to run'} {shown}",
    )


def _target(platform: Platform, revision: str | None) -> tuple[str, str | None]:
    """Return the wanted commit, and what to ask Argo CD for.

    The newest commit is what the branch means; named as a commit, Argo CD would refuse it under automation.
    """
    repo = repository(platform)
    newest = repo.head()
    target = repo.resolve(revision) if revision else newest
    return target, None if target == newest else target


def _supersede(
    platform: Platform, app: App, application: Obj, revision: str, deadline: Deadline, progress: Progress
) -> bool:
    """End an operation that keeps retrying an older revision; return whether there was one."""
    wanted = Wanted(repository(platform), app, revision)
    if not rules.stands_in_the_way(application, wanted, wanted.follows):
        return False
    clear_the_way(platform, app, application, revision, deadline, progress)
    return True


def reach(
    platform: Platform,
    app: App,
    *,
    revision: str,
    timeout_s: float = 120.0,
    since: datetime | None = None,
    known: Iterable[tuple[str, str]] = (),
    wait: bool = True,
    supersede: bool = True,
    progress: Progress | None = None,
) -> AppState | None:
    """Bring an application to the newest commit of its branch: by its automation, or by asking for a sync.

    Where automation is off, held back by a window, or has given up on this commit, nothing would happen by
    itself, so a sync is requested. Automation that a rollback by history had paused is switched on again
    afterwards: git names again what runs.

    Args:
        platform: Where.
        app: What.
        revision: That commit.
        timeout_s: Deadline in seconds.
        since: When the change was requested; see ``wait_synced``.
        known: Error conditions that were there before.
        wait: False returns when the work is requested.
        supersede: Terminate an operation that keeps retrying an older revision.
        progress: Called with each new observation.

    Returns:
        The state that was reached, None without ``wait``.

    Raises:
        SyncFailed, WaitTimeout: See ``wait_synced``.
    """
    since, deadline, said = since or now(), Deadline(timeout_s), progress or (lambda _line: None)
    facts = facts_of(platform, app)
    identity = _start(platform, app, facts, revision, deadline, supersede, said)
    if not wait:
        return None
    state_then = wait_synced(
        platform,
        app,
        revision=revision,
        timeout_s=max(deadline.left_s, 0.01),
        since=since,
        known={*known, *(rules.errors_of(facts.application) if identity else ())},
        operation=identity,
        supersede=supersede,
        progress=progress,
    )
    resume(platform, app)
    return state_then


def _start(
    platform: Platform,
    app: App,
    facts: Facts,
    revision: str,
    deadline: Deadline,
    supersede: bool,
    progress: Progress,
) -> str:
    """Set the way to a commit going; return the identity of the operation where one was requested."""
    if supersede and _supersede(platform, app, facts.application, revision, deadline, progress):
        return request_newest(platform, app, revision, progress)
    if not rules.automated(facts.application):
        return _request_when_free(platform, app, revision, deadline, progress)
    if syncchecks.automation_waits(facts):
        progress(f"a sync window holds automation of {app.name} back and allows a sync by hand: asked for one")
        return request_newest(platform, app, revision, progress)
    if rules.given_up(facts.application) and rules.sync_revision(facts.application) == revision:
        progress(f"automation of {app.name} has tried {revision[:7]} and does not try again: asked for a sync")
        return request_newest(platform, app, revision, progress)
    refresh(platform, app)
    return ""


def resume(platform: Platform, app: App) -> list[str]:
    """Switch on again the automation that a rollback by history paused; Argo CD then syncs to what git says.

    A parent stays paused while another of its Applications is: it would switch that one on too, and so deploy again
    what was rolled back there.

    Returns:
        The Applications that were resumed; those that somebody else paused stay paused.
    """
    above = argocd.parents(platform, app)
    resumed = [app.application_name] if argocd.resume_automation(platform, app) else []
    for name in reversed(above):
        held = _paused_below(platform, name)
        if held:
            journal.current().append("argocd", "automation stays paused", name, because=held)
        elif argocd.resume_automation(platform, name):
            resumed.append(name)
    if resumed:
        journal.current().append("argocd", "automation resumed", app.name, applications=resumed)
    return resumed


def _paused_below(platform: Platform, parent: str) -> list[str]:
    """Return the Applications below one of ours that a rollback by history still holds; none where it is not paused."""
    application = argocd.read(platform, parent)
    if PAUSED_ANNOTATION not in manifests.annotations(application):
        return []
    found = []
    for row in manifests.status(application).get("resources") or []:
        if (row.get("group"), row.get("kind")) != ("argoproj.io", "Application"):
            continue
        elsewhere = row.get("namespace") not in (None, "", platform.argocd_namespace)
        name = f"{row['namespace']}_{row['name']}" if elsewhere else str(row["name"])
        try:
            child = argocd.read(platform, name)
        except NotFound:
            continue  # it is gone: nothing to hold back
        found += [name] if PAUSED_ANNOTATION in manifests.annotations(child) else []
    return found


def _request_when_free(platform: Platform, app: App, revision: str, deadline: Deadline, progress: Progress) -> str:
    """Request a sync to a commit as soon as no other operation holds the Application."""
    with follow(platform, app) as view:
        while True:
            try:
                identity = argocd.request_sync(platform, app, revision=revision, prune=_prunes(platform, app))
            except Locked as error:
                if deadline.expired():
                    raise
                progress(error.message)
            else:
                progress(f"automation of {app.name} is off: asked for a sync to {revision[:7]}")
                return identity
            view.wait(min(LOOK_AGAIN_S, max(deadline.left_s, 0.01)))


def _prunes(platform: Platform, app: App) -> bool:
    """Tell whether automation, where it is only paused, would delete what git no longer has."""
    policy = (argocd.read(platform, app).get("spec") or {}).get("syncPolicy") or {}
    return bool((policy.get("automated") or {}).get("prune"))
