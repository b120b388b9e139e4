"""What does a Deployment report about itself? Counters and conditions, the progress deadline included.

Source: kubernetes pkg/controller/deployment (sync.go, progress.go, util/deployment_util.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from platform_lib.embedded.controllers.deployment_revisions import Revisions
from platform_lib.embedded.controllers.deployment_sizes import bounds_of
from platform_lib.embedded.controllers.objects import to_text, to_time
from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.manifests import name, spec, status

COMPLETE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
_NO_DEADLINE = 2**31 - 1


def find(conditions: Iterable[Obj], type_: str) -> Obj | None:
    """Return the condition of a type, or None."""
    return next((item for item in conditions if item["type"] == type_), None)


def without(conditions: Iterable[Obj], type_: str) -> list[Obj]:
    """Return the conditions but those of a type."""
    return [item for item in conditions if item["type"] != type_]


def condition(type_: str, value: str, reason: str, message: str, now: datetime) -> Obj:
    """Build a condition that begins now."""
    moment = to_text(now)
    return {
        "type": type_,
        "status": value,
        "lastUpdateTime": moment,
        "lastTransitionTime": moment,
        "reason": reason,
        "message": message,
    }


def put(conditions: Sequence[Obj], new: Obj) -> list[Obj]:
    """Return the conditions with ``new`` in; the same status and reason change nothing."""
    old = find(conditions, new["type"])
    if old and old["status"] == new["status"]:
        if old.get("reason") == new["reason"]:
            return list(conditions)
        new = {**new, "lastTransitionTime": old.get("lastTransitionTime", new["lastTransitionTime"])}
    return [*without(conditions, new["type"]), new]


def deadline_s(deployment: Obj) -> int | None:
    """Return ``spec.progressDeadlineSeconds``; None when there is no deadline."""
    value = spec(deployment).get("progressDeadlineSeconds")
    return None if value is None or value == _NO_DEADLINE else int(value)


def note_pause(deployment: Obj, conditions: Sequence[Obj], now: datetime) -> list[Obj]:
    """Return the conditions after noting that the Deployment was paused or resumed.

    A paused Deployment makes no progress, so its deadline starts again when it is resumed.
    """
    current = find(conditions, "Progressing")
    if deadline_s(deployment) is None or (current and current.get("reason") == TIMED_OUT):
        return list(conditions)
    noted = current is not None and current.get("reason") == "DeploymentPaused"
    paused = bool(spec(deployment).get("paused"))
    if paused and not noted:
        new = condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
        return put(conditions, new)
    if not paused and noted:
        new = condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
        return put(conditions, new)
    return list(conditions)


def count_pods(deployment: Obj, revisions: Revisions) -> dict[str, int]:
    """Add up what the ReplicaSets report."""
    every = [status(item) for item in revisions.all]
    newest = status(revisions.new) if revisions.new else {}
    total = _sum(every, "replicas")
    available = _sum(every, "availableReplicas")
    return {
        "observedGeneration": manifests.generation(deployment),
        "replicas": total,
        "updatedReplicas": int(newest.get("replicas") or 0),
        "readyReplicas": _sum(every, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total - available),
    }


def complete(deployment: Obj, counts: Obj) -> bool:
    """Tell whether every wanted pod is of the new revision and available, and no other pod is left."""
    wanted = manifests.replicas(deployment)
    same = all(int(counts.get(field) or 0) == wanted for field in ("updatedReplicas", "replicas", "availableReplicas"))
    return same and int(counts.get("observedGeneration") or 0) >= manifests.generation(deployment)


def status_of(deployment: Obj, revisions: Revisions, conditions: Sequence[Obj], now: datetime, *, rollout: bool) -> Obj:
    """Return the whole status of a Deployment.

    Args:
        deployment: The Deployment with its last status.
        revisions: Its ReplicaSets.
        conditions: Its conditions as the reconcile left them.
        now: Present time.
        rollout: Whether progress is judged; not while it is paused or only scaled.
    """
    counts = count_pods(deployment, revisions)
    after = put(conditions, _availability(deployment, counts, now))
    if rollout:
        after = _progress(deployment, revisions, counts, conditions, after, now)
        failure = _replica_failure(revisions)
        after = put(after, failure) if failure else without(after, "ReplicaFailure")
    answer: Obj = {key: value for key, value in counts.items() if value or key == "observedGeneration"}
    if "collisionCount" in status(deployment):
        answer["collisionCount"] = status(deployment)["collisionCount"]
    answer["conditions"] = _kept_order(status(deployment).get("conditions") or [], after)
    return answer


def stuck_after_s(deployment: Obj, new_status: Obj, now: datetime) -> float | None:
    """Return after how many seconds the progress deadline has to be looked at; None for never."""
    limit = deadline_s(deployment)
    current = find(new_status.get("conditions") or (), "Progressing")
    if limit is None or current is None or spec(deployment).get("paused"):
        return None
    if complete(deployment, new_status) or current.get("reason") in (TIMED_OUT, COMPLETE):
        return None
    since = to_time(current.get("lastUpdateTime")) or now
    return max(0.0, (since + timedelta(seconds=limit) - now).total_seconds()) + 1.0


def _availability(deployment: Obj, counts: Obj, now: datetime) -> Obj:
    bounds = bounds_of(deployment)
    if counts["availableReplicas"] >= bounds.min_available:
        message = "Deployment has minimum availability."
        return condition("Available", "True", "MinimumReplicasAvailable", message, now)
    message = "Deployment does not have minimum availability."
    return condition("Available", "False", "MinimumReplicasUnavailable", message, now)


def _progress(
    deployment: Obj, revisions: Revisions, counts: Obj, before: Sequence[Obj], after: list[Obj], now: datetime
) -> list[Obj]:
    """Judge the rollout: complete, moving, or out of time."""
    if deadline_s(deployment) is None:
        return without(after, "Progressing")
    current = find(before, "Progressing")
    settled = current is not None and current.get("reason") == COMPLETE
    if settled and counts["replicas"] == counts["updatedReplicas"]:
        # A rollout that completed stays complete: pods that fail later are not a failed rollout.
        return after
    what = f'ReplicaSet "{name(revisions.new)}"' if revisions.new else f'Deployment "{name(deployment)}"'
    if complete(deployment, counts):
        message = f"{what} has successfully progressed."
        return put(after, condition("Progressing", "True", COMPLETE, message, now))
    if _moving(status(deployment), counts):
        new = condition("Progressing", "True", "ReplicaSetUpdated", f"{what} is progressing.", now)
        if current and current["status"] == "True":
            new["lastTransitionTime"] = current.get("lastTransitionTime", new["lastTransitionTime"])
        # Put in by force, so that the update time moves and the deadline starts again.
        return [*without(after, "Progressing"), new]
    if _timed_out(deployment, after, now):
        message = f"{what} has timed out progressing."
        return put(after, condition("Progressing", "False", TIMED_OUT, message, now))
    return after


def _moving(old: Obj, new: Obj) -> bool:
    """Tell whether the counters moved towards the goal since the last report."""

    def value(counts: Obj, field: str) -> int:
        return int(counts.get(field) or 0)

    old_left = value(old, "replicas") - value(old, "updatedReplicas")
    new_left = value(new, "replicas") - value(new, "updatedReplicas")
    grown = any(
        value(new, field) > value(old, field) for field in ("updatedReplicas", "readyReplicas", "availableReplicas")
    )
    return grown or new_left < old_left


def _timed_out(deployment: Obj, conditions: Sequence[Obj], now: datetime) -> bool:
    limit = deadline_s(deployment)
    current = find(conditions, "Progressing")
    if limit is None or current is None or current.get("reason") == COMPLETE:
        return False
    if current.get("reason") == TIMED_OUT:
        return True
    since = to_time(current.get("lastUpdateTime")) or now
    return since + timedelta(seconds=limit) < now


def _replica_failure(revisions: Revisions) -> Obj | None:
    """Return a failure to create pods that a ReplicaSet reports, the new one first."""
    for item in reversed(revisions.all):
        found = find(status(item).get("conditions") or (), "ReplicaFailure")
        if found:
            moment = found.get("lastTransitionTime")
            return {
                "type": "ReplicaFailure",
                "status": found["status"],
                "lastUpdateTime": moment,
                "lastTransitionTime": moment,
                "reason": found.get("reason", ""),
                "message": found.get("message", ""),
            }
    return None


def _kept_order(old: Sequence[Obj], new: Sequence[Obj]) -> list[Obj]:
    """Return the new conditions; the old list when they differ in order only, so that nothing is written."""
    return list(old) if sorted(old, key=_type) == sorted(new, key=_type) else list(new)


def _type(item: Obj) -> str:
    return str(item["type"])


def _sum(statuses: Iterable[Obj], field: str) -> int:
    return sum(int(item.get(field) or 0) for item in statuses)
