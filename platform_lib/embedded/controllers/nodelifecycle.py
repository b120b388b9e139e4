"""Which nodes are alive, and what follows for the pods on those that are not?

A node that stops renewing its lease becomes ``Ready=Unknown``; its pods turn unready at once, so that Services
drop them; taints keep new pods away and let ``tainteviction`` move the old ones. All of it is taken back when
the node reports again.

Source: kubernetes pkg/controller/nodelifecycle/node_lifecycle_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from platform_lib.embedded.controllers.objects import node_name, ready, to_text, with_condition
from platform_lib.embedded.controllers.writes import (
    LEASES,
    NODES,
    NOTHING,
    PODS,
    Change,
    Key,
    Result,
    Snapshot,
    Write,
    event,
    merge,
    set_conditions,
)
from platform_lib.model import Obj
from platform_lib.rules.manifests import conditions, deleting, name, namespace, spec, status

NAME = "node-controller"
WATCHES = frozenset({NODES, LEASES, PODS})

LEASE_NAMESPACE = "kube-node-lease"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
CORDONED = "node.kubernetes.io/unschedulable"

_PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
}
_OWN_TAINTS = frozenset({NOT_READY, UNREACHABLE, CORDONED, *_PRESSURES.values()})


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of life of a node (lease renewal or status report) and when this controller saw it.

    The age counts from the sight: after a restart of the control plane every node gets a full grace period.
    """

    renewed: str
    seen_at: datetime


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the nodes that a change concerns."""
    if change.gvr == LEASES:
        return [("", name(change.obj))] if namespace(change.obj) == LEASE_NAMESPACE else []
    if change.gvr == PODS:
        moved = change.old is None or node_name(change.old) != node_name(change.obj)
        return [("", node_name(change.obj))] if node_name(change.obj) and moved else []
    if change.old is not None and change.type != "DELETED" and _ready(change.old) == _ready(change.obj):
        return [("", name(change.obj))]
    # Whether pods are moved away depends on how many nodes are left, so all are looked at.
    return [("", name(node)) for node in snapshot.list(NODES)]


def reconcile(snapshot: Snapshot, key: Key, now: datetime, memory: Heartbeat | None, *, grace_s: float) -> Result:
    """Judge one node.

    Args:
        snapshot: The cluster.
        key: ("", node).
        now: Present time.
        memory: What was seen of the node's lease before.
        grace_s: Age of a heartbeat, in seconds, above which the node counts as lost.
    """
    node = snapshot.get(NODES, "", key[1])
    if node is None:
        return NOTHING
    renewed = _sign_of_life(snapshot, node)
    beat = memory if memory is not None and memory.renewed == renewed else Heartbeat(renewed, now)
    left_s = (beat.seen_at + timedelta(seconds=grace_s) - now).total_seconds()
    writes: list[Write] = []
    reported = _ready(node)
    if left_s <= 0 and reported != "Unknown":
        writes += _mark_unknown(node, now)
        reported = "Unknown"
    writes += _taint(snapshot, node, reported, now)
    if reported != "True":
        writes += _mark_pods(snapshot, node, now)
    return Result(writes, left_s + 0.01 if left_s > 0 else None, beat)


def _sign_of_life(snapshot: Snapshot, node: Obj) -> str:
    """Return a text that changes whenever the node agent renews its lease or reports its status."""
    lease = snapshot.get(LEASES, LEASE_NAMESPACE, name(node))
    renewed = spec(lease).get("renewTime") if lease else ""
    return f"{renewed} {conditions(node).get('Ready', {}).get('lastHeartbeatTime', '')}"


def _ready(node: Obj) -> str:
    """Return the status of the node's Ready condition; Unknown where it has none."""
    return str(conditions(node).get("Ready", {}).get("status", "Unknown"))


def _mark_unknown(node: Obj, now: datetime) -> list[Write]:
    """Turn every condition the node agent reported to Unknown."""
    after = list(status(node).get("conditions") or ())
    known = conditions(node)
    for kind in ("Ready", *_PRESSURES):
        never = kind not in known
        if never and kind != "Ready":
            continue
        beat = known.get(kind, {}).get("lastHeartbeatTime")
        after = with_condition(
            after,
            now,
            type=kind,
            status="Unknown",
            reason="NodeStatusNeverUpdated" if never else "NodeStatusUnknown",
            message=f"Kubelet {'never' if never else 'stopped'} {'posted' if never else 'posting'} node status.",
            **({"lastHeartbeatTime": beat} if beat else {}),
        )
    told = event(node, "NodeNotReady", f"Node {name(node)} status is now: NodeNotReady")
    return [*set_conditions(NODES, node, after), told]


def _taint(snapshot: Snapshot, node: Obj, reported: str, now: datetime) -> list[Write]:
    """Bring the taints that follow from conditions in line; taints set by people stay."""
    present = spec(node).get("taints") or []
    wanted = _wanted_taints(snapshot, node, reported)
    kept = [one for one in present if one["key"] not in _OWN_TAINTS or _id(one) in wanted]
    have = {_id(one) for one in kept}
    added = [
        {"key": key, "effect": effect, "timeAdded": to_text(now)} for key, effect in wanted if (key, effect) not in have
    ]
    if not added and len(kept) == len(present):
        return []
    return [merge(NODES, node, {"spec": {"taints": [*kept, *added] or None}})]


def _wanted_taints(snapshot: Snapshot, node: Obj, reported: str) -> list[tuple[str, str]]:
    found = []
    if spec(node).get("unschedulable"):
        found.append((CORDONED, "NoSchedule"))
    known = conditions(node)
    found += [(key, "NoSchedule") for kind, key in _PRESSURES.items() if known.get(kind, {}).get("status") == "True"]
    lost = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(reported)
    if lost:
        found.append((lost, "NoSchedule"))
        others = [one for one in snapshot.list(NODES) if name(one) != name(node)]
        if any(_ready(one) == "True" for one in others):
            # With every node lost the fault is more likely ours than theirs: nothing is moved then.
            found.append((lost, "NoExecute"))
    return found


def _id(taint: Mapping[str, Any]) -> tuple[str, str]:
    return str(taint["key"]), str(taint.get("effect", ""))


def _mark_pods(snapshot: Snapshot, node: Obj, now: datetime) -> list[Write]:
    """Turn the pods of a lost node unready."""
    writes: list[Write] = []
    for pod in snapshot.pods_on(name(node)):
        if not ready(pod):
            continue
        old = conditions(pod)["Ready"]
        new = {**old, "status": "False", "lastTransitionTime": to_text(now)}
        after = [new if item["type"] == "Ready" else item for item in status(pod)["conditions"]]
        writes += set_conditions(PODS, pod, after)
        if not deleting(pod):
            writes.append(event(pod, "NodeNotReady", "Node is not ready", warning=True))
    return writes
