"""How does a Deployment get from one template to the next? Rolling updates, Recreate, scaling and history.

Pods are not touched here: this controller sizes ReplicaSets, the ReplicaSet controller makes and removes pods.

Source: kubernetes pkg/controller/deployment (deployment_controller.go, rolling.go, recreate.go, sync.go).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from platform_lib.embedded.controllers.deployment_revisions import (
    DESIRED,
    MAXIMUM,
    REVISION,
    Revisions,
    annotation_changes,
    build_set,
    find_revisions,
    new_set_name,
    next_revision,
    noted_sizes,
    revision_of,
    surplus_sets,
)
from platform_lib.embedded.controllers.deployment_sizes import (
    Share,
    Size,
    bounds_of,
    new_size,
    old_sizes,
    proportional_sizes,
)
from platform_lib.embedded.controllers.deployment_status import (
    complete,
    condition,
    deadline_s,
    find,
    note_pause,
    put,
    status_of,
    stuck_after_s,
)
from platform_lib.embedded.controllers.objects import (
    FINISHED,
    controlled_by,
    controller_reference,
    created,
    phase,
    references,
)
from platform_lib.embedded.controllers.writes import (
    DEPLOYMENTS,
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
from platform_lib.rules.manifests import deleting, name, namespace, owner, spec, status, uid

NAME = "deployment-controller"
WATCHES = frozenset({DEPLOYMENTS, REPLICASETS, PODS})


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the Deployments that a change concerns."""
    space = namespace(change.obj)
    if change.gvr == DEPLOYMENTS:
        return [(space, name(change.obj))]
    if change.gvr == PODS:
        return _recreating(snapshot, change)
    owners = [owner(item) for item in (change.obj, change.old) if item]
    found = [(space, one["name"]) for one in owners if one and one["kind"] == "Deployment"]
    if found or owner(change.obj) is not None:
        return found
    return [(space, name(one)) for one in snapshot.list(DEPLOYMENTS, space) if _selects(one, change.obj)]


def _recreating(snapshot: Snapshot, change: Change) -> list[Key]:
    """Return the Recreate Deployment that waited for this pod to end."""
    reference = owner(change.obj)
    ended = change.type == "DELETED" or phase(change.obj) in FINISHED
    if not ended or not reference or reference["kind"] != "ReplicaSet":
        return []
    replica_set = snapshot.get(REPLICASETS, namespace(change.obj), reference["name"])
    above = owner(replica_set) if replica_set else None
    return [(namespace(change.obj), above["name"])] if above and above["kind"] == "Deployment" else []


def reconcile(snapshot: Snapshot, key: Key, now: datetime) -> Result:
    """Move one Deployment one step towards its template and size."""
    deployment = snapshot.get(DEPLOYMENTS, *key)
    if deployment is None:
        return NOTHING
    claims = _claims(snapshot, deployment)
    if claims:
        return Result(claims)
    sets = [item for item in snapshot.owned_by(uid(deployment)) if item["kind"] == "ReplicaSet"]
    return _Step(snapshot, deployment, sets, now).take()


def _selects(deployment: Obj, replica_set: Obj) -> bool:
    return match_labels(spec(deployment).get("selector"), manifests.labels(replica_set))


def _claims(snapshot: Snapshot, deployment: Obj) -> list[Write]:
    """Adopt matching ReplicaSets without an owner, release owned ones that do not match any more."""
    if deleting(deployment):
        return []
    writes = []
    for item in snapshot.unowned(REPLICASETS, namespace(deployment)):
        if not deleting(item) and _selects(deployment, item):
            owners = [*references(item), controller_reference(deployment)]
            writes.append(merge(REPLICASETS, item, {"metadata": {"ownerReferences": owners}}, guarded=True))
    for item in snapshot.owned_by(uid(deployment)):
        if item["kind"] == "ReplicaSet" and controlled_by(item, uid(deployment)) and not _selects(deployment, item):
            owners = [one for one in references(item) if one.get("uid") != uid(deployment)]
            writes.append(merge(REPLICASETS, item, {"metadata": {"ownerReferences": owners}}, guarded=True))
    return writes


class _Step:
    """One reconcile of one Deployment; collects writes in the order the real controller makes them."""

    def __init__(self, snapshot: Snapshot, deployment: Obj, sets: Sequence[Obj], now: datetime) -> None:
        self.snapshot, self.deployment, self.now = snapshot, deployment, now
        self.bounds = bounds_of(deployment)
        self.revisions = find_revisions(deployment, sets)
        self.sizes = {name(item): manifests.replicas(item) for item in sets}
        self.conditions = note_pause(deployment, status(deployment).get("conditions") or [], now)
        self.writes: list[Write] = []

    def take(self) -> Result:
        """Decide and return the writes."""
        if deleting(self.deployment):
            return self._report(rollout=False)
        if spec(self.deployment).get("paused") or self._scaled_meanwhile():
            self._follow_revision()
            self._scale_whole()
            if spec(self.deployment).get("paused"):
                self._clean_up()
            return self._report(rollout=False)
        if (spec(self.deployment).get("strategy") or {}).get("type") == "Recreate":
            self._recreate()
        else:
            self._roll()
        return self._report(rollout=True)

    # --- the two strategies

    def _roll(self) -> None:
        """Grow the new set as far as the surge allows; else shrink the old ones as far as is safe."""
        if not self._new_revision():
            return
        new = self.revisions.new
        if new is None:
            return
        wanted = new_size(self.bounds, self.sizes[name(new)], sum(self.sizes.values()))
        if self._scale(new, wanted):
            return
        active = [item for item in self.revisions.old if self.sizes[name(item)] > 0]
        shrink = old_sizes(self.bounds, self._size(new), [self._size(item) for item in active])
        scaled = [self._scale(item, shrink[name(item)]) for item in active if name(item) in shrink]
        if not scaled and complete(self.deployment, status(self.deployment)):
            self._clean_up()

    def _recreate(self) -> None:
        """End every old pod before the first new one starts."""
        self._follow_revision()
        active = [item for item in self.revisions.old if self.sizes[name(item)] > 0]
        if active:
            for item in active:
                self._scale(item, 0)
            return
        if self._old_pods_running():
            return
        if self._new_revision() and self.revisions.new is not None:
            self._scale(self.revisions.new, self.bounds.wanted)
        if complete(self.deployment, status(self.deployment)):
            self._clean_up()

    def _old_pods_running(self) -> bool:
        """Tell whether a pod of an old ReplicaSet has not ended yet, terminating ones included."""
        for item in self.revisions.old:
            if status(item).get("replicas"):
                return True
            pods = [one for one in self.snapshot.owned_by(uid(item)) if one["kind"] == "Pod"]
            if any(phase(pod) not in FINISHED for pod in pods):
                return True
        return False

    # --- scaling of the whole

    def _scaled_meanwhile(self) -> bool:
        """Tell whether ``spec.replicas`` changed since the ReplicaSets were sized."""
        noted = [manifests.annotations(item).get(DESIRED) for item in self.revisions.all if self.sizes[name(item)] > 0]
        return any(text is not None and text != str(self.bounds.wanted) for text in noted)

    def _scale_whole(self) -> None:
        """Give the one active set the whole size, or share a change among several in proportion."""
        new = self.revisions.new
        active = [item for item in self.revisions.all if self.sizes[name(item)] > 0]
        if len(active) <= 1:
            target = active[0] if active else (new or next(iter(reversed(self.revisions.old)), None))
            if target is not None:
                self._scale(target, self.bounds.wanted, note=True)
            return
        if new is not None and self._saturated(new):
            for item in active:
                if item is not new:
                    self._scale(item, 0)
            self._scale(new, self.bounds.wanted, note=True)
            return
        self._share(active)

    def _share(self, active: Sequence[Obj]) -> None:
        if (spec(self.deployment).get("strategy") or {}).get("type") == "Recreate":
            return
        allowed = self.bounds.wanted + self.bounds.max_surge if self.bounds.wanted else 0
        grows = allowed > sum(self.sizes[name(item)] for item in active)
        ordered = sorted(active, key=lambda item: (created(item), name(item)), reverse=grows)
        ordered.sort(key=lambda item: -self.sizes[name(item)])
        sizes = proportional_sizes(self.bounds, [self._share_of(item) for item in ordered])
        for item in ordered:
            self._scale(item, sizes[name(item)], note=True)

    def _share_of(self, item: Obj) -> Share:
        noted = manifests.annotations(item).get(MAXIMUM, "")
        maximum = int(noted) if noted.isdigit() else int(status(self.deployment).get("replicas") or 0)
        return Share(name(item), self.sizes[name(item)], maximum)

    def _saturated(self, new: Obj) -> bool:
        """Tell whether the new set alone carries the whole Deployment."""
        wanted = self.bounds.wanted
        noted = manifests.annotations(new).get(DESIRED) == str(wanted)
        available = int(status(new).get("availableReplicas") or 0)
        return noted and self.sizes[name(new)] == wanted and available == wanted

    def _scale(self, item: Obj, size: int, *, note: bool = False) -> bool:
        """Resize a ReplicaSet; ``note`` brings its size annotations up to date even if the size stays.

        Returns:
            Whether the size changes.
        """
        old = self.sizes[name(item)]
        noted = noted_sizes(self.bounds)
        stale = any(manifests.annotations(item).get(key) != text for key, text in noted.items())
        if size == old and not (note and stale):
            return False
        self.sizes[name(item)] = size
        patch = {"metadata": {"annotations": noted}, "spec": {"replicas": size}}
        message = f"Scaled {'up' if size > old else 'down'} replica set {name(item)} from {old} to {size}"
        told = event(self.deployment, "ScalingReplicaSet", message) if size != old else None
        self.writes.append(merge(REPLICASETS, item, patch, guarded=True, announce=told))
        return size != old

    def _size(self, item: Obj) -> Size:
        available = int(status(item).get("availableReplicas") or 0)
        return Size(name(item), self.sizes[name(item)], available)

    # --- revisions

    def _follow_revision(self) -> None:
        """Keep the annotations of an existing new ReplicaSet and of the Deployment at the present revision."""
        new = self.revisions.new
        if new is None:
            return
        revision = next_revision(self.revisions)
        patch: Obj = {}
        changes = annotation_changes(self.deployment, new, revision)
        if changes:
            patch["metadata"] = {"annotations": changes}
        min_ready = int(spec(self.deployment).get("minReadySeconds") or 0)
        if int(spec(new).get("minReadySeconds") or 0) != min_ready:
            patch["spec"] = {"minReadySeconds": min_ready}
        if patch:
            self.writes.append(merge(REPLICASETS, new, patch))
        self._note_revision(max(revision, revision_of(new)))
        if deadline_s(self.deployment) is not None and find(self.conditions, "Progressing") is None:
            message = f'Found new replica set "{name(new)}"'
            found = condition("Progressing", "True", "FoundNewReplicaSet", message, self.now)
            self.conditions = put(self.conditions, found)

    def _note_revision(self, revision: int) -> None:
        if manifests.annotations(self.deployment).get(REVISION) != str(revision):
            patch = {"metadata": {"annotations": {REVISION: str(revision)}}}
            self.writes.append(merge(DEPLOYMENTS, self.deployment, patch))

    def _new_revision(self) -> bool:
        """Make sure that the ReplicaSet of the present template exists; False after a clash of names."""
        if self.revisions.new is not None:
            self._follow_revision()
            return True
        called, _ = new_set_name(self.deployment)
        if self.snapshot.get(REPLICASETS, namespace(self.deployment), called) is not None:
            count = int(status(self.deployment).get("collisionCount") or 0) + 1
            self.deployment = {**self.deployment, "status": {**status(self.deployment), "collisionCount": count}}
            return False
        self._create_set()
        return True

    def _create_set(self) -> None:
        revision = next_revision(self.revisions)
        recreate = (spec(self.deployment).get("strategy") or {}).get("type") == "Recreate"
        size = self.bounds.wanted if recreate else new_size(self.bounds, 0, sum(self.sizes.values()))
        new = build_set(self.deployment, self.bounds, revision=revision, size=size)
        message = f"Scaled up replica set {name(new)} from 0 to {size}"
        told = event(self.deployment, "ScalingReplicaSet", message) if size else None
        self.writes.append(create(REPLICASETS, new, announce=told, on_error=self._creation_failed(name(new))))
        self._note_revision(revision)
        self.sizes[name(new)] = size
        self.revisions = Revisions(new, self.revisions.old)
        if deadline_s(self.deployment) is not None:
            text = f'Created new replica set "{name(new)}"'
            made = condition("Progressing", "True", "NewReplicaSetCreated", text, self.now)
            self.conditions = put(self.conditions, made)

    def _creation_failed(self, called: str) -> Callable[[ApiError], list[Write]]:
        deployment, conditions, now = self.deployment, self.conditions, self.now

        def report(error: ApiError) -> list[Write]:
            message = f'Failed to create new replica set "{called}": {error.message}'
            failed = condition("Progressing", "False", "ReplicaSetCreateError", message, now)
            after = {**status(deployment), "conditions": put(conditions, failed)}
            told = event(deployment, "ReplicaSetCreateError", message, warning=True)
            return [*set_status(DEPLOYMENTS, deployment, after), told]

        return report

    def _clean_up(self) -> None:
        """Delete old ReplicaSets beyond the history limit."""
        background = {"propagationPolicy": "Background"}
        self.writes += [
            delete(REPLICASETS, item, background) for item in surplus_sets(self.deployment, self.revisions.old)
        ]

    # --- status

    def _report(self, *, rollout: bool) -> Result:
        after = status_of(self.deployment, self.revisions, self.conditions, self.now, rollout=rollout)
        stored = self.snapshot.get(DEPLOYMENTS, namespace(self.deployment), name(self.deployment))
        self.writes += set_status(DEPLOYMENTS, stored or self.deployment, after)
        return Result(self.writes, stuck_after_s(self.deployment, after, self.now))
