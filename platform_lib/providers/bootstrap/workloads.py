"""Do the programs of a namespace run, and if not, why? Read from Deployments, StatefulSets, pods and events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from platform_lib.errors import ApiError, Unreachable
from platform_lib.model import Obj
from platform_lib.rules import manifests, workload
from platform_lib.wire import kube

STATEFULSETS = "apps/v1/statefulsets"
_BUSY = (429, 500, 502, 503, 504)
T = TypeVar("T")


class Readiness(NamedTuple):
    """Whether every workload is ready, and what was seen.

    Attributes:
        ready: All of them run their latest template.
        seen: One line for people; names each workload that is not ready, with the reason.
    """

    ready: bool
    seen: str


def forgiving(probe: Callable[[], tuple[T | None, str]]) -> Callable[[], tuple[T | None, str]]:
    """Return a probe for which an API that is silent or overloaded for a moment means "not yet".

    A single server that pulls every image of a platform at once does not always answer; a refusal stays an error.
    """

    def look() -> tuple[T | None, str]:
        try:
            return probe()
        except Unreachable as error:
            return None, error.message
        except ApiError as error:
            if error.context.get("status") not in _BUSY:
                raise
            return None, error.message

    return look


def readiness(connection: kube.Kube, namespace: str, *, labels: str, wanted: Sequence[str] = ()) -> Readiness:
    """Look at the workloads of a namespace.

    Args:
        connection: The cluster.
        namespace: Where they are.
        labels: Which of them.
        wanted: Names that must be among them.
    """
    found = [
        *({"kind": "Deployment"} | item for item in connection.list(kube.DEPLOYMENTS, namespace, labels=labels)[0]),
        *({"kind": "StatefulSet"} | item for item in connection.list(STATEFULSETS, namespace, labels=labels)[0]),
    ]
    missing = [name for name in wanted if name not in {manifests.name(item) for item in found}]
    waiting = [(item, text) for item, text in ((item, _unready(item)) for item in found) if text]
    if not found or missing:
        return Readiness(False, f"not there yet: {', '.join(missing) or f'workloads with {labels}'}")
    if not waiting:
        return Readiness(True, f"{len(found)} of {len(found)} workloads ready")
    pods = connection.list(kube.PODS, namespace)[0]
    reasons = [_explained(connection, item, text, pods) for item, text in waiting]
    seen = f"{len(found) - len(waiting)} of {len(found)} workloads ready; " + "; ".join(reasons)
    return Readiness(False, seen)


def _unready(item: Obj) -> str:
    """Say what a workload still lacks; empty when it is ready."""
    if manifests.kind(item) == "Deployment":
        progress = workload.rollout_progress(item)
        return "" if progress.done else progress.failed or progress.seen
    wanted, status = manifests.replicas(item), manifests.status(item)
    name, ready = manifests.name(item), int(status.get("readyReplicas") or 0)
    if manifests.generation(item) > int(status.get("observedGeneration") or 0):
        return f"StatefulSet/{name}: latest change not seen yet"
    current = not status.get("updateRevision") or status.get("updateRevision") == status.get("currentRevision")
    return "" if ready >= wanted and current else f"StatefulSet/{name}: {ready} of {wanted} ready"


def _explained(connection: kube.Kube, item: Obj, text: str, pods: Sequence[Obj]) -> str:
    """Add why the pods of a workload do not start: reason, image and the last warning about the pod."""
    own = [pod for pod in pods if _selects(item, pod) and not manifests.condition_true(pod, "Ready")]
    if not own:
        return f"{text} (no pod yet{_last_warning(connection, item)})"
    pod = max(own, key=lambda one: str(manifests.metadata(one).get("creationTimestamp", "")))
    reason = workload.failure_reason(pod) or _waiting(pod) or str(manifests.status(pod).get("phase") or "Pending")
    image = _image_at_fault(pod)
    return f"{text} ({manifests.name(pod)}: {reason}, image {image}{_last_warning(connection, pod)})"


def _selects(item: Obj, pod: Obj) -> bool:
    """Return whether a workload's labels select a pod."""
    wanted = (manifests.spec(item).get("selector") or {}).get("matchLabels") or {}
    return bool(wanted) and wanted.items() <= manifests.labels(pod).items()


def _waiting(pod: Obj) -> str:
    """Return the first waiting reason of a pod's containers."""
    reasons = [(status.get("state") or {}).get("waiting") or {} for status in workload.container_statuses(pod)]
    return next((str(waiting["reason"]) for waiting in reasons if waiting.get("reason")), "")


def _image_at_fault(pod: Obj) -> str:
    """Return the image of the first container that does not run, else the pod's first image."""
    for status in workload.container_statuses(pod):
        state = status.get("state") or {}
        if "waiting" in state or int((state.get("terminated") or {}).get("exitCode") or 0):
            return str(status.get("image") or "unknown")
    return manifests.image_of(pod) or "unknown"


def _last_warning(connection: kube.Kube, obj: Obj) -> str:
    """Return the newest warning about an object, shortened; empty when there is none."""
    events = connection.events(manifests.namespace(obj), name=manifests.name(obj))
    warnings = [event for event in events if event.get("type") == "Warning"]
    if not warnings:
        return ""
    text = " ".join(str(warnings[-1].get("message") or "").split())
    return f", last event {warnings[-1].get('reason')}: {text[:200]}"
