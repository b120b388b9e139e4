"""How does a deleted namespace end? Everything in it is deleted, then the namespace is let go.

Source: kubernetes pkg/controller/namespace/deletion/namespaced_resources_deleter.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from platform_lib.embedded.controllers.objects import with_condition
from platform_lib.embedded.controllers.writes import (
    NAMESPACES,
    NOTHING,
    PODS,
    Change,
    Key,
    Result,
    Snapshot,
    Write,
    delete,
    set_status,
)
from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.manifests import deleting, finalizers, name, spec, status, uid

NAME = "namespace-controller"
WATCHES = None

FINALIZER = "kubernetes"

_GOOD = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    (
        "NamespaceDeletionGroupVersionParsingFailure",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
)


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the terminating namespace that a change concerns."""
    if change.gvr == NAMESPACES:
        return [("", name(change.obj))] if deleting(change.obj) else []
    space = manifests.namespace(change.obj)
    found = snapshot.get(NAMESPACES, "", space) if space else None
    return [("", space)] if found is not None and deleting(found) else []


def reconcile(snapshot: Snapshot, key: Key, now: datetime) -> Result:
    """Empty one terminating namespace; let it go when nothing is left."""
    space = snapshot.get(NAMESPACES, "", key[1])
    if space is None or not deleting(space) or FINALIZER not in (spec(space).get("finalizers") or ()):
        return NOTHING
    content = list(snapshot.content(key[1]))
    if not content:
        return Result([_finalize(space)])
    # Pods come last: their owners are gone by then and do not try to replace them.
    content.sort(key=lambda item: item[0] == PODS)
    options = {"propagationPolicy": "Background"}
    fresh = [(gvr, obj) for gvr, obj in content if not deleting(obj)]
    writes = [delete(gvr, obj, options) for gvr, obj in fresh]
    lasting = [(gvr, obj) for gvr, obj in content if gvr == PODS or finalizers(obj)]
    return Result([*_report(space, lasting, now), *writes])


def _finalize(space: Obj) -> Write:
    left = [one for one in spec(space).get("finalizers") or () if one != FINALIZER]
    body = {**space, "spec": {**spec(space), "finalizers": left}}
    return Write("finalize", NAMESPACES, "", name(space), body, uid(space))


def _report(space: Obj, lasting: Sequence[tuple[str, Obj]], now: datetime) -> list[Write]:
    """Say what the namespace waits for."""
    if not lasting:
        return []
    after = list(status(space).get("conditions") or ())
    for kind, reason, message in _GOOD:
        after = with_condition(after, now, type=kind, status="False", reason=reason, message=message)
    kinds = Counter(_resource(gvr) for gvr, _ in lasting)
    listed = ", ".join(f"{resource} has {count} resource instances" for resource, count in sorted(kinds.items()))
    after = with_condition(
        after,
        now,
        type="NamespaceContentRemaining",
        status="True",
        reason="SomeResourcesRemain",
        message=f"Some resources are remaining: {listed}",
    )
    held = Counter(one for _, obj in lasting for one in finalizers(obj))
    named = ", ".join(f"{one} in {count} resource instances" for one, count in sorted(held.items()))
    after = with_condition(
        after,
        now,
        type="NamespaceFinalizersRemaining",
        status="True" if held else "False",
        reason="SomeFinalizersRemain" if held else "ContentHasNoFinalizers",
        message=f"Some content in the namespace has finalizers remaining: {named}"
        if held
        else "All content-preserving finalizers finished",
    )
    return set_status(NAMESPACES, space, {**status(space), "conditions": after})


def _resource(gvr: str) -> str:
    """Name a resource as upstream does: ``pods.``, ``deployments.apps``."""
    group_version, plural = gvr.rsplit("/", 1)
    group = group_version.rpartition("/")[0]
    return f"{plural}.{group}"
