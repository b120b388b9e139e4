"""How is an operation that will not end brought to its end? Terminated, and its hooks cleaned up; look, plan, act.

Argo CD undoes nothing: what was applied stays. Its own clean-up deletes the hooks that still run; with ``clean_hooks``
those of the last sync that are left over go too, because a hook that is still there keeps the next sync waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from platform_lib import journal, sync
from platform_lib.errors import NotFound
from platform_lib.inspection.lookup import Kinds
from platform_lib.model import App, Obj, Outcome, Plan, Platform, Step, joined
from platform_lib.operation import operation
from platform_lib.rules import application as rules
from platform_lib.rules import manifests
from platform_lib.rules.health import HOOK_FINALIZER
from platform_lib.wait import now
from platform_lib.wire import argocd
from platform_lib.wire.kube import Kube, connect

Progress = Callable[[str], None]


def plan_terminate(platform: Platform, app: App, *, clean_hooks: bool = False) -> Plan:
    """Say what ending the operation of an Application would do.

    Args:
        platform: Where.
        app: What.
        clean_hooks: Also delete the hooks of the last sync that are left over.
    """
    application = argocd.read(platform, app)
    state = rules.operation_state(application)
    steps = []
    if rules.busy(application):
        since = state.get("startedAt") or "just now"
        why = f"{rules.initiator(application)} started it at {since}: {state.get('message') or 'no message'}"
        steps.append(Step("terminate", f"operation of {app.name}", f"{why}; what was applied stays"))
    for hook in _hooks(application, Kinds(connect(platform))) if clean_hooks else ():
        target = f"{manifests.kind(hook)}/{manifests.name(hook)} in {manifests.namespace(hook)}"
        steps.append(Step("delete hook", target, "it would keep the next sync waiting; its pods go with it"))
    return Plan(f"end the operation of {app.name}", tuple(steps), {"app": app.name, "clean_hooks": clean_hooks})


@operation("terminate", git=False)
def terminate(
    platform: Platform,
    app: App,
    *,
    clean_hooks: bool = False,
    timeout_s: float = 60.0,
    progress: Progress | None = None,
) -> Outcome:
    """End the operation of an Application, and delete its left-over hooks when asked to.

    Args:
        platform: Where.
        app: What.
        clean_hooks: Also delete the hooks of the last sync that are left over.
        timeout_s: Deadline for the operation to end, in seconds.
        progress: Called with each new observation.

    Returns:
        Figures ``terminated`` (whether there was an operation), ``phase``, ``hooks_deleted``.

    Raises:
        WaitTimeout: The operation did not end; one that a sync window blocks ends when it opens.
    """
    started = now()
    there = rules.busy(argocd.read(platform, app)) and sync.stop(platform, app, timeout_s=timeout_s, progress=progress)
    application = argocd.read(platform, app)
    deleted = _clean(connect(platform), application) if clean_hooks else []
    phase = str(rules.operation_state(application).get("phase") or "")
    figures: dict[str, Any] = {"terminated": there, "phase": phase, "hooks_deleted": len(deleted)}
    journal.current().append("terminate", "outcome", app.name, ok=True, hooks=deleted, **figures)
    hooks = f"; deleted {joined(deleted)}" if deleted else ""
    said_so = f"operation of {app.name} ended: {phase}" if there else f"{app.name} had no operation to end"
    return Outcome("terminate", True, started, now(), figures=figures, message=said_so + hooks)


def _clean(kube: Kube, application: Obj) -> list[str]:
    """Delete the hooks that are left over; the cluster itself is needed for that, argocd-server is not enough."""
    return [_delete(kube, hook) for hook in _hooks(application, Kinds(kube))]


def _hooks(application: Obj, kinds: Kinds) -> list[Obj]:
    """Return the hooks of the last sync that are still there and have not ended well."""
    found = []
    rows = (rules.operation_state(application).get("syncResult") or {}).get("resources") or []
    ended = {(row.get("kind"), row.get("name")) for row in rows if row.get("hookPhase") == "Succeeded"}
    for row in rows:
        if not row.get("hookType") or (row.get("kind"), row.get("name")) in ended:
            continue
        group, version = str(row.get("group") or ""), str(row.get("version") or "v1")
        key = manifests.ObjectKey(group, str(row["kind"]), str(row.get("namespace") or ""), str(row["name"]))
        live = kinds.live(f"{group}/{version}" if group else version, key)
        found += [live] if live is not None and manifests.hooks(live) else []
    return found


def _delete(kube: Kube, hook: Obj) -> str:
    """Delete a hook, and the finalizer with which Argo CD keeps it visible; a successor of its name stays."""
    kind, name, namespace = manifests.kind(hook), manifests.name(hook), manifests.namespace(hook) or None
    served = Kinds(kube).find(str(hook["apiVersion"]), kind)
    if served is None:
        return f"{kind}/{name}"
    try:
        if not manifests.deleting(hook):
            kube.delete(served.gvr, name, namespace, uid=manifests.uid(hook))
        now_there = kube.find(served.gvr, name, namespace)
        if now_there is not None and manifests.uid(now_there) == manifests.uid(hook):
            rest = [one for one in manifests.finalizers(now_there) if one != HOOK_FINALIZER]
            version = manifests.resource_version(now_there)
            body = {"metadata": {"resourceVersion": version, "finalizers": rest or None}}
            kube.patch(served.gvr, name, body, namespace)
    except NotFound:
        return f"{kind}/{name} (gone by itself)"
    return f"{kind}/{name}"
