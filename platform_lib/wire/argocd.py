"""How does the library drive Argo CD? Through the Application resource alone: guarded writes, no REST.

What a status means is decided in ``rules.application``; waiting belongs to ``sync``.

Source: Argo CD v3.5.1, server/application/application.go (what the server helper would refuse, this
module refuses too, because the controller itself does not).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from platform_lib.errors import Conflict, Locked, NotFound, RollbackRefused, SyncFailed
from platform_lib.model import App, Obj, Platform
from platform_lib.rules import application as rules
from platform_lib.rules import manifests
from platform_lib.wait import now
from platform_lib.wire.kube import APPLICATIONS, JSON_PATCH, Kube, connect

_ATTEMPTS = 5
PAUSED_ANNOTATION = "apqx.dev/automation-paused"
_NO_HOOKS: Mapping[str, Any] = {"apply": {}}
_HOOKS: Mapping[str, Any] = {"hook": {}}


def read(platform: Platform, app: App | str, kube: Kube | None = None) -> Obj:
    """Return the Application.

    Raises:
        NotFound: There is none of that name.
    """
    name = app if isinstance(app, str) else app.name
    kube = kube or connect(platform)
    try:
        return kube.get(APPLICATIONS, name, platform.argocd_namespace)
    except NotFound as error:
        raise NotFound(
            f"Application {name} - absent in namespace {platform.argocd_namespace}",
            hint="apply the root Application from gitops/bootstrap, or check the name",
            status=404,
            reason="NotFound",
        ) from error


def _update(platform: Platform, name: str, kube: Kube, change: Callable[[Obj], Obj | None]) -> Obj:
    """Write a merge patch that is guarded by the version it was decided on; decide again on conflict."""
    last: Conflict | None = None
    for _ in range(_ATTEMPTS):
        seen = read(platform, name, kube)
        patch = change(seen)
        if patch is None:
            return seen
        patch.setdefault("metadata", {})["resourceVersion"] = manifests.resource_version(seen)
        try:
            return kube.patch(APPLICATIONS, name, patch, platform.argocd_namespace)
        except Conflict as error:
            last = error
    raise last or Conflict(f"Application {name} - changed {_ATTEMPTS} times while writing", status=409)


def request_refresh(platform: Platform, app: App | str, *, hard: bool = False) -> datetime:
    """Ask Argo CD to resolve the branch and compare again.

    Args:
        platform: Where.
        app: Which Application.
        hard: Also forget cached manifests.

    Returns:
        The time of the request; a comparison that began later has seen it.
    """
    name = app if isinstance(app, str) else app.name
    asked = now()
    annotation = {rules.REFRESH_ANNOTATION: "hard" if hard else "normal"}
    connect(platform).patch(APPLICATIONS, name, {"metadata": {"annotations": annotation}}, platform.argocd_namespace)
    return asked


def request_sync(
    platform: Platform,
    app: App,
    *,
    revision: str | None = None,
    prune: bool = False,
    hooks: bool = True,
    dry_run: bool = False,
    source: Obj | None = None,
    retry: bool = True,
    user: str = "apqx",
) -> str:
    """Write a sync operation and return the identity by which its state is recognised.

    Args:
        platform: Where.
        app: Which Application.
        revision: Commit to sync to; None for the target revision of its specification.
        prune: Delete what is no longer in git; never implied.
        hooks: False applies without hooks, as a rollback does.
        dry_run: Only say what would be done.
        source: Overrides the source; used by a rollback to a row of the history.
        retry: Copy the retry policy of the specification, as the server would.
        user: Written as the initiator.

    Raises:
        Locked: Another operation is requested or runs.
        SyncFailed: Automation follows a branch and another revision was asked for.
    """
    identity = str(uuid4())
    kube = connect(platform)

    def change(seen: Obj) -> Obj:
        _refuse(seen, app, revision if source is None else None)
        operation = _operation(seen, revision, prune, hooks, dry_run, source, retry)
        operation["initiatedBy"] = {"username": user}
        operation["info"] = [{"name": rules.OPERATION_ID, "value": identity}]
        # The old state must be nulled in the same write: it is stored by merge patch, and what the new
        # state omits would survive from it (argo-cd issues 28701, 26530; delete when 3.6 is the minimum).
        return {"operation": operation, "status": {"operationState": None}}

    _update(platform, app.name, kube, change)
    return identity


def _refuse(seen: Obj, app: App, revision: str | None) -> None:
    """Apply the refusals of the Argo CD server."""
    if manifests.deleting(seen):
        raise SyncFailed(f"{app.name} - is being deleted, so it cannot be synced", app=app.name)
    if seen.get("operation"):
        operation = rules.operation_state(seen)
        raise Locked(
            f"{app.name} - another operation is {operation.get('phase') or 'requested'}, none was expected",
            hint="wait for it, or terminate it",
            holder=str((seen["operation"].get("initiatedBy") or {}).get("username") or "argocd"),
            since=operation.get("startedAt") or "",
        )
    target = str(((manifests.spec(seen).get("source")) or {}).get("targetRevision") or "HEAD")
    known = {target, rules.sync_revision(seen), None, ""}
    if rules.automated(seen) and revision not in known:
        raise SyncFailed(
            f"{app.name} - automation follows {target}, so it cannot be synced to {str(revision)[:7]}",
            hint="commit the change to the branch, or pause automation first",
            app=app.name,
            revision=revision,
        )


def _operation(
    seen: Obj,
    revision: str | None,
    prune: bool,
    hooks: bool,
    dry_run: bool,
    source: Obj | None,
    retry: bool,
) -> Obj:
    """Build the operation; policy fields are copied because the controller takes none from the spec."""
    policy = manifests.spec(seen).get("syncPolicy") or {}
    sync: Obj = {"prune": prune, "dryRun": dry_run, "syncStrategy": dict(_HOOKS if hooks else _NO_HOOKS)}
    sync |= {"revision": revision} if revision else {}
    sync |= {"syncOptions": policy["syncOptions"]} if policy.get("syncOptions") else {}
    sync |= {"source": source} if source else {}
    operation: Obj = {"sync": sync}
    if retry and policy.get("retry"):
        operation["retry"] = policy["retry"]
    return operation


def request_rollback(platform: Platform, app: App, *, history_id: int, prune: bool = False) -> str:
    """Write the operation that deploys a row of the history again; return its identity.

    Hooks do not run and the specification stays as it is, so the application is OutOfSync afterwards.

    Raises:
        RollbackRefused: Automation is on, or there is no such row.
    """
    seen = read(platform, app)
    if rules.automated(seen):
        raise RollbackRefused(
            f"{app.name} - rollback cannot be initiated when auto-sync is enabled",
            hint="pause automation first, or roll back by git revert",
        )
    row = next((row for row in history(seen) if row.get("id") == history_id), None)
    if row is None:
        raise RollbackRefused(f"{app.name} - does not have deployment with id {history_id}")
    return request_sync(
        platform,
        app,
        revision=row.get("revision"),
        source=row.get("source"),
        prune=prune,
        hooks=False,
        retry=False,
    )


def history(application: Obj) -> list[Obj]:
    """Return the rows of ``status.history``, oldest first."""
    return list(manifests.status(application).get("history") or [])


def terminate(platform: Platform, app: App) -> bool:
    """Ask Argo CD to stop the running operation; return whether there was one."""
    kube = connect(platform)
    seen = read(platform, app, kube)
    if rules.operation_state(seen).get("phase") != "Running" or not seen.get("operation"):
        return False
    patch = [
        {"op": "test", "path": "/status/operationState/phase", "value": "Running"},
        {"op": "replace", "path": "/status/operationState/phase", "value": "Terminating"},
    ]
    kube.patch(APPLICATIONS, app.name, patch, platform.argocd_namespace, content_type=JSON_PATCH)
    return True


def pause_automation(platform: Platform, name: str) -> bool:
    """Stop an Application from syncing on its own; its other settings stay.

    Nulling the ``automated`` block would lose ``prune`` and ``selfHeal`` (argo-cd issue 24850), so only its
    switch is set, and an annotation remembers that it was us.

    Returns:
        Whether it was on before.
    """
    paused: list[bool] = []

    def change(seen: Obj) -> Obj | None:
        paused.append(rules.automated(seen))
        if not paused[-1]:
            return None
        return {
            "metadata": {"annotations": {PAUSED_ANNOTATION: now().isoformat(timespec="seconds")}},
            "spec": {"syncPolicy": {"automated": {"enabled": False}}},
        }

    _update(platform, name, connect(platform), change)
    return paused[-1]


def resume_automation(platform: Platform, name: str) -> bool:
    """Undo ``pause_automation``; what somebody else paused stays paused. Return whether it was resumed."""
    resumed: list[bool] = []

    def change(seen: Obj) -> Obj | None:
        resumed.append(PAUSED_ANNOTATION in manifests.annotations(seen))
        if not resumed[-1]:
            return None
        return {
            "metadata": {"annotations": {PAUSED_ANNOTATION: None}},
            "spec": {"syncPolicy": {"automated": {"enabled": None}}},
        }

    _update(platform, name, connect(platform), change)
    return resumed[-1]


def parents(platform: Platform, app: App) -> list[str]:
    """Return the Applications that manage this one (app of apps), the outermost first.

    They matter for a pause: a parent that heals itself would switch the child's automation on again.
    """
    found: list[str] = []
    name = app.name
    while True:
        tracking = manifests.tracking_of(read(platform, name))
        if tracking is None or tracking.app in (*found, app.name):
            return found
        found.insert(0, tracking.app)
        name = tracking.app
