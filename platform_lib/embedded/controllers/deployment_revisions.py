"""Which ReplicaSet carries which revision of a Deployment? Names, annotations and the history that is kept.

Source: kubernetes pkg/controller/deployment (sync.go, util/deployment_util.go).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from platform_lib.embedded.controllers.deployment_sizes import Bounds
from platform_lib.embedded.controllers.objects import controller_reference, oldest_first
from platform_lib.embedded.controllers.templates import HASH_LABEL, same_template, template_hash
from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.manifests import name, spec, status

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"

_NOT_COPIED = frozenset({
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION, HISTORY, DESIRED, MAXIMUM,
    "deprecated.deployment.rollback.rollback.to",
})  # fmt: skip

_HISTORY_LENGTH = 2000
_NO_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Revisions:
    """The ReplicaSets of a Deployment: the one of its present template (or None) and all others, oldest first."""

    new: Obj | None
    old: Sequence[Obj]

    @property
    def all(self) -> list[Obj]:
        """Every ReplicaSet, the new one last."""
        return [*self.old, *([self.new] if self.new else ())]


def find_revisions(deployment: Obj, sets: Sequence[Obj]) -> Revisions:
    """Sort the ReplicaSets into new and old; with several of the same template the oldest is the new one."""
    ordered = oldest_first(sets)
    template = manifests.pod_template(deployment)
    new = next((item for item in ordered if same_template(manifests.pod_template(item), template)), None)
    return Revisions(new, [item for item in ordered if item is not new])


def revision_of(obj: Obj) -> int:
    """Return the revision noted on a ReplicaSet or Deployment; 0 when there is none."""
    text = manifests.annotations(obj).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def next_revision(revisions: Revisions) -> int:
    """Return the revision that belongs to the new ReplicaSet."""
    return max((revision_of(item) for item in revisions.old), default=0) + 1


def noted_sizes(bounds: Bounds) -> dict[str, str]:
    """Return the annotations that remember for which size of the Deployment a ReplicaSet was scaled."""
    return {DESIRED: str(bounds.wanted), MAXIMUM: str(bounds.wanted + bounds.max_surge)}


def copied_annotations(deployment: Obj) -> dict[str, str]:
    """Return the annotations a Deployment hands down to its new ReplicaSet."""
    return {key: text for key, text in manifests.annotations(deployment).items() if key not in _NOT_COPIED}


def annotation_changes(deployment: Obj, new: Obj, revision: int) -> dict[str, str]:
    """Return what has to change in the annotations of an existing new ReplicaSet (revision reuse included)."""
    have = manifests.annotations(new)
    wanted = copied_annotations(deployment)
    if revision_of(new) < revision:
        wanted[REVISION] = str(revision)
        if REVISION in have:
            # The set is used again after a rollback: remember under which revisions it ran before.
            earlier = [item for item in have.get(HISTORY, "").split(",") if item] + [have[REVISION]]
            while len(",".join(earlier)) > _HISTORY_LENGTH:
                earlier.pop(0)
            wanted[HISTORY] = ",".join(earlier)
    return {key: text for key, text in wanted.items() if have.get(key) != text}


def new_set_name(deployment: Obj) -> tuple[str, str]:
    """Return (name, hash) of the ReplicaSet for the present template."""
    collisions = int(status(deployment).get("collisionCount") or 0)
    hashed = template_hash(manifests.pod_template(deployment), collisions)
    return f"{name(deployment)}-{hashed}", hashed


def build_set(deployment: Obj, bounds: Bounds, *, revision: int, size: int) -> Obj:
    """Return the ReplicaSet for the present template."""
    called, hashed = new_set_name(deployment)
    template = manifests.pod_template(deployment)
    meta = dict(template.get("metadata") or {})
    labels = {**(meta.get("labels") or {}), HASH_LABEL: hashed}
    selector = dict(spec(deployment).get("selector") or {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: hashed}
    inner = {
        "replicas": size,
        "selector": selector,
        "template": {**template, "metadata": {**meta, "labels": labels}},
    }
    if spec(deployment).get("minReadySeconds"):
        inner["minReadySeconds"] = spec(deployment)["minReadySeconds"]
    notes = {**copied_annotations(deployment), REVISION: str(revision), **noted_sizes(bounds)}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": called,
            "namespace": manifests.namespace(deployment),
            "labels": labels,
            "annotations": notes,
            "ownerReferences": [controller_reference(deployment)],
        },
        "spec": inner,
    }


def surplus_sets(deployment: Obj, old: Sequence[Obj]) -> list[Obj]:
    """Return the old, empty ReplicaSets beyond ``spec.revisionHistoryLimit``, lowest revision first."""
    limit = spec(deployment).get("revisionHistoryLimit")
    if limit is None or limit == _NO_LIMIT:
        return []
    kept = [item for item in old if not manifests.deleting(item)]
    too_many = len(kept) - int(limit)
    ranked = sorted(kept, key=revision_of)
    return [item for item in ranked[: max(0, too_many)] if _empty(item)]


def _empty(replica_set: Obj) -> bool:
    """Tell whether nothing runs under the ReplicaSet and its controller has seen that this is wanted."""
    counted = status(replica_set)
    return (
        not counted.get("replicas")
        and manifests.replicas(replica_set) == 0
        and manifests.generation(replica_set) <= int(counted.get("observedGeneration") or 0)
    )
