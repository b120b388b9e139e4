"""Does a ReplicaSet have as many pods as it wants? Creates, deletes, adopts and releases pods; counts them.

Source: kubernetes pkg/controller/replicaset/replica_set.go and replica_set_utils.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from platform_lib.embedded.controllers.objects import (
    active,
    available,
    controlled_by,
    controller_reference,
    earliest,
    ready,
    ready_since,
    references,
    with_condition,
)
from platform_lib.embedded.controllers.replicaset_victims import victims
from platform_lib.embedded.controllers.writes import (
    NOTHING,
    PODS,
    REPLICASETS,
    Change,
    Key,
    Result,
    Snapshot,
    Write,
    create,
    delete,
    event,
    merge,
    set_status,
)
from platform_lib.embedded.selectors import match_labels
from platform_lib.errors import ApiError
from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.manifests import deleting, labels, name, namespace, owner, spec, status, uid

NAME = "replicaset-controller"
WATCHES = frozenset({REPLICASETS, PODS})

BURST = 50
"""Pods created or deleted in one go; smaller than upstream's 500, so that other keys get their turn."""


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the ReplicaSets that a change concerns."""
    space = namespace(change.obj)
    if change.gvr == REPLICASETS:
        return [(space, name(change.obj))]
    owners = [owner(pod) for pod in (change.obj, change.old) if pod]
    found = {(space, one["name"]) for one in owners if one and one["kind"] == "ReplicaSet"}
    if not found and owner(change.obj) is None:
        # An orphan: whoever selects it may adopt it.
        sets = snapshot.list(REPLICASETS, space)
        found = {(space, name(item)) for item in sets if _selects(item, change.obj)}
    return found


def reconcile(snapshot: Snapshot, key: Key, now: datetime) -> Result:
    """Bring one ReplicaSet to its number of pods and report what there is."""
    replica_set = snapshot.get(REPLICASETS, *key)
    if replica_set is None:
        return NOTHING
    claims = _claims(snapshot, replica_set)
    if claims:
        return Result(claims)
    pods = [pod for pod in snapshot.owned_by(uid(replica_set)) if _counts(pod, replica_set)]
    writes, more = ([], False) if deleting(replica_set) else _manage(snapshot, replica_set, pods, now)
    report = set_status(REPLICASETS, replica_set, _status(replica_set, pods, now))
    wait_s = 0.0 if more else _next_available_s(replica_set, pods, now)
    # The report comes first: it says what was there before these writes, and must not hide a failed one.
    return Result([*report, *writes], wait_s)


def _selects(replica_set: Obj, pod: Obj) -> bool:
    return match_labels(spec(replica_set).get("selector"), labels(pod))


def _counts(pod: Obj, replica_set: Obj) -> bool:
    return pod["kind"] == "Pod" and active(pod) and controlled_by(pod, uid(replica_set))


def _claims(snapshot: Snapshot, replica_set: Obj) -> list[Write]:
    """Adopt matching pods without an owner, release owned ones that do not match any more."""
    if deleting(replica_set):
        return []
    writes = []
    for pod in snapshot.unowned(PODS, namespace(replica_set)):
        if active(pod) and _selects(replica_set, pod):
            owners = [*references(pod), controller_reference(replica_set)]
            writes.append(merge(PODS, pod, {"metadata": {"ownerReferences": owners}}, guarded=True))
    for pod in snapshot.owned_by(uid(replica_set)):
        mine = pod["kind"] == "Pod" and controlled_by(pod, uid(replica_set))
        if mine and not deleting(pod) and not _selects(replica_set, pod):
            owners = [one for one in references(pod) if one.get("uid") != uid(replica_set)]
            writes.append(merge(PODS, pod, {"metadata": {"ownerReferences": owners}}, guarded=True))
    return writes


def _manage(snapshot: Snapshot, replica_set: Obj, pods: Sequence[Obj], now: datetime) -> tuple[list[Write], bool]:
    """Return the pods to create or delete, and whether more than one burst is needed."""
    missing = manifests.replicas(replica_set) - len(pods)
    if missing >= 0:
        return [_create_pod(replica_set, now) for _ in range(min(missing, BURST))], missing > BURST
    chosen = victims(pods, _related(snapshot, replica_set), min(-missing, BURST), now)
    return [_delete_pod(replica_set, pod) for pod in chosen], -missing > BURST


def _related(snapshot: Snapshot, replica_set: Obj) -> list[Obj]:
    """Return the pods of all ReplicaSets of the same owner."""
    above = owner(replica_set)
    sets = snapshot.owned_by(above["uid"]) if above else [replica_set]
    return [
        pod
        for item in sets
        if item["kind"] == "ReplicaSet"
        for pod in snapshot.owned_by(uid(item))
        if pod["kind"] == "Pod"
    ]


def _create_pod(replica_set: Obj, now: datetime) -> Write:
    template = manifests.pod_template(replica_set)
    meta = template.get("metadata") or {}
    copied = {field: meta[field] for field in ("labels", "annotations", "finalizers") if meta.get(field)}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **copied,
            "generateName": f"{name(replica_set)}-",
            "namespace": namespace(replica_set),
            "ownerReferences": [controller_reference(replica_set)],
        },
        "spec": template["spec"],
    }
    told = event(replica_set, "SuccessfulCreate", "Created pod: {name}")
    return create(PODS, pod, announce=told, on_error=_failed(replica_set, "FailedCreate", "creating", now))


def _delete_pod(replica_set: Obj, pod: Obj) -> Write:
    told = event(replica_set, "SuccessfulDelete", f"Deleted pod: {name(pod)}")
    on_error = _failed(replica_set, "FailedDelete", "deleting", now=None)
    return delete(PODS, pod, announce=told, on_error=on_error)


def _failed(replica_set: Obj, reason: str, verb: str, now: datetime | None) -> Callable[[ApiError], list[Write]]:
    """Return what reports a refusal: an event, and for a refused creation the condition ReplicaFailure."""

    def report(error: ApiError) -> list[Write]:
        writes = [event(replica_set, reason, f"Error {verb}: {error.message}", warning=True)]
        if now is None or _failure(replica_set):
            return writes
        conditions = with_condition(
            status(replica_set).get("conditions") or (),
            now,
            type="ReplicaFailure",
            status="True",
            reason=reason,
            message=error.message,
        )
        after = {**status(replica_set), "conditions": conditions}
        return [*writes, *set_status(REPLICASETS, replica_set, after)]

    return report


def _failure(replica_set: Obj) -> Obj | None:
    return manifests.conditions(replica_set).get("ReplicaFailure")


def _status(replica_set: Obj, pods: Sequence[Obj], now: datetime) -> Obj:
    """Count the pods that are there now."""
    wanted_labels = manifests.labels(manifests.pod_template(replica_set)).items()
    min_ready_s = int(spec(replica_set).get("minReadySeconds") or 0)
    counts = {
        "fullyLabeledReplicas": sum(wanted_labels <= labels(pod).items() for pod in pods),
        "readyReplicas": sum(ready(pod) for pod in pods),
        "availableReplicas": sum(available(pod, min_ready_s, now) for pod in pods),
    }
    answer: Obj = {"replicas": len(pods), **{field: value for field, value in counts.items() if value}}
    answer["observedGeneration"] = manifests.generation(replica_set)
    conditions = list(status(replica_set).get("conditions") or ())
    if len(pods) >= manifests.replicas(replica_set):
        # Complete again, so nothing fails to be created any more.
        conditions = [item for item in conditions if item["type"] != "ReplicaFailure"]
    if conditions:
        answer["conditions"] = conditions
    return answer


def _next_available_s(replica_set: Obj, pods: Sequence[Obj], now: datetime) -> float | None:
    """Return after how many seconds the next ready pod will have been ready long enough."""
    min_ready_s = int(spec(replica_set).get("minReadySeconds") or 0)
    if min_ready_s <= 0:
        return None
    waits = []
    for pod in pods:
        since = ready_since(pod)
        if since is not None and not available(pod, min_ready_s, now):
            waits.append((since + timedelta(seconds=min_ready_s) - now).total_seconds() + 0.01)
    return earliest(waits)
