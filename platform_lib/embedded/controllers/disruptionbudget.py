"""How many pods of a PodDisruptionBudget may be evicted now?

Source: kubernetes pkg/controller/disruption/disruption.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from platform_lib.embedded.controllers.objects import (
    active,
    earliest,
    ready,
    resolve_percent,
    to_text,
    to_time,
)
from platform_lib.embedded.controllers.writes import (
    BUDGETS,
    DEPLOYMENTS,
    NOTHING,
    PODS,
    REPLICASETS,
    Change,
    Key,
    Result,
    Snapshot,
    set_status,
)
from platform_lib.embedded.selectors import match_labels
from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.manifests import deleting, labels, name, namespace, owner, spec, status, uid

NAME = "disruption-controller"
WATCHES = frozenset({BUDGETS, PODS, REPLICASETS, DEPLOYMENTS})

EVICTION_S = 120
"""Seconds after which an approved eviction that led to no deletion is forgotten."""


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the budgets that a change concerns."""
    space = namespace(change.obj)
    if change.gvr == BUDGETS:
        return [(space, name(change.obj))]
    budgets = snapshot.list(BUDGETS, space)
    if not budgets or not _matters(change):
        return []
    carried = [labels(manifests.pod_template(item)) for item in (change.obj, change.old) if item]
    return [
        (space, name(budget))
        for budget in budgets
        if any(match_labels(spec(budget).get("selector"), one) for one in carried)
    ]


def _matters(change: Change) -> bool:
    """Tell whether a pod's health or a workload's size changed."""
    if change.old is None or change.type == "DELETED":
        return True
    if change.gvr == PODS:
        return _health(change.old) != _health(change.obj)
    return manifests.replicas(change.old) != manifests.replicas(change.obj)


def _health(pod: Obj) -> tuple[object, ...]:
    return ready(pod), active(pod), labels(pod)


def reconcile(snapshot: Snapshot, key: Key, now: datetime) -> Result:
    """Count one budget."""
    budget = snapshot.get(BUDGETS, *key)
    if budget is None or deleting(budget):
        return NOTHING
    selector = spec(budget).get("selector")
    pods = [pod for pod in snapshot.list(PODS, key[0]) if active(pod) and match_labels(selector, labels(pod))]
    disrupted, wait_s = _still_disrupted(budget, pods, now)
    expected, wanted = _goal(snapshot, budget, pods)
    healthy = sum(ready(pod) and name(pod) not in disrupted for pod in pods)
    allowed = max(0, healthy - wanted) if expected > 0 else 0
    counts: Obj = {
        "observedGeneration": manifests.generation(budget),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": wanted,
        "expectedPods": expected,
        "conditions": _conditions(budget, allowed, now),
    }
    if disrupted:
        counts["disruptedPods"] = disrupted
    return Result(set_status(BUDGETS, budget, counts), wait_s)


def _still_disrupted(budget: Obj, pods: Sequence[Obj], now: datetime) -> tuple[dict[str, str], float | None]:
    """Return the approved evictions that were not carried out yet, and when the next one is forgotten."""
    present = {name(pod) for pod in pods}
    kept, waits = {}, []
    for pod, text in (status(budget).get("disruptedPods") or {}).items():
        left_s = ((to_time(text) or now) + timedelta(seconds=EVICTION_S) - now).total_seconds()
        if pod in present and left_s > 0:
            kept[pod] = text
            waits.append(left_s + 0.1)
    return kept, earliest(waits)


def _goal(snapshot: Snapshot, budget: Obj, pods: Sequence[Obj]) -> tuple[int, int]:
    """Return (expected pods, pods that have to stay healthy)."""
    inner = spec(budget)
    if inner.get("maxUnavailable") is not None:
        expected = _expected(snapshot, pods)
        missing = resolve_percent(inner["maxUnavailable"], expected, round_up=True)
        return expected, max(0, expected - missing)
    minimum = inner.get("minAvailable", 1)
    expected = _expected(snapshot, pods) if isinstance(minimum, str) else len(pods)
    return expected, resolve_percent(minimum, expected, round_up=True)


def _expected(snapshot: Snapshot, pods: Sequence[Obj]) -> int:
    """Return how many pods the controllers of these pods want together."""
    workloads: dict[str, int] = {}
    for pod in pods:
        top = _top_owner(snapshot, pod)
        if top is not None:
            workloads[uid(top)] = manifests.replicas(top)
    return sum(workloads.values())


def _top_owner(snapshot: Snapshot, pod: Obj) -> Obj | None:
    """Return the Deployment above the pod, or its direct controller when there is none."""
    reference = owner(pod)
    above = snapshot.by_uid(reference["uid"]) if reference else None
    if above is not None and owner(above) is not None:
        return snapshot.by_uid((owner(above) or {})["uid"]) or above
    return above


def _conditions(budget: Obj, allowed: int, now: datetime) -> list[Obj]:
    value, reason = ("True", "SufficientPods") if allowed > 0 else ("False", "InsufficientPods")
    old = manifests.conditions(budget).get("DisruptionAllowed")
    if old and old["status"] == value and old["reason"] == reason:
        since = old["lastTransitionTime"]
        if old.get("observedGeneration") == manifests.generation(budget):
            return [old]
    else:
        since = to_text(now)
    return [
        {
            "type": "DisruptionAllowed",
            "status": value,
            "reason": reason,
            "message": "",
            "observedGeneration": manifests.generation(budget),
            "lastTransitionTime": since,
        }
    ]
