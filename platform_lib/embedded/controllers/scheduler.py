"""On which node does a pod run? Filters the nodes, ranks the rest, binds; or says why none fits.

Source: kubernetes pkg/scheduler (schedule_one.go; FitError for the wording). Preemption is absent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from platform_lib.embedded.controllers.objects import FINISHED, node_name, phase, with_condition
from platform_lib.embedded.controllers.scheduler_rules import (
    AFFINITY,
    NODE_NAME,
    PORTS,
    UNSCHEDULABLE,
    free_share,
    ports_taken,
    preference,
    shortages,
    simple_refusals,
    soft_taints,
)
from platform_lib.embedded.controllers.scheduler_spread import (
    PODS_WANTED,
    SPREAD_LABEL,
    Spread,
    pod_affinity_refusals,
    spreads_of,
)
from platform_lib.embedded.controllers.writes import (
    NODES,
    NOTHING,
    PODS,
    Change,
    Key,
    Result,
    Snapshot,
    Write,
    event,
    set_conditions,
)
from platform_lib.model import Obj
from platform_lib.rules.manifests import conditions, deleting, labels, name, namespace, spec, status, uid

NAME = "default-scheduler"
WATCHES = frozenset({PODS, NODES})

_HOPELESS = (UNSCHEDULABLE, NODE_NAME, AFFINITY, PODS_WANTED, SPREAD_LABEL, "node(s) had untolerated taint")
"""Refusals that stay even if other pods left the node."""


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the pods to place: the changed one, or all that wait when room may have appeared."""
    if change.gvr == NODES:
        return _waiting(snapshot) if change.type != "DELETED" and _node_changed(change) else []
    if change.type != "DELETED" and _wants_node(change.obj):
        return [(namespace(change.obj), name(change.obj))]
    return _waiting(snapshot) if _left_room(change) else []


def reconcile(snapshot: Snapshot, key: Key, now: datetime) -> Result:
    """Place one pod."""
    pod = snapshot.get(PODS, *key)
    if pod is None or not _wants_node(pod):
        return NOTHING
    nodes = snapshot.list(NODES)
    spreads = spreads_of(snapshot, pod)
    refusals = _refusals(snapshot, pod, nodes, spreads)
    fitting = [node for node in nodes if not refusals[name(node)]]
    if not fitting:
        return Result(_tell_unschedulable(pod, _explain(refusals), now))
    best = min(fitting, key=lambda node: _rank(snapshot, pod, node, spreads))
    return Result([_bind(pod, name(best))])


def _wants_node(pod: Obj) -> bool:
    inner = spec(pod)
    ours = inner.get("schedulerName", NAME) == NAME and not inner.get("schedulingGates")
    return ours and not node_name(pod) and not deleting(pod) and phase(pod) not in FINISHED


def _waiting(snapshot: Snapshot) -> list[Key]:
    return [(namespace(pod), name(pod)) for pod in snapshot.unscheduled() if _wants_node(pod)]


def _node_changed(change: Change) -> bool:
    """Tell whether something the filters look at changed; heartbeats do not count."""
    return change.old is None or _offer(change.old) != _offer(change.obj)


def _offer(node: Obj) -> tuple[object, ...]:
    return spec(node), labels(node), status(node).get("allocatable")


def _left_room(change: Change) -> bool:
    """Tell whether a pod stopped taking room, or stopped counting for the spread."""
    if change.type == "DELETED":
        return bool(node_name(change.obj))
    ended = phase(change.obj) in FINISHED and (change.old is None or phase(change.old) not in FINISHED)
    leaves = deleting(change.obj) and (change.old is None or not deleting(change.old))
    return ended or leaves


def _refusals(snapshot: Snapshot, pod: Obj, nodes: Sequence[Obj], spreads: Sequence[Spread]) -> dict[str, list[str]]:
    """Return for each node why it cannot take the pod; the first failing rule speaks, as upstream."""
    affinity = pod_affinity_refusals(snapshot, pod)
    found = {}
    for node in nodes:
        reasons = list(simple_refusals(pod, node))[:1]
        if not reasons and ports_taken(snapshot, pod, node):
            reasons = [PORTS]
        reasons = reasons or shortages(pod, node, snapshot.requested_on(name(node)))
        reasons = reasons or [text for text in (item.refusal(node) for item in spreads) if text][:1]
        found[name(node)] = reasons or affinity(node)[:1]
    return found


def _rank(snapshot: Snapshot, pod: Obj, node: Obj, spreads: Sequence[Spread]) -> tuple[object, ...]:
    """Order nodes: fewest of its own kind, preferences, then the emptiest; the name decides the rest."""
    return (
        sum(item.crowd(node) for item in spreads),
        soft_taints(pod, node),
        -preference(pod, node),
        -round(free_share(pod, node, snapshot.requested_on(name(node))), 4),
        name(node),
    )


def _bind(pod: Obj, node: str) -> Write:
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name(pod), "namespace": namespace(pod), "uid": uid(pod)},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    told = event(pod, "Scheduled", f"Successfully assigned {namespace(pod)}/{name(pod)} to {node}")
    return Write("bind", PODS, namespace(pod), name(pod), body, uid(pod), announce=told)


def _explain(refusals: dict[str, list[str]]) -> str:
    """Word the refusals as the real scheduler does."""
    if not refusals:
        return "no nodes available to schedule pods"
    counts = Counter(reason for reasons in refusals.values() for reason in reasons)
    total = len(refusals)
    said = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
    hopeless = sum(reasons[0].startswith(_HOPELESS) for reasons in refusals.values())
    advice = {"Preemption is not helpful for scheduling": hopeless}
    advice["No preemption victims found for incoming pod"] = total - hopeless
    preemption = ", ".join(sorted(f"{count} {text}" for text, count in advice.items() if count))
    return f"0/{total} nodes are available: {said}. preemption: 0/{total} nodes are available: {preemption}."


def _tell_unschedulable(pod: Obj, message: str, now: datetime) -> list[Write]:
    """Report the condition once, and an event each time the explanation changes."""
    old = conditions(pod).get("PodScheduled", {})
    if old.get("status") == "False" and old.get("message") == message:
        return []
    after = with_condition(
        status(pod).get("conditions") or (),
        now,
        type="PodScheduled",
        status="False",
        reason="Unschedulable",
        message=message,
    )
    return [*set_conditions(PODS, pod, after), event(pod, "FailedScheduling", message, warning=True)]
