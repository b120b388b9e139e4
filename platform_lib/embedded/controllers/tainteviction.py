"""Which pods have to leave a node because of a NoExecute taint, and when?

Source: kubernetes pkg/controller/tainteviction/taint_eviction.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from platform_lib.embedded.controllers.objects import FINISHED, node_name, phase, to_time, with_condition
from platform_lib.embedded.controllers.tolerations import toleration_matches
from platform_lib.embedded.controllers.writes import (
    NODES,
    NOTHING,
    PODS,
    Change,
    Key,
    Result,
    Snapshot,
    delete,
    event,
    set_conditions,
)
from platform_lib.model import Obj
from platform_lib.rules.manifests import deleting, name, namespace, spec, status

NAME = "taint-eviction-controller"
WATCHES = frozenset({NODES, PODS})


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the pods that a change concerns."""
    if change.gvr == PODS:
        moved = change.old is None or node_name(change.old) != node_name(change.obj)
        return [(namespace(change.obj), name(change.obj))] if node_name(change.obj) and moved else []
    if change.old is not None and _executing(change.old) == _executing(change.obj):
        return []
    return [(namespace(pod), name(pod)) for pod in snapshot.pods_on(name(change.obj))]


def reconcile(snapshot: Snapshot, key: Key, now: datetime) -> Result:
    """Delete one pod whose time on a tainted node is over."""
    pod = snapshot.get(PODS, *key)
    if pod is None or deleting(pod) or phase(pod) in FINISHED:
        return NOTHING
    node = snapshot.get(NODES, "", node_name(pod))
    ends = [_end(pod, taint, now) for taint in _executing(node)] if node else []
    due = min((end for end in ends if end is not None), default=None)
    if due is None:
        return NOTHING
    wait_s = (due - now).total_seconds()
    if wait_s > 0:
        return Result((), wait_s + 0.01)
    after = with_condition(
        status(pod).get("conditions") or (),
        now,
        type="DisruptionTarget",
        status="True",
        reason="DeletionByTaintManager",
        message="Taint manager: deleting due to NoExecute taint",
    )
    told = event(pod, "TaintManagerEviction", f"Marking for deletion Pod {namespace(pod)}/{name(pod)}")
    return Result([told, *set_conditions(PODS, pod, after), delete(PODS, pod)])


def _executing(node: Obj) -> list[Mapping[str, Any]]:
    return [taint for taint in spec(node).get("taints") or () if taint.get("effect") == "NoExecute"]


def _end(pod: Obj, taint: Mapping[str, Any], now: datetime) -> datetime | None:
    """Return when the pod has to go because of one taint; None for never."""
    matching = [item for item in spec(pod).get("tolerations") or () if toleration_matches(item, taint)]
    if not matching:
        return now
    limits = [int(item["tolerationSeconds"]) for item in matching if item.get("tolerationSeconds") is not None]
    if not limits:
        return None
    since = to_time(taint.get("timeAdded")) or now
    return since + timedelta(seconds=max(0, min(limits)))
