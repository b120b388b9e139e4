"""What does the API decide about ``metadata``? Names, identity, times, generation and what may not change.

Pure functions over one object (and its former state); what a kind means is not known here.
Source: Kubernetes API conventions, section "Metadata".
"""

from __future__ import annotations

import random
import uuid
from datetime import datetime

from platform_lib.embedded import refusals
from platform_lib.embedded.copying import clone
from platform_lib.embedded.kinds import Kind
from platform_lib.model import Obj

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_OWNED_BY_THE_API = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def timestamp(now: datetime) -> str:
    """Return a time the way Kubernetes writes it (whole seconds, UTC)."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def check_type(kind: Kind, obj: Obj) -> None:
    """Fill or check ``apiVersion`` and ``kind``.

    Raises:
        Invalid: 400, the object is of another kind, or its metadata is no object.
    """
    if not isinstance(obj, dict):
        raise refusals.bad_request(f"the body must be one JSON object, got {type(obj).__name__}")
    for field, wanted, what in (("apiVersion", kind.api_version, "API version"), ("kind", kind.kind, "kind")):
        seen = obj.get(field) or wanted
        if seen != wanted:
            raise refusals.bad_request(f"the {what} in the data ({seen}) does not match the expected {what} ({wanted})")
    metadata = obj.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise refusals.bad_request(f"metadata must be an object, got {type(metadata).__name__}")
    # Type fields first: that is how every Kubernetes server writes them, and readers expect it.
    rest = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
    obj.clear()
    obj.update(apiVersion=kind.api_version, kind=kind.kind, metadata=metadata or {}, **rest)


def settle_scope(kind: Kind, obj: Obj, namespace: str | None) -> None:
    """Make ``metadata.namespace`` agree with the request.

    Raises:
        Invalid: 400, the object names another namespace than the request.
    """
    metadata = obj["metadata"]
    if not kind.namespaced:
        metadata.pop("namespace", None)
        return
    wanted = namespace or metadata.get("namespace") or "default"
    if metadata.get("namespace") not in (None, "", wanted):
        raise refusals.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    metadata["namespace"] = wanted


def begin(kind: Kind, obj: Obj, now: datetime) -> None:
    """Give a new object its name (when generated), uid, time of creation and generation.

    Raises:
        Invalid: 400 for a resourceVersion, 422 without a name.
    """
    metadata = obj["metadata"]
    if metadata.get("resourceVersion"):
        raise refusals.bad_request("resourceVersion should not be set on objects to be created")
    for name in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"):
        metadata.pop(name, None)
    if not metadata.get("name") and metadata.get("generateName"):
        suffix = "".join(random.choices(_SUFFIX_ALPHABET, k=5))  # noqa: S311 - a name, not a secret
        metadata["name"] = metadata["generateName"][:58] + suffix
    if not metadata.get("name"):
        causes = [("metadata.name", "FieldValueRequired", "Required value: name or generateName is required")]
        raise refusals.invalid(kind.gvr, kind.kind, "", causes)
    metadata.pop("resourceVersion", None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = timestamp(now)
    if kind.generation:
        metadata["generation"] = 1
    else:
        metadata.pop("generation", None)


def check_preconditions(kind: Kind, old: Obj, wanted: Obj, *, demand_version: bool) -> None:
    """Compare what the writer saw (``uid``, ``resourceVersion``) with what is stored.

    Raises:
        Conflict: The object changed, or is another one of the same name.
        Invalid: 422, a custom object is replaced without its resourceVersion.
    """
    stored, seen = old["metadata"], wanted.get("metadata") or {}
    name = stored["name"]
    if seen.get("uid") and seen["uid"] != stored["uid"]:
        why = f"Precondition failed: UID in precondition: {seen['uid']}, UID in object meta: {stored['uid']}"
        raise refusals.conflict(kind.gvr, name, why)
    version = seen.get("resourceVersion")
    if version and version != stored["resourceVersion"]:
        raise refusals.conflict(kind.gvr, name)
    if not version and demand_version and kind.custom:
        text = "Invalid value: 0: must be specified for an update"
        raise refusals.invalid(kind.gvr, kind.kind, name, [("metadata.resourceVersion", "FieldValueInvalid", text)])


def carry_over(kind: Kind, old: Obj, new: Obj) -> None:
    """Keep in a changed object what only the API may change.

    Raises:
        Invalid: 422, a finalizer was added to an object that is being deleted.
    """
    before, after = old["metadata"], new["metadata"]
    for name in _OWNED_BY_THE_API:
        if name in before:
            after[name] = before[name]
        else:
            after.pop(name, None)
    after["resourceVersion"] = before["resourceVersion"]
    # A writer who sends none keeps who owns what; an empty list gives all ownership up.
    if "managedFields" in before and after.get("managedFields") is None:
        after["managedFields"] = clone(before["managedFields"])
    added = set(after.get("finalizers") or ()) - set(before.get("finalizers") or ())
    if before.get("deletionTimestamp") and added:
        text = (
            "Forbidden: no new finalizers can be added if the object is being deleted, "
            f"found new finalizers {sorted(added)}"
        )
        causes = [("metadata.finalizers", "FieldValueForbidden", text)]
        raise refusals.invalid(kind.gvr, kind.kind, before["name"], causes)


def count_generation(kind: Kind, old: Obj, new: Obj) -> None:
    """Add one to ``generation`` when anything but metadata and status changed."""
    if not kind.generation:
        return
    ignored = ("metadata", "status")
    if any(old.get(key) != new.get(key) for key in {*old, *new} if key not in ignored):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
