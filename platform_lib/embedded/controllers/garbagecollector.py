"""What goes when its owner goes? Background, foreground and orphan deletion along ownerReferences.

Source: kubernetes pkg/controller/garbagecollector/garbagecollector.go; documentation "Garbage Collection".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from platform_lib.embedded.controllers.objects import references
from platform_lib.embedded.controllers.writes import (
    NOTHING,
    Change,
    Key,
    Result,
    Snapshot,
    Write,
    delete,
    merge,
)
from platform_lib.model import Obj
from platform_lib.rules.manifests import deleting, finalizers, kind, metadata, name, namespace, uid

NAME = "generic-garbage-collector"
WATCHES = None

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return (what it is, uid) of the objects to look at; for most changes none."""
    found = []
    obj = change.obj
    if change.type == "DELETED":
        found += [_key(item) for item in snapshot.owned_by(uid(obj))]
        owners = [snapshot.by_uid(one.get("uid", "")) for one in references(obj)]
        found += [_key(one) for one in owners if one is not None and _waits(one)]
    elif deleting(obj) and _special(obj):
        found += [_key(obj), *(_key(item) for item in snapshot.owned_by(uid(obj)))]
    elif references(obj) and not deleting(obj) and len(_solid(snapshot, obj)) < len(references(obj)):
        found.append(_key(obj))
    return found


def reconcile(snapshot: Snapshot, key: Key, now: datetime) -> Result:
    """Finish the deletion of an owner, or delete what has no owner left."""
    obj = snapshot.by_uid(key[1])
    if obj is None:
        return NOTHING
    gvr = snapshot.gvr_of(key[1])
    if deleting(obj):
        return Result(_finish_owner(snapshot, gvr, obj))
    return Result(_judge_dependent(snapshot, gvr, obj))


def _key(obj: Obj) -> Key:
    return f"{kind(obj)} {namespace(obj)}/{name(obj)}", uid(obj)


def _special(obj: Obj) -> bool:
    return bool({FOREGROUND, ORPHAN} & set(finalizers(obj)))


def _waits(owner: Obj) -> bool:
    """Tell whether an owner is only kept until its dependents are gone."""
    return deleting(owner) and FOREGROUND in finalizers(owner)


def _owner_of(snapshot: Snapshot, obj: Obj, reference: Obj) -> Obj | None:
    """Return the owner a reference means; an owner in another namespace does not count."""
    owner = snapshot.by_uid(reference.get("uid", ""))
    if owner is None or namespace(owner) not in ("", namespace(obj)):
        return None
    return owner


def _solid(snapshot: Snapshot, obj: Obj) -> list[Obj]:
    """Return the references to owners that exist and are going to stay."""
    found = []
    for reference in references(obj):
        owner = _owner_of(snapshot, obj, reference)
        if owner is not None and not _waits(owner):
            found.append(reference)
    return found


def _finish_owner(snapshot: Snapshot, gvr: str, owner: Obj) -> list[Write]:
    """Take off the finalizer of an owner whose dependents are gone, or set free."""
    dependents = snapshot.owned_by(uid(owner))
    if ORPHAN in finalizers(owner):
        freed = [_without_owner(snapshot, item, uid(owner)) for item in dependents]
        return [*freed, _without_finalizer(gvr, owner, ORPHAN)]
    if FOREGROUND in finalizers(owner) and not any(_blocks(item, uid(owner)) for item in dependents):
        return [_without_finalizer(gvr, owner, FOREGROUND)]
    return []


def _blocks(dependent: Obj, owner_uid: str) -> bool:
    return any(one.get("uid") == owner_uid and one.get("blockOwnerDeletion") for one in references(dependent))


def _judge_dependent(snapshot: Snapshot, gvr: str, obj: Obj) -> list[Write]:
    """Delete an object without a lasting owner; with one, forget only the references to the others."""
    every, solid = references(obj), _solid(snapshot, obj)
    if len(solid) == len(every):
        return []
    if solid:
        return [merge(gvr, obj, {"metadata": {"ownerReferences": solid}}, guarded=True)]
    owners = [_owner_of(snapshot, obj, one) for one in every]
    waited_for = any(owner is not None for owner in owners)
    return [_delete(gvr, obj, foreground=waited_for and bool(snapshot.owned_by(uid(obj))))]


def _delete(gvr: str, obj: Obj, *, foreground: bool) -> Write:
    policy = "Foreground" if foreground else "Background"
    if ORPHAN in finalizers(obj):
        policy = "Orphan"
    elif FOREGROUND in finalizers(obj):
        policy = "Foreground"
    return delete(gvr, obj, {"propagationPolicy": policy}, version=str(metadata(obj)["resourceVersion"]))


def _without_owner(snapshot: Snapshot, obj: Obj, owner_uid: str) -> Write:
    left: Sequence[Obj] = [one for one in references(obj) if one.get("uid") != owner_uid]
    patch = {"metadata": {"ownerReferences": left or None}}
    return merge(snapshot.gvr_of(uid(obj)), obj, patch, guarded=True)


def _without_finalizer(gvr: str, obj: Obj, finalizer: str) -> Write:
    left = [one for one in finalizers(obj) if one != finalizer]
    return merge(gvr, obj, {"metadata": {"finalizers": left or None}}, guarded=True)
