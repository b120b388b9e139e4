"""Is this object healthy, and is the application made of such objects? Argo CD's rules, as pure functions.

Source: Argo CD v3.5.1, built-in health checks and the bundled customisations for the kinds named here.
Sync status (is it what git says?) does not belong here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from platform_lib.model import Obj
from platform_lib.rules import manifests as m

HealthStatus = Literal["Healthy", "Suspended", "Progressing", "Missing", "Degraded", "Unknown"]

SEVERITY: tuple[HealthStatus, ...] = (
    "Healthy",
    "Suspended",
    "Progressing",
    "Missing",
    "Degraded",
    "Unknown",
)
"""From best to worst."""

HOOK_FINALIZER = "argocd.argoproj.io/hook-finalizer"
IGNORE_HEALTH_ANNOTATION = "argocd.argoproj.io/ignore-healthcheck"

CHILD_APPLICATIONS_COUNT = True
"""Whether a child Application's own health counts as its health.

Argo CD dropped that rule in 1.8; its documentation gives the customisation that puts it back, and the k3d
bootstrap installs it. With it, waves of an application of applications wait for each other.
"""


class Health(NamedTuple):
    """A judgement with its reason (may be empty)."""

    status: HealthStatus
    message: str = ""


_HEALTHY = Health("Healthy")
_ROLLOUT = "Waiting for rollout to finish: "


def _progressing(message: str = "") -> Health:
    return Health("Progressing", message)


def health_of(obj: Obj) -> Health | None:
    """Judge one live object.

    Args:
        obj: The object as read from the API.

    Returns:
        The health, or None for a kind without a rule (which counts as fine).

    Source: Argo CD v3.5.1, gitops-engine pkg/health.
    """
    if m.deleting(obj) and HOOK_FINALIZER not in m.finalizers(obj):
        return _progressing("Pending deletion")
    group, version, of_kind = m.gvk(obj)
    rule = _RULES.get((group, of_kind))
    if rule is None:
        return None
    if group == "apps" and version != "v1":
        return Health("Unknown", f"unsupported apps/{version} {of_kind}")
    return rule(obj)


def worst(statuses: Iterable[HealthStatus]) -> HealthStatus:
    """Return the worst status; Healthy for none."""
    return max(statuses, key=SEVERITY.index, default="Healthy")


def application_health(live: Iterable[Obj | None], *, skip: Callable[[Obj], bool] = lambda obj: False) -> HealthStatus:
    """Judge an application by its managed objects.

    Args:
        live: For each wanted object its live form, None where it is missing.
        skip: Says of a live object that it does not count (hooks, the application itself).

    Returns:
        The worst health that counts. One missing object does not count (sync status tells); when something
        is wanted and nothing at all is live, the answer is Missing.

    Source: Argo CD v3.5.1, controller/health.go.
    """
    objects = list(live)
    found = [obj for obj in objects if obj is not None]
    if objects and not found:
        return "Missing"
    return worst(_counting(obj) for obj in found if not skip(obj))


def _counting(obj: Obj) -> HealthStatus:
    """Return what one live object contributes to its application."""
    if m.annotations(obj).get(IGNORE_HEALTH_ANNOTATION) == "true":
        return "Healthy"
    health = health_of(obj)
    if health is None:
        return "Healthy"
    if m.gvk(obj)[2] == "Application" and health.status in ("Missing", "Unknown"):
        return "Healthy"
    return health.status


def _observed(obj: Obj) -> bool:
    """Tell whether the controller has seen the newest specification."""
    return m.generation(obj) <= int(m.status(obj).get("observedGeneration") or 0)


def _count(obj: Obj, field: str) -> int:
    """Read a counter of the status."""
    return int(m.status(obj).get(field) or 0)


def _unobserved(what: str) -> Health:
    """Say that the controller has not seen the newest specification."""
    return _progressing(f"{_ROLLOUT}observed {what} generation less than desired generation")


def _deployment(obj: Obj) -> Health:
    if m.spec(obj).get("paused"):
        return Health("Suspended", "Deployment is paused")
    if not _observed(obj):
        return _unobserved("deployment")
    if m.conditions(obj).get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded":
        return Health("Degraded", f'Deployment "{m.name(obj)}" exceeded its progress deadline')
    wanted = m.spec(obj).get("replicas")
    updated, available = _count(obj, "updatedReplicas"), _count(obj, "availableReplicas")
    if wanted is not None and updated < wanted:
        return _progressing(f"{_ROLLOUT}{updated} out of {wanted} new replicas have been updated...")
    if _count(obj, "replicas") > updated:
        old = _count(obj, "replicas") - updated
        return _progressing(f"{_ROLLOUT}{old} old replicas are pending termination...")
    if available < updated:
        return _progressing(f"{_ROLLOUT}{available} of {updated} updated replicas are available...")
    return _HEALTHY


def _replica_set(obj: Obj) -> Health:
    if not _observed(obj):
        return _unobserved("replica set")
    if m.condition_true(obj, "ReplicaFailure"):
        return Health("Degraded", str(m.conditions(obj)["ReplicaFailure"].get("message", "")))
    wanted, available = m.spec(obj).get("replicas"), _count(obj, "availableReplicas")
    if wanted is not None and available < wanted:
        return _progressing(f"{_ROLLOUT}{available} out of {wanted} new replicas are available...")
    return _HEALTHY


def _stateful_set(obj: Obj) -> Health:
    status, spec = m.status(obj), m.spec(obj)
    if not status.get("observedGeneration") or not _observed(obj):
        return _progressing("Waiting for statefulset spec update to be observed...")
    wanted, updated = spec.get("replicas"), _count(obj, "updatedReplicas")
    if wanted is not None and _count(obj, "readyReplicas") < wanted:
        return _progressing(f"Waiting for {wanted - _count(obj, 'readyReplicas')} pods to be ready...")
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        return _partitioned(wanted, strategy["rollingUpdate"].get("partition"), updated)
    if strategy.get("type") == "OnDelete":
        return _HEALTHY
    if status.get("updateRevision") != status.get("currentRevision"):
        revision = status.get("updateRevision")
        return _progressing(
            f"waiting for statefulset rolling update to complete {updated} pods at revision {revision}..."
        )
    return _HEALTHY


def _partitioned(wanted: int | None, partition: int | None, updated: int) -> Health:
    """Judge a stateful set that updates only the pods above a partition."""
    if wanted is not None and partition is not None and updated < wanted - partition:
        return _progressing(
            f"Waiting for partitioned roll out to finish: {updated} out of {wanted - partition} "
            "new pods have been updated..."
        )
    return _HEALTHY


def _daemon_set(obj: Obj) -> Health:
    if not _observed(obj):
        return _unobserved("daemon set")
    if (m.spec(obj).get("updateStrategy") or {}).get("type") == "OnDelete":
        return _HEALTHY
    waiting = f'Waiting for daemon set "{m.name(obj)}" rollout to finish: '
    desired = _count(obj, "desiredNumberScheduled")
    updated, available = _count(obj, "updatedNumberScheduled"), _count(obj, "numberAvailable")
    if updated < desired:
        return _progressing(f"{waiting}{updated} out of {desired} new pods have been updated...")
    if available < desired:
        return _progressing(f"{waiting}{available} of {desired} updated pods are available...")
    return _HEALTHY


def _pod(obj: Obj) -> Health:
    status = m.status(obj)
    always = m.spec(obj).get("restartPolicy", "Always") == "Always"
    if always:
        failing = _waiting_errors(status.get("containerStatuses") or [])
        if failing:
            return Health("Degraded", ", ".join(failing))
    message = str(status.get("message") or "")
    match status.get("phase"):
        case "Pending":
            return _progressing(message)
        case "Succeeded":
            return Health("Healthy", message)
        case "Failed":
            return Health("Degraded", message or _failure(status))
        case "Running":
            return _running_pod(obj) if always else Health("Progressing", message)
    return Health("Unknown", message)


def _running_pod(obj: Obj) -> Health:
    """Judge a running pod that is meant to stay."""
    status = m.status(obj)
    if m.condition_true(obj, "Ready"):
        return Health("Healthy", str(status.get("message") or ""))
    for container in status.get("containerStatuses") or []:
        if (container.get("lastState") or {}).get("terminated"):
            return Health("Degraded", str(status.get("message") or ""))
    return _progressing(str(status.get("message") or ""))


def _waiting_errors(statuses: list[dict[str, Any]]) -> list[str]:
    """Return the messages of containers that wait for a reason that is an error."""
    found = []
    for container in statuses:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        if reason.startswith("Err") or reason.endswith(("Error", "BackOff")):
            found.append(str(waiting.get("message") or reason))
    return found


def _failure(status: dict[str, Any]) -> str:
    """Say why a pod failed, from its first container that tells."""
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in statuses:
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("message"):
            return str(ended["message"])
        if ended.get("reason") == "OOMKilled":
            return "OOMKilled"
        if ended.get("exitCode"):
            return f'container "{container.get("name")}" failed with exit code {ended["exitCode"]}'
    return ""


def _job(obj: Obj) -> Health:
    failed: str | None = None
    complete, suspended, message = False, False, ""
    for condition in m.status(obj).get("conditions") or []:
        match condition.get("type"):
            case "Failed":
                failed = str(condition.get("message") or "")
            case "Suspended":
                complete, message = True, str(condition.get("message") or "")
                suspended = suspended or condition.get("status") == "True"
            case "Complete":
                complete, message = True, str(condition.get("message") or "")
    if failed is not None:
        return Health("Degraded", failed)
    if suspended:
        return Health("Suspended", message)
    return Health("Healthy", message) if complete else Health("Progressing", message)


def _cron_job(obj: Obj) -> Health:
    status = m.status(obj)
    if m.spec(obj).get("suspend"):
        return Health("Healthy", "CronJob is Suspended")
    if not status:
        return _progressing("Waiting for first status")
    last, succeeded = status.get("lastScheduleTime"), status.get("lastSuccessfulTime")
    if last and succeeded and succeeded < last and not status.get("active"):
        return Health("Degraded", "CronJob has not completed its last execution successfully")
    return _HEALTHY


def _service(obj: Obj) -> Health:
    if m.spec(obj).get("type") == "LoadBalancer" and not _load_balancer(obj):
        return _progressing()
    return _HEALTHY


def _ingress(obj: Obj) -> Health:
    return _HEALTHY if _load_balancer(obj) else Health("Progressing")


def _load_balancer(obj: Obj) -> list[Any]:
    """Return the addresses a load balancer was given."""
    return list((m.status(obj).get("loadBalancer") or {}).get("ingress") or [])


def _claim(obj: Obj) -> Health:
    known: dict[str, HealthStatus] = {"Bound": "Healthy", "Pending": "Progressing", "Lost": "Degraded"}
    return Health(known.get(str(m.status(obj).get("phase")), "Unknown"))


_AUTOSCALER_FAILURES = {
    "AbleToScale": ("FailedGetScale", "FailedUpdateScale"),
    "ScalingActive": (
        "FailedGetResourceMetric",
        "FailedGetObjectMetric",
        "FailedGetPodsMetric",
        "FailedGetExternalMetric",
        "FailedComputeMetricsReplicas",
        "InvalidSelector",
    ),
}


def _autoscaler(obj: Obj) -> Health:
    found = _autoscaler_conditions(obj)
    for condition in found:
        if condition.get("reason") in _AUTOSCALER_FAILURES.get(str(condition.get("type")), ()):
            return Health("Degraded", str(condition.get("message") or ""))
    for condition in found:
        if condition.get("type") in ("AbleToScale", "ScalingLimited") and condition.get("status") == "True":
            return Health("Healthy", str(condition.get("message") or ""))
    return _progressing("Waiting to Autoscale")


def _autoscaler_conditions(obj: Obj) -> list[dict[str, Any]]:
    """Return the conditions: v2 keeps them in the status, v1 in an annotation."""
    if m.gvk(obj)[1] != "v1":
        return list(m.status(obj).get("conditions") or [])
    import json

    try:
        return list(json.loads(m.annotations(obj).get("autoscaling.alpha.kubernetes.io/conditions", "[]")))
    except ValueError:
        return []


def _disruption_budget(obj: Obj) -> Health:
    found = m.status(obj).get("conditions") or []
    if not found:
        return _progressing("Waiting for status")
    for condition in found:
        if condition.get("status") == "False" and condition.get("reason") != "InsufficientPods":
            return Health("Degraded", f"PodDisruptionBudget has {condition.get('reason')}")
    return Health("Healthy", "PodDisruptionBudget is stable")


def _api_service(obj: Obj) -> Health:
    available = m.conditions(obj).get("Available")
    if available is None:
        return _progressing("Waiting to be processed")
    message = f"{available.get('reason', '')}: {available.get('message', '')}"
    return Health("Healthy" if available.get("status") == "True" else "Progressing", message)


def _definition(obj: Obj) -> Health:
    found = m.conditions(obj)
    if not found:
        return _progressing("Status conditions not found")
    if m.condition_true(obj, "Terminating"):
        return _progressing("CRD is being terminated")
    if found.get("Established", {}).get("reason") == "Installing":
        return _progressing("CRD is being installed")
    for type_, bad in (("NamesAccepted", "False"), ("NonStructuralSchema", "True")):
        if found.get(type_, {}).get("status") == bad:
            return Health("Degraded", str(found[type_].get("message") or type_))
    if not m.condition_true(obj, "Established"):
        return Health("Degraded", "CRD is not established")
    return Health("Healthy", "CRD is healthy")


def _workflow(obj: Obj) -> Health:
    phase = str(m.status(obj).get("phase") or "")
    message = str(m.status(obj).get("message") or "")
    if phase in ("", "Pending", "Running"):
        return _progressing(message)
    known: dict[str, HealthStatus] = {"Succeeded": "Healthy", "Failed": "Degraded", "Error": "Degraded"}
    return Health(known.get(phase, "Unknown"), message)


def _child_application(obj: Obj) -> Health | None:
    if not CHILD_APPLICATIONS_COUNT:
        return None
    own = m.status(obj).get("health") or {}
    found = own.get("status")
    return Health(found, str(own.get("message") or "")) if found in SEVERITY else Health("Progressing")


_RULES: dict[tuple[str, str], Callable[[Obj], Health | None]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("", "Pod"): _pod,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("", "Service"): _service,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("extensions", "Ingress"): _ingress,
    ("", "PersistentVolumeClaim"): _claim,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("policy", "PodDisruptionBudget"): _disruption_budget,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("argoproj.io", "Workflow"): _workflow,
    ("argoproj.io", "Application"): _child_application,
}
