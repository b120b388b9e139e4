"""When is an object really gone? Grace periods, finalizers, propagation and preconditions of a delete."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from platform_lib.embedded import refusals
from platform_lib.embedded.copying import clone
from platform_lib.embedded.kinds import Kind
from platform_lib.embedded.metadata import timestamp
from platform_lib.embedded.registry import CRDS
from platform_lib.embedded.store import Store, key_of
from platform_lib.model import Obj

NAMESPACES = "v1/namespaces"
PODS = "v1/pods"
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""Finalizer of a definition whose objects still have finalizers of their own."""


class Deletion:
    """Marks objects as being deleted, or removes them."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store, self._clock = store, clock

    def delete(self, kind: Kind, old: Obj, options: Obj, *, dry_run: bool = False) -> Obj:
        """Delete as far as grace period and finalizers allow.

        Raises:
            Conflict: A precondition does not hold, or a namespace is going away already.
        """
        _check_preconditions(kind, old, options)
        if kind.gvr == CRDS and not dry_run:
            old = self._delete_custom_objects(old)
        new = clone(old)
        changed = self._mark(kind, new, options)
        if dry_run:
            return new
        if self.is_due(kind, new):
            return self.remove(kind, new)
        return self._store.put(kind.gvr, new) if changed else old

    def is_due(self, kind: Kind, obj: Obj) -> bool:
        """Return whether a marked object has nothing left that keeps it."""
        metadata = obj["metadata"]
        if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
            return False
        if kind.gvr == NAMESPACES and (obj.get("spec") or {}).get("finalizers"):
            return False
        return not metadata.get("deletionGracePeriodSeconds")

    def remove(self, kind: Kind, obj: Obj) -> Obj:
        """Remove an object, and its definition when that waited for it; returns the last state."""
        namespace, name = key_of(obj)
        gone = self._store.delete(kind.gvr, namespace, name)
        if kind.custom:
            self._finish_definition(kind)
        return gone

    def _mark(self, kind: Kind, obj: Obj, options: Obj) -> bool:
        """Set the time of deletion and the finalizers it needs; returns whether anything changed."""
        metadata = obj["metadata"]
        before = (metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds"))
        finalizers = list(metadata.get("finalizers") or ())
        grace_s = self._grace(kind, obj, options)
        if before[0] is None or grace_s < (before[1] or 0):
            metadata["deletionTimestamp"] = timestamp(self._clock() + timedelta(seconds=grace_s))
            metadata["deletionGracePeriodSeconds"] = grace_s
            if before[0] is None and metadata.get("generation"):
                metadata["generation"] += 1
            if kind.gvr == NAMESPACES:
                obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        wanted = _propagation(options, finalizers)
        if wanted:
            metadata["finalizers"] = wanted
        else:
            metadata.pop("finalizers", None)
        after = (metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds"))
        return before != after or wanted != finalizers

    def _grace(self, kind: Kind, obj: Obj, options: Obj) -> int:
        """Return how many seconds the object may live on: only running pods get any."""
        if kind.gvr != PODS:
            return 0
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
            return 0
        asked = options.get("gracePeriodSeconds")
        seconds = spec.get("terminationGracePeriodSeconds", 30) if asked is None else asked
        # A negative period means "at once, but let the node agent finish"; Kubernetes turns it into one second.
        return 1 if int(seconds) < 0 else int(seconds)

    def _delete_custom_objects(self, crd: Obj) -> Obj:
        """Delete every object of a definition; it waits, marked, for those with finalizers."""
        spec = crd["spec"]
        waiting = False
        for version in spec.get("versions") or ():
            gvr = f"{spec['group']}/{version['name']}/{spec['names']['plural']}"
            for obj in list(self._store.list(gvr)):
                waiting |= self._delete_custom_object(gvr, obj)
        if waiting and CLEANUP not in (crd["metadata"].get("finalizers") or ()):
            crd = clone(crd)
            crd["metadata"].setdefault("finalizers", []).append(CLEANUP)
        return crd

    def _delete_custom_object(self, gvr: str, obj: Obj) -> bool:
        """Delete one object; returns whether it stays for its finalizers."""
        namespace, name = key_of(obj)
        if not obj["metadata"].get("finalizers"):
            self._store.delete(gvr, namespace, name)
            return False
        if not obj["metadata"].get("deletionTimestamp"):
            new = clone(obj)
            new["metadata"]["deletionTimestamp"] = timestamp(self._clock())
            new["metadata"]["deletionGracePeriodSeconds"] = 0
            self._store.put(gvr, new)
        return True

    def _finish_definition(self, kind: Kind) -> None:
        """Let a deleted definition go once its last object is gone."""
        crd = self._store.get(CRDS, "", f"{kind.plural}.{kind.group}")
        if crd is None or CLEANUP not in (crd["metadata"].get("finalizers") or ()):
            return
        if self._store.list(kind.gvr):
            return
        left = [name for name in crd["metadata"]["finalizers"] if name != CLEANUP]
        if left:
            new = clone(crd)
            new["metadata"]["finalizers"] = left
            self._store.put(CRDS, new)
        else:
            self._store.delete(CRDS, "", crd["metadata"]["name"])


def _check_preconditions(kind: Kind, obj: Obj, options: Obj) -> None:
    """Compare ``preconditions`` with the stored object."""
    wanted = options.get("preconditions") or {}
    metadata = obj["metadata"]
    for field, label, text in (
        ("uid", "UID", "UID in object meta"),
        ("resourceVersion", "ResourceVersion", "ResourceVersion in object meta"),
    ):
        if wanted.get(field) and wanted[field] != metadata[field]:
            why = f"Precondition failed: {label} in precondition: {wanted[field]}, {text}: {metadata[field]}"
            raise refusals.conflict(kind.gvr, metadata["name"], why)


def _propagation(options: Obj, finalizers: list[str]) -> list[str]:
    """Return the finalizers that ``propagationPolicy`` (or the older ``orphanDependents``) asks for."""
    policy = options.get("propagationPolicy")
    if policy is None and options.get("orphanDependents") is not None:
        policy = "Orphan" if options["orphanDependents"] else "Background"
    if policy is None:
        return finalizers
    if policy not in ("Foreground", "Background", "Orphan"):
        raise refusals.bad_request(f'propagationPolicy "{policy}" - wanted Foreground, Background or Orphan')
    kept = [name for name in finalizers if name not in (FOREGROUND, ORPHAN)]
    added = {"Foreground": [FOREGROUND], "Orphan": [ORPHAN]}.get(policy, [])
    return kept + added
