"""What do controllers ask of pods, owners, conditions and times? Small pure accessors beyond ``rules.manifests``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.manifests import condition_true, deleting, owner, status, uid

FINISHED = ("Succeeded", "Failed")


def to_text(moment: datetime) -> str:
    """Write a time as Kubernetes does (whole seconds, ``Z``)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_micro_text(moment: datetime) -> str:
    """Write a time with microseconds (``MicroTime``)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def to_time(text: str | None) -> datetime | None:
    """Read a time of the API; None for a missing one."""
    return datetime.fromisoformat(text) if text else None


def created(obj: Obj) -> datetime:
    """Return when the object was created; the beginning of time where that is unknown."""
    return to_time(manifests.metadata(obj).get("creationTimestamp")) or datetime.min.replace(tzinfo=UTC)


def controlled_by(obj: Obj, owner_uid: str) -> bool:
    """Tell whether the object with ``owner_uid`` is the controlling owner."""
    reference = owner(obj)
    return reference is not None and reference.get("uid") == owner_uid


def controller_reference(obj: Obj) -> Obj:
    """Return the reference that makes ``obj`` the controlling owner of another object."""
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": manifests.name(obj),
        "uid": uid(obj),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def references(obj: Obj) -> list[Obj]:
    """Return the owner references."""
    return list(manifests.metadata(obj).get("ownerReferences") or ())


def phase(pod: Obj) -> str:
    """Return the pod's phase; Pending where none was reported."""
    return str(status(pod).get("phase") or "Pending")


def node_name(pod: Obj) -> str:
    """Return the node the pod is bound to, or an empty text."""
    return str(manifests.spec(pod).get("nodeName") or "")


def active(pod: Obj) -> bool:
    """Tell whether the pod counts as a replica: not finished and not on its way out."""
    return phase(pod) not in FINISHED and not deleting(pod)


def ready(pod: Obj) -> bool:
    """Tell whether the pod's Ready condition is True."""
    return condition_true(pod, "Ready")


def ready_since(pod: Obj) -> datetime | None:
    """Return when the pod became ready; None when it is not."""
    condition = manifests.conditions(pod).get("Ready", {})
    return to_time(condition.get("lastTransitionTime")) if condition.get("status") == "True" else None


def available(pod: Obj, min_ready_s: int, now: datetime) -> bool:
    """Tell whether the pod has been ready for ``min_ready_s`` seconds."""
    if not ready(pod):
        return False
    if min_ready_s <= 0:
        return True
    since = ready_since(pod)
    return since is not None and since + timedelta(seconds=min_ready_s) <= now


def restarts(pod: Obj) -> int:
    """Return the highest restart count of the pod's containers."""
    found = status(pod).get("containerStatuses") or ()
    return max((int(item.get("restartCount") or 0) for item in found), default=0)


def with_condition(
    conditions: Iterable[Obj],
    now: datetime,
    *,
    type: str,
    status: str,
    reason: str = "",
    message: str = "",
    **fields: object,
) -> list[Obj]:
    """Return the conditions with one of them set; its transition time moves only with its status."""
    conditions = list(conditions)
    old = next((item for item in conditions if item["type"] == type), None)
    new: Obj = {"type": type, "status": status, **fields}
    new["lastTransitionTime"] = (
        old["lastTransitionTime"] if old and old["status"] == status and old.get("lastTransitionTime") else to_text(now)
    )
    new |= {name: text for name, text in (("reason", reason), ("message", message)) if text}
    if old is None:
        return [*conditions, new]
    return [new if item is old else item for item in conditions]


def earliest(times_s: Iterable[float | None]) -> float | None:
    """Return the shortest of the waits, None when there is none."""
    return min((value for value in times_s if value is not None), default=None)


def resolve_percent(value: int | str | None, total: int, *, round_up: bool) -> int:
    """Resolve an int-or-percent field against a total, as Kubernetes rounds it."""
    if isinstance(value, str) and value.endswith("%"):
        percent = int(value[:-1])
        return -(-percent * total // 100) if round_up else percent * total // 100
    return int(value or 0)


def oldest_first(objects: Iterable[Obj]) -> Sequence[Obj]:
    """Sort by creation time, then name."""
    return sorted(objects, key=lambda obj: (created(obj), manifests.name(obj)))
