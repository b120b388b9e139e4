"""Which size does a HorizontalPodAutoscaler give its target?

Readings come from PodMetrics objects in the snapshot. Where there are none yet, nothing is claimed about them:
``AbleToScale`` is reported, ``ScalingActive`` is left out, and only the bounds min and max are enforced.

Source: kubernetes pkg/controller/podautoscaler/horizontal.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from platform_lib.embedded.controllers.autoscaler_sizes import (
    Memory,
    Reading,
    limited,
    remember,
    stabilized,
    wanted_for_average,
    wanted_for_utilization,
)
from platform_lib.embedded.controllers.objects import active, ready, to_text, with_condition
from platform_lib.embedded.controllers.resources import milli, whole
from platform_lib.embedded.controllers.writes import (
    AUTOSCALERS,
    DEPLOYMENTS,
    NOTHING,
    PODS,
    REPLICASETS,
    Change,
    Key,
    Result,
    Snapshot,
    Write,
    event,
    merge,
    set_status,
)
from platform_lib.embedded.selectors import match_labels
from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.manifests import deleting, labels, name, namespace, spec, status

NAME = "horizontal-pod-autoscaler"
WATCHES = frozenset({AUTOSCALERS, DEPLOYMENTS, REPLICASETS})

PERIOD_S = 15.0
METRICS = "metrics.k8s.io/v1beta1/pods"

_TARGETS = {"Deployment": DEPLOYMENTS, "ReplicaSet": REPLICASETS}


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the autoscalers that a change concerns."""
    space = namespace(change.obj)
    if change.gvr == AUTOSCALERS:
        return [(space, name(change.obj))]
    if change.old is not None and manifests.replicas(change.old) == manifests.replicas(change.obj):
        return []
    kind, called = manifests.kind(change.obj), name(change.obj)
    return [(space, name(one)) for one in snapshot.list(AUTOSCALERS, space) if _target(one) == (kind, called)]


def reconcile(snapshot: Snapshot, key: Key, now: datetime, memory: Memory | None) -> Result:
    """Judge one autoscaler; ``memory`` holds its earlier wishes and changes."""
    scaler = snapshot.get(AUTOSCALERS, *key)
    if scaler is None or deleting(scaler):
        return NOTHING
    return _Judgement(snapshot, scaler, now, memory or Memory()).result()


def _target(scaler: Obj) -> tuple[str, str]:
    reference = spec(scaler).get("scaleTargetRef") or {}
    return str(reference.get("kind")), str(reference.get("name"))


class _Judgement:
    """One look at one autoscaler."""

    def __init__(self, snapshot: Snapshot, scaler: Obj, now: datetime, memory: Memory) -> None:
        self.snapshot, self.scaler, self.now, self.memory = snapshot, scaler, now, memory
        self.behavior: Mapping[str, Any] = spec(scaler).get("behavior") or {}
        self.least = int(spec(scaler).get("minReplicas") or 1)
        self.most = int(spec(scaler)["maxReplicas"])
        self.conditions: list[Obj] = list(status(scaler).get("conditions") or ())
        self.readings: list[Obj] = []
        self.wish: int | None = None

    def result(self) -> Result:
        """Return status, and the new size of the target where it changes."""
        kind, called = _target(self.scaler)
        target = self.snapshot.get(_TARGETS.get(kind, ""), namespace(self.scaler), called)
        if target is None:
            return self._no_target(kind, called)
        current = manifests.replicas(target)
        self._say(
            "AbleToScale", "True", "SucceededGetScale", "the HPA controller was able to get the target's current scale"
        )
        wanted, reason = self._wanted(target, current)
        writes: list[Write] = []
        if wanted != current:
            message = f"the HPA controller was able to update the target scale to {wanted}"
            self._say("AbleToScale", "True", "SucceededRescale", message)
            told = event(self.scaler, "SuccessfulRescale", f"New size: {wanted}; reason: {reason}")
            gvr = _TARGETS[kind]
            writes.append(merge(gvr, target, {"spec": {"replicas": wanted}}, announce=told))
        self.memory = remember(self.memory, self.wish, wanted - current, self.now)
        writes += self._report(target, wanted, rescaled=wanted != current)
        return Result(writes, PERIOD_S, self.memory)

    def _wanted(self, target: Obj, current: int) -> tuple[int, str]:
        """Return the size to have now, and why."""
        if current == 0:
            text = "scaling is disabled since the replica count of the target is zero"
            self._say("ScalingActive", "False", "ScalingDisabled", text)
            return 0, ""
        if current > self.most:
            return self.most, "Current number of replicas above Spec.MaxReplicas"
        if current < self.least:
            return self.least, "Current number of replicas below Spec.MinReplicas"
        proposal, why = self._propose(target, current)
        if proposal is None:
            self._forget("ScalingActive", "ScalingLimited")
            return current, ""
        self.wish = proposal
        text = f"the HPA was able to successfully calculate a replica count from {why}"
        self._say("ScalingActive", "True", "ValidMetricFound", text)
        return self._bounded(proposal, current), f"{why} {'above' if proposal > current else 'below'} target"

    def _bounded(self, proposal: int, current: int) -> int:
        """Hold a proposal within window, policies and bounds, and say which of them held it."""
        calm = stabilized(proposal, current, self.memory, self.behavior, self.now)
        allowed = limited(calm, current, self.memory, self.behavior, self.now)
        final = min(self.most, max(self.least, allowed))
        if proposal > self.most and final == self.most:
            text = "the desired replica count is more than the maximum replica count"
            self._say("ScalingLimited", "True", "TooManyReplicas", text)
        elif proposal < self.least and final == self.least:
            text = "the desired replica count is less than the minimum replica count"
            self._say("ScalingLimited", "True", "TooFewReplicas", text)
        else:
            text = "the desired count is within the acceptable range"
            self._say("ScalingLimited", "False", "DesiredWithinRange", text)
        return final

    def _propose(self, target: Obj, current: int) -> tuple[int | None, str]:
        """Return the highest size any metric asks for; None when there is no reading."""
        space = namespace(self.scaler)
        used = {name(item): item for item in self.snapshot.list(METRICS, space)}
        selector = spec(target).get("selector")
        pods = [pod for pod in self.snapshot.list(PODS, space) if active(pod) and match_labels(selector, labels(pod))]
        best: tuple[int | None, str] = (None, "")
        for metric in spec(self.scaler).get("metrics") or ():
            resource = metric.get("resource") or {}
            if metric.get("type") != "Resource" or not any(name(pod) in used for pod in pods):
                continue
            size, text = self._by_resource(resource, pods, used, current)
            if best[0] is None or size > best[0]:
                best = (size, text)
        return best

    def _by_resource(
        self, resource: Obj, pods: Sequence[Obj], used: Mapping[str, Obj], current: int
    ) -> tuple[int, str]:
        """Evaluate one resource metric and note what it shows."""
        called, goal = resource["name"], resource["target"]
        readings = [_reading(pod, used.get(name(pod)), called) for pod in pods]
        shown: Obj
        if goal.get("type") == "Utilization":
            size, percent = wanted_for_utilization(readings, int(goal["averageUtilization"]), current)
            shown = {"averageUtilization": percent, "averageValue": _average(readings, called)}
            text = f"{called} resource utilization (percentage of request)"
        else:
            size, _ = wanted_for_average(readings, _amount(called, goal.get("averageValue")), current)
            shown = {"averageValue": _average(readings, called)}
            text = f"{called} resource"
        self.readings.append({"type": "Resource", "resource": {"name": called, "current": shown}})
        return size, text

    def _no_target(self, kind: str, called: str) -> Result:
        missing = f'{kind.lower()}s.apps "{called}" not found'
        text = f"the HPA controller was unable to get the target's current scale: {missing}"
        self._say("AbleToScale", "False", "FailedGetScale", text)
        writes = set_status(AUTOSCALERS, self.scaler, {**status(self.scaler), "conditions": self.conditions})
        told = [event(self.scaler, "FailedGetScale", text, warning=True)] if writes else []
        return Result([*writes, *told], PERIOD_S, self.memory)

    def _report(self, target: Obj, wanted: int, *, rescaled: bool) -> list[Write]:
        after: Obj = {
            "currentReplicas": int(status(target).get("replicas") or 0),
            "desiredReplicas": wanted,
            "conditions": self.conditions,
        }
        if manifests.generation(self.scaler):
            after["observedGeneration"] = manifests.generation(self.scaler)
        if self.readings:
            after["currentMetrics"] = self.readings
        last = to_text(self.now) if rescaled else status(self.scaler).get("lastScaleTime")
        if last:
            after["lastScaleTime"] = last
        return set_status(AUTOSCALERS, self.scaler, after)

    def _say(self, kind: str, value: str, reason: str, message: str) -> None:
        self.conditions = with_condition(
            self.conditions, self.now, type=kind, status=value, reason=reason, message=message
        )

    def _forget(self, *kinds: str) -> None:
        self.conditions = [item for item in self.conditions if item["type"] not in kinds]


def _reading(pod: Obj, metrics: Obj | None, resource: str) -> Reading:
    containers = spec(pod).get("containers") or ()
    asked = sum(
        _amount(resource, ((item.get("resources") or {}).get("requests") or {}).get(resource)) for item in containers
    )
    if metrics is None:
        return Reading(None, asked, ready(pod))
    used = sum(_amount(resource, (item.get("usage") or {}).get(resource)) for item in metrics.get("containers") or ())
    return Reading(used, asked, ready(pod))


def _amount(resource: str, value: Any) -> int:
    return milli(value) if resource == "cpu" else whole(value)


def _average(readings: Sequence[Reading], resource: str) -> str:
    known = [one.usage for one in readings if one.usage is not None]
    average = sum(known) // len(known) if known else 0
    return f"{average}m" if resource == "cpu" else str(average)
