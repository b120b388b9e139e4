"""Which pods will no node agent ever finish? Those on nodes that do not exist any more, or are declared dead.

A terminating pod on a node that is merely lost stays until the node is back, as on any cluster.

Source: kubernetes pkg/controller/podgc/gc_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from platform_lib.embedded.controllers.objects import node_name
from platform_lib.embedded.controllers.writes import (
    NODES,
    NOTHING,
    PODS,
    Change,
    Key,
    Result,
    Snapshot,
    delete,
)
from platform_lib.model import Obj
from platform_lib.rules.manifests import condition_true, deleting, name, namespace, spec

NAME = "pod-garbage-collector"
WATCHES = frozenset({NODES, PODS})

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"

_NOW = {"gracePeriodSeconds": 0}


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the pods that a change concerns."""
    if change.gvr == PODS:
        if change.type == "DELETED":
            return []
        orphan = bool(node_name(change.obj)) and snapshot.get(NODES, "", node_name(change.obj)) is None
        return [(namespace(change.obj), name(change.obj))] if orphan or deleting(change.obj) else []
    if change.type == "DELETED" or _out_of_service(change.obj):
        return [(namespace(pod), name(pod)) for pod in snapshot.pods_on(name(change.obj))]
    return []


def reconcile(snapshot: Snapshot, key: Key, now: datetime, memory: datetime | None, *, quarantine_s: float) -> Result:
    """Remove one pod that nobody else will.

    Args:
        snapshot: The cluster.
        key: The pod.
        now: Present time.
        memory: When the pod was first seen without a node.
        quarantine_s: Seconds a pod may be without its node, in case the node object comes back.
    """
    pod = snapshot.get(PODS, *key)
    if pod is None:
        return NOTHING
    if not node_name(pod):
        return Result([delete(PODS, pod, _NOW)]) if deleting(pod) else NOTHING
    node = snapshot.get(NODES, "", node_name(pod))
    if node is not None:
        dead = deleting(pod) and _out_of_service(node) and not condition_true(node, "Ready")
        return Result([delete(PODS, pod, _NOW)]) if dead else NOTHING
    since = memory or now
    left_s = (since + timedelta(seconds=quarantine_s) - now).total_seconds()
    if left_s > 0:
        return Result((), left_s + 0.01, since)
    return Result([delete(PODS, pod, _NOW)])


def _out_of_service(node: Obj) -> bool:
    return any(taint.get("key") == OUT_OF_SERVICE for taint in spec(node).get("taints") or ())
