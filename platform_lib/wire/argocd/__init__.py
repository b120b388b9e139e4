"""How does the library drive Argo CD? Through its resource, or through argocd-server: ``door`` says which.

What a status means is decided in ``rules.application``, what a request says in ``rules.syncrequest``; waiting
belongs to ``sync``. ``crd`` and ``server`` are the two doors, ``rest`` the client of the second one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from platform_lib import applications
from platform_lib.errors import NotFound
from platform_lib.model import App, Obj, Platform
from platform_lib.rules import application as rules
from platform_lib.rules import manifests
from platform_lib.rules.application import history
from platform_lib.rules.syncchecks import PAUSED_ANNOTATION
from platform_lib.rules.syncrequest import USER, SyncRequest
from platform_lib.settings import settings
from platform_lib.wait import now
from platform_lib.wire.argocd.crd import KubernetesDoor
from platform_lib.wire.argocd.door import Door, OnEvent, View, chosen
from platform_lib.wire.kube import Kube, connect

__all__ = [
    "PAUSED_ANNOTATION",
    "SyncRequest",
    "View",
    "door",
    "history",
    "parents",
    "pause_automation",
    "read",
    "request_refresh",
    "request_rollback",
    "request_sync",
    "resume_automation",
    "terminate",
    "watch",
]


def door(platform: Platform, app: App | None = None, kube: Kube | None = None) -> Door:
    """Return the way to the Applications of a platform.

    Args:
        platform: Where.
        app: Whose Application; None for the namespace of the platform.
        kube: An open connection; it decides for the cluster.

    Raises:
        Unreachable: There is neither a kubeconfig nor an argocd-server.
        SettingsError: The door that was asked for cannot be used.
    """
    namespace = app.application_namespace(platform) if app is not None else platform.argocd_namespace
    if kube is None and chosen(platform) == "rest":
        from platform_lib.wire.argocd.server import ServerDoor, client

        return ServerDoor(client(platform, settings().request_timeout_s), namespace)
    return KubernetesDoor(kube or connect(platform), namespace, platform.argocd_namespace)


def _place(platform: Platform, app: App | str, kube: Kube | None = None) -> tuple[Door, str]:
    """Return the door and the name of an Application."""
    if isinstance(app, str):
        # argo-cd writes NAMESPACE_NAME into the tracking id of what an Application outside its own namespace manages
        namespace, _, name = app.rpartition("_")
        return door(platform, App(name, argocd_namespace=namespace), kube), name
    return door(platform, app, kube), app.application_name


def read(platform: Platform, app: App | str, kube: Kube | None = None) -> Obj:
    """Return the Application.

    Raises:
        NotFound: There is none of that name; says where one of that name is.
    """
    way, name = _place(platform, app, kube)
    try:
        return way.read(name)
    except NotFound as error:
        raise _absent(platform, app, name, way, error) from error


def _absent(platform: Platform, app: App | str, name: str, way: Door, error: NotFound) -> NotFound:
    """Build the error for an Application that is not where it was expected."""
    wanted = platform.argocd_namespace if isinstance(app, str) else app.application_namespace(platform)
    if "does not serve" in error.message:
        return error  # the kind itself is absent: the wire has said so
    found = [namespace for namespace in way.elsewhere(name) if namespace != wanted]
    if not found:
        message = f"Application {name} - absent in namespace {wanted}"
        hint = f"apply the root Application from gitops/bootstrap, or check the name: {applications.hint(name)}"
    else:
        short = name if isinstance(app, str) else app.name
        message = f"Application {name} - absent in namespace {wanted}, found in {', '.join(found)}"
        hint = f'name its namespace in apqx.toml: [apps.{short}] argocd_namespace = "{found[0]}"'
    return NotFound(message, hint=hint, status=404, reason="NotFound", found_in=tuple(found))


def request_refresh(platform: Platform, app: App | str, *, hard: bool = False) -> datetime:
    """Ask Argo CD to resolve the branch and compare again.

    Args:
        platform: Where.
        app: Which Application.
        hard: Also forget cached manifests.

    Returns:
        The time of the request; a comparison that began later has seen it.
    """
    way, name = _place(platform, app)
    asked = now()
    way.refresh(name, hard=hard)
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
    user: str = USER,
    revisions: tuple[str, ...] = (),
    resources: tuple[Mapping[str, str], ...] = (),
    force: bool = False,
) -> str:
    """Write a sync operation and return the identity by which its state is recognised.

    Args:
        platform: Where.
        app: Which Application.
        revision: Commit to sync to; None for the target revision of its specification.
        prune: Delete what is no longer in git; never implied.
        hooks: False applies without hooks, as a rollback does.
        dry_run: Only say what would be done.
        source: Overrides the source.
        retry: Copy the retry policy of the specification, as the server would.
        user: Written as the initiator (argocd-server writes the owner of the token).
        revisions: With several sources: one per source, empty for the one it follows.
        resources: Only these; a partial sync runs no hooks and leaves no row in the history.
        force: Delete and create again what cannot be changed.

    Raises:
        Locked: Another operation is requested or runs.
        SyncRefused: Automation follows a branch and another revision was asked for; or it is being deleted.
        InvalidInput: The revisions do not fit the sources.
    """
    way, name = _place(platform, app)
    wanted = SyncRequest(
        revision=revision or "",
        revisions=revisions,
        prune=prune,
        dry_run=dry_run,
        hooks=hooks,
        force=force,
        resources=resources,
        source=source,
        retry=retry,
    )
    return way.sync(name, wanted, user=user)


def request_rollback(
    platform: Platform, app: App, *, history_id: int, prune: bool = False, dry_run: bool = False
) -> str:
    """Write the operation that deploys a row of the history again; return its identity.

    Hooks do not run and the specification stays as it is, so the application is OutOfSync afterwards.

    Raises:
        RollbackRefused: Automation is on, or there is no such row.
        Locked: Another operation is requested or runs.
    """
    way, name = _place(platform, app)
    return way.rollback(name, history_id=history_id, prune=prune, dry_run=dry_run)


def terminate(platform: Platform, app: App) -> bool:
    """Ask Argo CD to stop the running operation; return whether there was one.

    A stale write may turn it back to running: ``sync.stop`` looks again until it has ended.
    """
    way, name = _place(platform, app)
    return way.terminate(name)


def pause_automation(platform: Platform, app: App | str) -> bool:
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

    way, name = _place(platform, app)
    way.update(name, change)
    return paused[-1]


def resume_automation(platform: Platform, app: App | str) -> bool:
    """Undo ``pause_automation``; what somebody else paused stays paused. Return whether it was resumed."""
    resumed: list[bool] = []

    def change(seen: Obj) -> Obj | None:
        resumed.append(PAUSED_ANNOTATION in manifests.annotations(seen))
        if not resumed[-1]:
            return None
        policy: dict[str, Any] = (manifests.spec(seen).get("syncPolicy") or {}).get("automated") or {}
        spec = {"spec": {"syncPolicy": {"automated": {"enabled": None}}}} if "enabled" in policy else {}
        return {"metadata": {"annotations": {PAUSED_ANNOTATION: None}}, **spec}

    way, name = _place(platform, app)
    way.update(name, change)
    return resumed[-1]


def parents(platform: Platform, app: App) -> list[str]:
    """Return the Applications that manage this one (app of apps), the outermost first.

    They matter for a pause: a parent that heals itself would switch the child's automation on again.
    """
    found: list[str] = []
    seen = read(platform, app)
    while True:
        tracking = manifests.tracking_of(seen)
        if tracking is None or tracking.app in (*found, app.application_name):
            return found
        found.insert(0, tracking.app)
        seen = read(platform, tracking.app)


def watch(platform: Platform, app: App, *, on_event: OnEvent | None = None) -> View:
    """Return a not yet opened view of an application: its Application, Deployments and pods.

    Args:
        platform: Where.
        app: What.
        on_event: Called in another thread as ``(gvr, type, object)`` after something changed; be quick.
    """
    return door(platform, app).view(app, on_event)
