"""Which size does a HorizontalPodAutoscaler give its target?

Readings come from PodMetrics objects in the snapshot. Where no pod has one yet, nothing is claimed about them:
``AbleToScale`` is reported, ``ScalingActive`` is left out, and only the bounds min and max are enforced.

Source: kubernetes pkg/controller/podautoscaler/horizontal.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from platform_lib.embedded.controllers.autoscaler_readings import NoReading, amount, average, of_pods
from platform_lib.embedded.controllers.autoscaler_sizes import (
    Behavior,
    Memory,
    first_memory,
    limited,
    remember,
    stabilized,
    wanted_for_average,
    wanted_for_utilization,
)
from platform_lib.embedded.controllers.objects import to_text, with_condition
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
    """Judge one autoscaler; ``memory`` holds its earlier wishes and changes.

    Once a period, whatever happens meanwhile: a look at the same readings right after a change of size would
    change it again before the new pods could take any load.
    """
    scaler = snapshot.get(AUTOSCALERS, *key)
    if scaler is None or deleting(scaler):
        return NOTHING
    if memory is not None and memory.judged_at and memory.generation == manifests.generation(scaler):
        left_s = PERIOD_S - (now - memory.judged_at).total_seconds()
        if left_s > 0:
            return Result([], left_s, memory)
    return _Judgement(snapshot, scaler, now, memory).result()


def _target(scaler: Obj) -> tuple[str, str]:
    reference = spec(scaler).get("scaleTargetRef") or {}
    return str(reference.get("kind")), str(reference.get("name"))


class _Judgement:
    """One look at one autoscaler."""

    def __init__(self, snapshot: Snapshot, scaler: Obj, now: datetime, memory: Memory | None) -> None:
        self.snapshot, self.scaler, self.now = snapshot, scaler, now
        self.memory, self.seen_before = memory or Memory(), memory is not None
        self.behavior: Behavior = spec(scaler).get("behavior")
        self.least = int(spec(scaler).get("minReplicas") or 1)
        self.most = int(spec(scaler)["maxReplicas"])
        self.conditions: list[Obj] = list(status(scaler).get("conditions") or ())
        self.readings: list[Obj] = []
        self.wish: int | None = None
        self.trouble = ""

    def result(self) -> Result:
        """Return status, and the new size of the target where it changes."""
        kind, called = _target(self.scaler)
        target = self.snapshot.get(_TARGETS.get(kind, ""), namespace(self.scaler), called)
        if target is None:
            return self._no_target(kind, called)
        current = manifests.replicas(target)
        if not self.seen_before:
            self.memory = first_memory(current, self.now)
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
        kept = remember(self.memory, self.wish, wanted - current, self.now)
        self.memory = replace(kept, judged_at=self.now, generation=manifests.generation(self.scaler))
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
            if self.trouble:
                text = f"the HPA was unable to compute the replica count: {self.trouble}"
                self._say("ScalingActive", "False", "FailedGetResourceMetric", text)
            return current, ""
        self.wish = proposal
        text = f"the HPA was able to successfully calculate a replica count from {why}"
        self._say("ScalingActive", "True", "ValidMetricFound", text)
        return self._bounded(proposal, current), f"{why} {'above' if proposal > current else 'below'} target"

    def _bounded(self, proposal: int, current: int) -> int:
        """Hold a proposal within window, policies and bounds, and say which of them held it."""
        calm = stabilized(proposal, current, self.memory, self.behavior, self.now)
        self._say_calm(proposal, calm)
        allowed = limited(calm, current, self.memory, self.behavior, self.now)
        final = min(self.most, max(self.least, allowed))
        self._say("ScalingLimited", *self._limit(calm, allowed, final))
        return final

    def _say_calm(self, proposal: int, calm: int) -> None:
        """Tell whether an earlier wish holds the present one back."""
        if calm == proposal:
            text = "recommended size matches current size"
            return self._say("AbleToScale", "True", "ReadyForNewScale", text)
        down, other, which = ("Down", "higher", "highest") if calm > proposal else ("Up", "lower", "lowest")
        text = f"recent recommendations were {other} than current one, applying the {which} recent recommendation"
        return self._say("AbleToScale", "True", f"Scale{down}Stabilized", text)

    def _limit(self, calm: int, allowed: int, final: int) -> tuple[str, str, str]:
        """Return status, reason and message of ScalingLimited: the bound or the rate that held the wish."""
        if final < calm:
            by_bound = final == self.most
            rate = "the desired replica count is increasing faster than the maximum scale rate"
            bound = "the desired replica count is more than the maximum replica count"
            return ("True", "TooManyReplicas", bound) if by_bound else ("True", "ScaleUpLimit", rate)
        if final > calm:
            by_bound = final == self.least and allowed < final
            rate = "the desired replica count is decreasing faster than the maximum scale rate"
            bound = "the desired replica count is less than the minimum replica count"
            return ("True", "TooFewReplicas", bound) if by_bound else ("True", "ScaleDownLimit", rate)
        return "False", "DesiredWithinRange", "the desired count is within the acceptable range"

    def _propose(self, target: Obj, current: int) -> tuple[int | None, str]:
        """Return the highest size any metric asks for; None when there is no reading.

        A metric that cannot be read is no reason to shrink: then only growth by the others is followed.
        """
        space = namespace(self.scaler)
        used = {name(item): item for item in self.snapshot.list(METRICS, space)}
        selector = spec(target).get("selector")
        pods = [pod for pod in self.snapshot.list(PODS, space) if match_labels(selector, labels(pod))]
        best, unread = (0, ""), 0
        metrics = spec(self.scaler).get("metrics") or ()
        for metric in metrics:
            try:
                best = max(best, self._by_metric(metric, pods, used, current), key=lambda found: found[0])
            except NoReading as error:
                unread += 1
                self.trouble = self.trouble or str(error)
        if unread == len(metrics) or (unread and best[0] < current):
            return None, ""
        return best

    def _by_metric(self, metric: Obj, pods: Sequence[Obj], used: Mapping[str, Obj], current: int) -> tuple[int, str]:
        """Evaluate one metric and note what it shows.

        Raises:
            NoReading: Not a resource metric, no request, or no reading that counts.
        """
        if metric.get("type") != "Resource":
            raise NoReading("")
        called, goal = metric["resource"]["name"], metric["resource"]["target"]
        shares = goal.get("type") == "Utilization"
        readings = of_pods(pods, used, called, self.now, shares=shares)
        if not any(one.usage is not None and one.counts for one in readings):
            raise NoReading("")
        shown: Obj = {"averageValue": average(readings, called)}
        if shares:
            size, percent = wanted_for_utilization(readings, int(goal["averageUtilization"]), current)
            shown = {"averageUtilization": percent, **shown}
        else:
            size, _ = wanted_for_average(readings, amount(called, goal.get("averageValue")), current)
        self.readings.append({"type": "Resource", "resource": {"name": called, "current": shown}})
        return size, f"{called} resource" + (" utilization (percentage of request)" if shares else "")

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
