"""Which pods of a target have a reading that counts, and what is it?

A pod that is starting burns processor time that says nothing about the load: its reading is left out until it is
ready and one whole window of measuring lies after that moment.

Source: kubernetes pkg/controller/podautoscaler/replica_calculator.go (groupPods, calculatePodRequests).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from platform_lib.embedded.controllers.autoscaler_sizes import Reading
from platform_lib.embedded.controllers.objects import phase, to_time
from platform_lib.embedded.controllers.resources import milli, whole
from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.application import duration_s
from platform_lib.rules.manifests import deleting, name, spec, status

INITIALIZATION_S = 300
"""How long after its start a pod's readings are doubted (horizontal-pod-autoscaler-cpu-initialization-period)."""

READINESS_DELAY_S = 30
"""Changes of readiness this soon after the start do not count (...-initial-readiness-delay)."""


class NoReading(Exception):
    """There is nothing to compute with; the text is the one Kubernetes shows."""


def of_pods(
    pods: Iterable[Obj], used: Mapping[str, Obj], resource: str, now: datetime, *, shares: bool
) -> list[Reading]:
    """Return one reading for each pod that takes part.

    Args:
        pods: All pods that the target selects.
        used: PodMetrics by pod name.
        resource: ``cpu`` or ``memory``.
        now: The present time.
        shares: Whether the requests are needed, because the target is a share of them.

    Raises:
        NoReading: A container asks for nothing of the resource, so no share can be computed.
    """
    return [
        _reading(pod, used.get(name(pod)), resource, now, shares=shares)
        for pod in pods
        if not deleting(pod) and phase(pod) != "Failed"
    ]


def amount(resource: str, value: Any) -> int:
    """Read a quantity: thousandths for the processor, units for everything else."""
    return milli(value) if resource == "cpu" else whole(value)


def average(readings: Sequence[Reading], resource: str) -> str:
    """Return the mean use of the pods that count, as a quantity."""
    known = [one.usage for one in readings if one.usage is not None and one.counts]
    mean = sum(known) // len(known) if known else 0
    return f"{mean}m" if resource == "cpu" else str(mean)


def _reading(pod: Obj, metrics: Obj | None, resource: str, now: datetime, *, shares: bool) -> Reading:
    containers = spec(pod).get("containers") or () if shares else ()
    asked = sum(_asked(pod, container, resource) for container in containers)
    if phase(pod) == "Pending":
        return Reading(None, asked, counts=False)
    if metrics is None:
        return Reading(None, asked, counts=True)
    used = sum(amount(resource, (item.get("usage") or {}).get(resource)) for item in metrics.get("containers") or ())
    return Reading(used, asked, counts=resource != "cpu" or not _starting(pod, metrics, now))


def _asked(pod: Obj, container: Obj, resource: str) -> int:
    value = ((container.get("resources") or {}).get("requests") or {}).get(resource)
    if value is None:
        raise NoReading(f"missing request for {resource} in container {container['name']} of Pod {name(pod)}")
    return amount(resource, value)


def _starting(pod: Obj, metrics: Obj, now: datetime) -> bool:
    """Tell whether the processor time of a pod is that of its start, or of one that never served."""
    condition = manifests.conditions(pod).get("Ready")
    started = to_time(status(pod).get("startTime"))
    if condition is None or started is None:
        return True
    unready = condition["status"] == "False"
    turned = to_time(condition.get("lastTransitionTime")) or started
    if started + timedelta(seconds=INITIALIZATION_S) > now:
        taken = to_time(metrics.get("timestamp")) or now
        window_s = duration_s(metrics.get("window"), 0.0)
        return unready or taken < turned + timedelta(seconds=window_s)
    return unready and started + timedelta(seconds=READINESS_DELAY_S) > turned
