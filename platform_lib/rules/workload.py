"""What do Deployments and pods say about a rollout? Pure readings: how far, which pods fail, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from platform_lib.model import Obj, PodState
from platform_lib.rules import manifests

HOPELESS = frozenset(
    {
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImagePullBackOff",
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Waiting reasons that do not pass without a change. ``ErrImagePull`` is left out: one pull may fail."""


RESTARTED = "Restarted"
"""First word of the reason of a pod that crashed again and again and runs at the moment."""


class Progress(NamedTuple):
    """How far a Deployment is: ``failed`` is empty unless it cannot finish."""

    done: bool
    failed: str
    seen: str


class PodFailure(NamedTuple):
    """One pod that cannot serve, and why."""

    pod: str
    version: str
    reason: str

    def __str__(self) -> str:
        return f"{self.pod}: {self.reason}"


def parse_time(text: str | None) -> datetime | None:
    """Read a Kubernetes time stamp; None for an absent one."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def rollout_progress(deployment: Obj | None) -> Progress:
    """Judge whether a Deployment runs its latest template everywhere.

    Source: ``kubectl rollout status`` (observedGeneration, updated, old and available replicas).
    """
    if deployment is None:
        return Progress(False, "", "Deployment absent")
    name, status = manifests.name(deployment), manifests.status(deployment)
    wanted = manifests.replicas(deployment)
    updated, available = int(status.get("updatedReplicas") or 0), int(status.get("availableReplicas") or 0)
    total = int(status.get("replicas") or 0)
    if manifests.generation(deployment) > int(status.get("observedGeneration") or 0):
        return Progress(False, "", f"Deployment/{name}: latest change not seen yet")
    seen = f"Deployment/{name}: {updated} of {wanted} updated, {available} available, {total} in all"
    progressing = manifests.conditions(deployment).get("Progressing", {})
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Progress(False, f"Deployment/{name} exceeded its progress deadline", seen)
    return Progress(updated >= wanted and total == updated and available >= updated, "", seen)


def takes_over(rollout: Obj, deployment: str) -> bool:
    """Tell whether a Rollout of Argo Rollouts owns the pods that a Deployment describes (``workloadRef``)."""
    reference = manifests.spec(rollout).get("workloadRef") or {}
    return (reference.get("kind"), reference.get("name")) == ("Deployment", deployment)


def canary_progress(rollout: Obj, deployment: Obj) -> Progress:
    """Judge whether a Rollout runs the latest template of the Deployment that it took over.

    Source: Argo Rollouts v1.9.0, utils/rollout/rolloututil.go (GetRolloutPhase, IsFullyPromoted).
    """
    name, status = manifests.name(rollout), manifests.status(rollout)
    phase, message = str(status.get("phase") or "Progressing"), str(status.get("message") or "")
    steps = ((manifests.spec(rollout).get("strategy") or {}).get("canary") or {}).get("steps") or []
    step = f", step {int(status.get('currentStepIndex') or 0)} of {len(steps)}" if steps else ""
    seen = f"Rollout/{name} owns the pods of Deployment/{manifests.name(deployment)}: {phase} {message}".strip() + step
    observed = (status.get("observedGeneration"), status.get("workloadObservedGeneration"))
    wanted = (manifests.generation(rollout), manifests.generation(deployment))
    if any(int(at or 0) < generation for at, generation in zip(observed, wanted, strict=True)):
        return Progress(False, "", f"{seen}; latest change not seen yet")
    failed = f"Rollout/{name} is Degraded: {message or 'no message'}" if phase == "Degraded" else ""
    return Progress(phase == "Healthy" and status.get("stableRS") == status.get("currentPodHash"), failed, seen)


def pod_state(pod: Obj) -> PodState:
    """Reduce a pod to what an operator looks at; ``reason`` is empty when nothing is wrong."""
    statuses = container_statuses(pod)
    return PodState(
        name=manifests.name(pod),
        node=str(manifests.spec(pod).get("nodeName") or ""),
        version=manifests.version_of(pod),
        phase="Terminating" if manifests.deleting(pod) else str(manifests.status(pod).get("phase") or "Pending"),
        ready=manifests.condition_true(pod, "Ready"),
        restarts=sum(int(status.get("restartCount") or 0) for status in statuses),
        reason=failure_reason(pod),
        image=manifests.image_of(pod),
        started_at=parse_time(manifests.status(pod).get("startTime")),
    )


def container_statuses(pod: Obj) -> list[dict[str, Any]]:
    """Return the statuses of init and ordinary containers."""
    status = manifests.status(pod)
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def failure_reason(pod: Obj) -> str:
    """Say why a pod cannot serve, with the exit code of its last run; empty when nothing is wrong.

    A container that is starting or not ready yet is not a failure; one that waits for another attempt
    after a failed one is.
    """
    for status in container_statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        if reason and reason not in ("ContainerCreating", "PodInitializing"):
            return " ".join(part for part in (reason, _last_exit(status), _detail(waiting, reason)) if part)
        terminated = (status.get("state") or {}).get("terminated") or {}
        if terminated and int(terminated.get("exitCode") or 0) != 0:
            return f"{terminated.get('reason') or 'Error'} exit {terminated.get('exitCode')}"
    return _pod_level_reason(pod)


def _pod_level_reason(pod: Obj) -> str:
    """Say what is wrong with the pod as a whole: unschedulable, evicted, failed."""
    status = manifests.status(pod)
    if status.get("phase") == "Failed":
        return str(status.get("reason") or "Failed")
    scheduled = manifests.conditions(pod).get("PodScheduled", {})
    if scheduled.get("status") == "False" and scheduled.get("reason"):
        return f"{scheduled['reason']} {scheduled.get('message') or ''}".strip()
    return ""


def _last_exit(status: dict[str, Any]) -> str:
    """Say how the container ended last time."""
    last = (status.get("lastState") or {}).get("terminated") or {}
    if not last:
        return ""
    return "OOMKilled" if last.get("reason") == "OOMKilled" else f"exit {last.get('exitCode')}"


def _detail(waiting: dict[str, Any], reason: str) -> str:
    """Add the message of an image or configuration problem; a crash loop's message only repeats its back-off."""
    message = str(waiting.get("message") or "")
    return "" if reason == "CrashLoopBackOff" or not message else f"({message[:160]})"


def pod_failures(
    pods: Iterable[Obj],
    *,
    version: str = "",
    image: str = "",
    since: datetime | None = None,
    max_restarts: int | None = None,
) -> list[PodFailure]:
    """List pods that fail, without those being deleted.

    Args:
        pods: Pods of one application.
        version: Only pods of this version; empty for all.
        image: Only pods with this image reference; empty for all.
        since: Only pods created then or later (whole seconds, as Kubernetes counts); None for all.
        max_restarts: More restarts after an exit with an error count as a failure too, even while the container
            runs again; None ignores them, as is right for pods that live long.
    """
    found = []
    for pod in pods:
        other = (version and manifests.version_of(pod) != version) or (image and manifests.image_of(pod) != image)
        created = parse_time(manifests.metadata(pod).get("creationTimestamp"))
        older = since is not None and created is not None and created < since.replace(microsecond=0)
        if manifests.deleting(pod) or other or older:
            continue
        reason = failure_reason(pod) or _restarted(pod, max_restarts)
        if reason:
            found.append(PodFailure(manifests.name(pod), manifests.version_of(pod), reason))
    return sorted(found)


def _restarted(pod: Obj, max_restarts: int | None) -> str:
    """Say that a pod keeps crashing although it runs at the moment."""
    for status in container_statuses(pod):
        last = (status.get("lastState") or {}).get("terminated") or {}
        count = int(status.get("restartCount") or 0)
        if max_restarts is not None and count > max_restarts and int(last.get("exitCode") or 0) != 0:
            return f"{RESTARTED} {count} times, exit {last['exitCode']}"
    return ""


def hopeless(failures: Sequence[PodFailure]) -> list[PodFailure]:
    """Keep the failures that will not pass without a change of the desired state."""
    return [failure for failure in failures if failure.reason.split(" ")[0] in {*HOPELESS, RESTARTED}]


def not_ready(pods: Iterable[Obj], *, version: str = "") -> list[str]:
    """Name the pods (of a version) that run and are not ready, with what the condition says."""
    found = []
    for pod in pods:
        if manifests.deleting(pod) or (version and manifests.version_of(pod) != version):
            continue
        ready = manifests.conditions(pod).get("Ready", {})
        if ready.get("status") != "True":
            reason = failure_reason(pod) or ready.get("message") or ready.get("reason") or "not ready"
            found.append(f"{manifests.name(pod)}: {reason}")
    return sorted(found)
