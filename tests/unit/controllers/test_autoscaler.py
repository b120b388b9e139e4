"""How many replicas does an autoscaler want? The rules of upstream's replica calculator as tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from platform_lib.embedded.controllers import autoscaler
from platform_lib.embedded.controllers.autoscaler_readings import NoReading, of_pods
from platform_lib.embedded.controllers.autoscaler_sizes import (
    Memory,
    Reading,
    first_memory,
    limited,
    remember,
    stabilized,
    wanted_for_average,
    wanted_for_utilization,
)
from platform_lib.embedded.controllers.index import Index
from platform_lib.embedded.controllers.objects import to_text
from platform_lib.embedded.controllers.writes import Result
from platform_lib.model import Obj

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def readings(*values: Any) -> list[Reading]:
    """A number is a pod that counts; None one without a reading; a text one that is starting."""
    made = []
    for value in values:
        usage = None if value is None else int(value)
        made.append(Reading(usage, 100, counts=not isinstance(value, str)))
    return made


@pytest.mark.parametrize(
    ("usage", "current", "wanted"),
    [
        ((50, 50), 2, 2),
        ((55, 55), 2, 2),
        ((56, 56), 2, 3),
        ((45, 45), 2, 2),
        ((44, 44), 2, 2),  # ceil(0.88 * 2)
        ((100, 100, 100), 3, 6),
        ((10, 10, 10, 10), 4, 1),
        ((100, None), 2, 2),  # idle assumed: ratio 1.0
        ((150, None), 2, 3),  # (150 + 0) of 200: 75 of 50 percent, 1.5 * 2
        ((20, None), 2, 2),  # fully used assumed: turns the direction
        ((10, 10, 10, None), 4, 3),  # (30 + 100) of 400: 32 of 50 percent
        ((100, "300"), 2, 2),  # what a starting pod burns does not count when growing
        ((200, "300", "300"), 3, 4),  # (200 + 0 + 0) of 300: 66 of 50 percent
        ((10, "300"), 2, 1),  # and not at all when shrinking
        ((200, "0", None), 3, 4),
    ],
)
def test_a_share_of_the_request_asks_for_replicas(usage: tuple[Any, ...], current: int, wanted: int) -> None:
    assert wanted_for_utilization(readings(*usage), 50, current)[0] == wanted


def test_a_target_above_the_request_assumes_as_much_of_silent_pods() -> None:
    assert wanted_for_utilization(readings(100, None), 150, 2)[0] == 2
    assert wanted_for_utilization(readings(10, 10, 10, None), 150, 4)[0] == 2


@pytest.mark.parametrize(
    ("usage", "current", "wanted"),
    [((300, 100), 2, 4), ((105, 105), 2, 2), ((30, 30), 2, 1), ((300, None), 2, 3), ((30, None), 2, 2)],
)
def test_an_average_asks_for_replicas(usage: tuple[Any, ...], current: int, wanted: int) -> None:
    assert wanted_for_average(readings(*usage), 100, current)[0] == wanted


# -- which readings count ------------------------------------------------------------------------------------------


def pod(name: str, *, started_s: float, ready: bool, turned_s: float, phase: str = "Running") -> Obj:
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": to_text(after(turned_s))}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "100m"}}}]},
        "status": {"phase": phase, "startTime": to_text(after(started_s)), "conditions": [condition]},
    }


def metrics(name: str, cpu: str, *, taken_s: float = 0, window: str = "5s") -> Obj:
    meta = {"name": name, "namespace": "default", "uid": f"metrics-{name}"}
    containers = [{"name": "main", "usage": {"cpu": cpu, "memory": "1Mi"}}]
    head = {"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics", "metadata": meta}
    return {**head, "timestamp": to_text(after(taken_s)), "window": window, "containers": containers}


@pytest.mark.parametrize(
    ("facts", "taken_s", "counts"),
    [
        ({"started_s": -60, "ready": True, "turned_s": -50}, 0, True),
        ({"started_s": -60, "ready": True, "turned_s": -3}, 0, False),  # a window has not passed since it was ready
        ({"started_s": -60, "ready": True, "turned_s": -5}, 0, True),
        ({"started_s": -60, "ready": False, "turned_s": -60}, 0, False),
        ({"started_s": -301, "ready": True, "turned_s": -1}, 0, True),  # past the initialisation period
        ({"started_s": -400, "ready": False, "turned_s": -390}, 0, False),  # has never been ready
        ({"started_s": -400, "ready": False, "turned_s": -5}, 0, True),  # was ready, is not: its use counts
        ({"started_s": -60, "ready": True, "turned_s": -50, "phase": "Pending"}, 0, False),
    ],
)
def test_the_processor_time_of_a_start_does_not_count(facts: dict[str, Any], taken_s: float, counts: bool) -> None:
    (one,) = of_pods([pod("a", **facts)], {"a": metrics("a", "300m", taken_s=taken_s)}, "cpu", NOW, shares=True)
    assert one.counts is counts


def test_memory_counts_from_the_start_and_leaving_pods_never() -> None:
    young = pod("a", started_s=-1, ready=False, turned_s=-1)
    going = pod("b", started_s=-60, ready=True, turned_s=-50)
    going["metadata"]["deletionTimestamp"] = to_text(NOW)
    failed = pod("c", started_s=-60, ready=True, turned_s=-50, phase="Failed")
    found = of_pods([young, going, failed], {"a": metrics("a", "1m")}, "memory", NOW, shares=False)
    assert found == [Reading(1024 * 1024, 0, counts=True)]


def test_a_container_without_a_request_is_named() -> None:
    bare = pod("a", started_s=-60, ready=True, turned_s=-50)
    bare["spec"]["containers"][0]["resources"] = {}
    with pytest.raises(NoReading, match="missing request for cpu in container main of Pod a"):
        of_pods([bare], {}, "cpu", NOW, shares=True)


# -- how fast the size changes -------------------------------------------------------------------------------------


def test_without_behavior_growth_doubles_and_the_highest_wish_of_five_minutes_holds() -> None:
    assert [limited(50, size, Memory(), None, NOW) for size in (1, 2, 5)] == [4, 4, 10]
    memory = remember(Memory(), 6, 4, NOW)
    assert stabilized(2, 6, memory, None, after(299)) == 6
    assert stabilized(2, 6, memory, None, after(301)) == 2


def test_growth_and_shrinking_within_one_period_add_up() -> None:
    behavior = {"scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}}
    memory = remember(remember(Memory(), 4, 2, NOW), 3, -1, after(10))
    assert limited(9, 5, memory, behavior, after(20)) == 6  # started at 4, may be 6
    assert limited(9, 5, memory, behavior, after(80)) == 7


def test_the_choice_among_policies() -> None:
    policies = [
        {"type": "Pods", "value": 1, "periodSeconds": 60},
        {"type": "Percent", "value": 50, "periodSeconds": 60},
    ]
    for choice, size in (("Max", 5), ("Min", 9), ("Disabled", 10)):
        assert limited(1, 10, Memory(), {"scaleDown": {"policies": policies, "selectPolicy": choice}}, NOW) == size


def test_a_window_for_growth_takes_the_lowest_wish() -> None:
    memory = remember(Memory(), 3, 0, NOW)
    behavior = {"scaleUp": {"stabilizationWindowSeconds": 60}}
    assert stabilized(8, 2, memory, behavior, after(30)) == 3
    assert stabilized(8, 2, memory, behavior, after(61)) == 8


def test_a_controller_that_has_just_started_shrinks_nothing() -> None:
    memory = first_memory(6, NOW)
    assert stabilized(2, 6, memory, None, after(15)) == 6
    assert stabilized(2, 6, memory, {}, after(15)) == 6


# -- the whole judgement -------------------------------------------------------------------------------------------


def judged(pods: list[Obj], used: list[Obj], *, size: int = 2, **spec: Any) -> tuple[int, dict[str, str]]:
    written = [write.body for write in look(pods, used, size=size, **spec).writes]
    scaled = next((body["spec"]["replicas"] for body in written if "spec" in body), size)
    told = next(body["status"]["conditions"] for body in written if "status" in body)
    return scaled, {item["type"]: item["reason"] for item in told}


def look(
    pods: list[Obj], used: list[Obj], *, size: int = 2, memory: Memory | None = None, at_s: float = 0, **spec: Any
) -> Result:
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    target: Obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "web"},
        "spec": {"replicas": size, "selector": {"matchLabels": {"app": "web"}}},
    }
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaler: Obj = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default", "uid": "scaler"},
        "spec": {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 10, "metrics": [cpu], **spec},
    }
    return autoscaler.reconcile(Index.of([target, scaler, *pods, *used]), ("default", "web"), after(at_s), memory)


def test_a_rolling_update_does_not_look_like_load() -> None:
    old = [pod(name, started_s=-900, ready=True, turned_s=-890) for name in "ab"]
    new = [pod(name, started_s=-4, ready=False, turned_s=-4) for name in "cd"]
    used = [metrics("a", "45m"), metrics("b", "45m"), metrics("c", "480m"), metrics("d", "480m")]
    assert judged(old + new, used)[0] == 2
    grown, told = judged(old, [metrics("a", "300m"), metrics("b", "300m")])
    assert grown == 4 and told["ScalingLimited"] == "ScaleUpLimit"


def test_shrinking_is_held_back_and_says_so() -> None:
    pods = [pod(name, started_s=-900, ready=True, turned_s=-890) for name in "abcd"]
    size, told = judged(pods, [metrics(name, "2m") for name in "abcd"], size=4)
    assert (size, told["AbleToScale"]) == (4, "ScaleDownStabilized")


def test_a_metric_without_a_reading_is_no_reason_to_shrink() -> None:
    pods = [pod(name, started_s=-900, ready=True, turned_s=-890) for name in "ab"]
    target = {"type": "Utilization", "averageUtilization": 50}
    both = [
        {"type": "Resource", "resource": {"name": name, "target": target}} for name in ("memory", "cpu")
    ]  # memory: no request
    size, told = judged(pods, [metrics("a", "2m"), metrics("b", "2m")], metrics=both)
    assert (size, told["ScalingActive"]) == (2, "FailedGetResourceMetric")
    size, told = judged(pods, [metrics("a", "80m"), metrics("b", "80m")], metrics=both)
    assert (size, told["ScalingActive"]) == (4, "ValidMetricFound")


def test_one_look_a_period_so_that_growth_waits_for_the_pods_it_asked_for() -> None:
    pods = [pod(name, started_s=-900, ready=True, turned_s=-890) for name in "ab"]
    used = [metrics("a", "300m"), metrics("b", "300m")]
    first = look(pods, used)
    again = look(pods, used, size=4, memory=first.memory, at_s=0.1)
    assert first.writes and not again.writes and again.memory == first.memory
    assert look(pods, used, size=4, memory=first.memory, at_s=15).writes
