"""Can a workload live on machines that are taken away at short notice? Checks with reasons; pure.

Source: notice before reclaim - AWS EC2 Spot 120 s, Google Cloud Spot 30 s, Azure Spot 30 s (their documentation);
Kubernetes, Disruptions and PodDisruptionBudget. A reclaim ignores a PodDisruptionBudget, but the drain that a
termination handler starts within the notice respects it, so a budget that allows no eviction turns each reclaim into
a hard kill.
"""

from __future__ import annotations

from collections.abc import Iterable

from platform_lib.model import Check, Obj
from platform_lib.rules import manifests, policies

NOTICE_S = {"aws": 120, "gcp": 30, "azure": 30}
_ZONES = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


def checks(deployment: Obj, budgets: Iterable[Obj], *, notice_s: int = 30) -> tuple[Check, ...]:
    """Check one Deployment.

    Args:
        deployment: The live object.
        budgets: PodDisruptionBudgets of its namespace.
        notice_s: Time between notice and loss in seconds; the shortest of the large providers is 30.

    Returns:
        One check each for replicas, budget, spread, graceful end, and state; ``fail`` names the next step.
    """
    return (
        _replicas(deployment),
        _budget(deployment, list(budgets)),
        _spread(deployment),
        _graceful(deployment, notice_s),
        _state(deployment),
    )


def _check(name: str, good: bool, value: str, rule: str, step: str) -> Check:
    """Build a check whose reason is the next step."""
    return Check(name, "pass" if good else "fail", value, rule, "" if good else step)


def _replicas(deployment: Obj) -> Check:
    """Two are the least that survives the loss of one machine."""
    count = manifests.replicas(deployment)
    return _check("replicas", count >= 2, str(count), "at least 2", "raise replicas or minReplicas to 2")


def _budget(deployment: Obj, budgets: list[Obj]) -> Check:
    """A budget must be there and must let one pod go."""
    labels = manifests.labels(manifests.pod_template(deployment))
    rule = "a PodDisruptionBudget that allows a disruption now"
    covering = [one for one in budgets if _selects(one, labels)]
    if not covering:
        return _check("disruption budget", False, "none", rule, "add a PodDisruptionBudget with minAvailable")
    if len(covering) > 1:
        names = ", ".join(manifests.name(one) for one in covering)
        return _check("disruption budget", False, names, rule, "keep one: pods under two budgets cannot be evicted")
    status = manifests.status(covering[0])
    allowed = int(status.get("disruptionsAllowed") or 0)
    value = f"{manifests.name(covering[0])}: {allowed} allowed"
    return _check("disruption budget", allowed >= 1, value, rule, "more replicas, or a smaller minAvailable")


def _selects(budget: Obj, labels: dict[str, str]) -> bool:
    """Tell whether a budget covers pods with these labels; expressions are compared too."""
    # policy/v1: an empty selector covers every pod of the namespace
    return policies.selects(manifests.spec(budget).get("selector") or {}, labels)


def _spread(deployment: Obj) -> Check:
    """Pods on one machine are lost together."""
    pod = manifests.spec(manifests.pod_template(deployment))
    keys = [c.get("topologyKey") for c in pod.get("topologySpreadConstraints") or ()]
    anti = ((pod.get("affinity") or {}).get("podAntiAffinity") or {}) if pod.get("affinity") else {}
    good = any(key in _ZONES for key in keys) or bool(anti)
    value = ", ".join(str(key) for key in keys) or ("anti-affinity" if anti else "none")
    return _check("spread", good, value, "spread over hosts or zones", "add topologySpreadConstraints")


def _graceful(deployment: Obj, notice_s: int) -> Check:
    """The end of a pod must fit into the notice, and must exist."""
    pod = manifests.spec(manifests.pod_template(deployment))
    grace_s = int(pod.get("terminationGracePeriodSeconds") or 30)
    hooks = all((container.get("lifecycle") or {}).get("preStop") for container in pod.get("containers") or ())
    value = f"{grace_s} s, preStop {'set' if hooks else 'missing'}"
    step = "set terminationGracePeriodSeconds below the notice, and a preStop that keeps serving for a moment"
    return _check("graceful end", grace_s <= notice_s and hooks, value, f"within {notice_s} s, with a preStop", step)


def _state(deployment: Obj) -> Check:
    """What is on the machine goes with it."""
    pod = manifests.spec(manifests.pod_template(deployment))
    kept = [v.get("name", "?") for v in pod.get("volumes") or () if "persistentVolumeClaim" in v or "hostPath" in v]
    return _check("state", not kept, ", ".join(kept) or "none", "nothing kept on the machine", "keep state elsewhere")
