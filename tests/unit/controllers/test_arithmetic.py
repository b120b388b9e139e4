"""The numbers behind the controllers, checked without a cluster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from simulated import deployment, pod_template, rolling

from platform_lib.embedded.controllers import autoscaler, templates
from platform_lib.embedded.controllers.autoscaler_sizes import (
    Memory,
    Reading,
    limited,
    remember,
    stabilized,
    wanted_for_average,
    wanted_for_utilization,
)
from platform_lib.embedded.controllers.deployment_sizes import Share, Size, bounds_of, new_size, old_sizes
from platform_lib.embedded.controllers.deployment_sizes import proportional_sizes as proportional
from platform_lib.embedded.controllers.index import Index
from platform_lib.embedded.controllers.replicaset_victims import victims
from platform_lib.embedded.controllers.resources import Resources, pod_requests
from platform_lib.model import Obj

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "wanted"),
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (2, 1, 0, (1, 0)),
        (3, 0, "10%", (0, 1)),
        (2, 0, 5, (0, 2)),
        (0, 1, 1, (0, 0)),
    ],
)
def test_percentages_round_as_kubernetes_rounds_them(
    replicas: int, surge: int | str, unavailable: int | str, wanted: tuple[int, int]
) -> None:
    bounds = bounds_of(deployment(replicas=replicas, strategy=rolling(surge, unavailable)))
    assert (bounds.max_surge, bounds.max_unavailable) == wanted


@pytest.mark.parametrize(
    ("replicas", "surge", "old", "new", "wanted"),
    [(10, 0, 10, 0, 0), (10, 2, 10, 0, 2), (10, 2, 5, 0, 7), (10, 2, 10, 2, 2), (10, 2, 0, 11, 10)],
)
def test_new_set_grows_into_the_surge(replicas: int, surge: int, old: int, new: int, wanted: int) -> None:
    bounds = bounds_of(deployment(replicas=replicas, strategy=rolling(surge, 1 if surge == 0 else 0)))
    assert new_size(bounds, new, old + new) == wanted


@pytest.mark.parametrize(
    ("unavailable", "old", "old_available", "new", "new_available", "wanted"),
    [
        (0, 10, 10, 0, 0, 10),
        (2, 10, 10, 0, 0, 8),
        (2, 10, 8, 0, 0, 8),
        (2, 10, 9, 0, 0, 8),
        (2, 10, 8, 2, 0, 8),
        (0, 10, 10, 1, 1, 9),
        (0, 10, 10, 1, 0, 10),
    ],
)
def test_old_set_shrinks_as_far_as_is_safe(
    unavailable: int, old: int, old_available: int, new: int, new_available: int, wanted: int
) -> None:
    bounds = bounds_of(deployment(replicas=10, strategy=rolling(1, unavailable)))
    sizes = old_sizes(bounds, Size("new", new, new_available), [Size("old", old, old_available)])
    assert sizes.get("old", old) == wanted


# Worked by hand; the second case is the example of the Kubernetes documentation, "Proportional scaling".
@pytest.mark.parametrize(
    ("replicas", "surge", "shares", "wanted"),
    [
        (12, 0, [("new", 5, 10), ("old", 5, 10)], [6, 6]),
        (15, 3, [("old", 8, 13), ("new", 5, 13)], [11, 7]),
        (5, 0, [("a", 10, 10)], [5]),
        (0, 2, [("a", 6, 12), ("b", 4, 12)], [0, 0]),
        (6, 0, [("b", 5, 10), ("a", 3, 10), ("c", 2, 10)], [3, 2, 1]),
    ],
)
def test_change_of_size_is_shared_in_proportion(
    replicas: int, surge: int, shares: list[tuple[str, int, int]], wanted: list[int]
) -> None:
    bounds = bounds_of(deployment(replicas=replicas, strategy=rolling(surge, 1)))
    sizes = proportional(bounds, [Share(*item) for item in shares])
    assert [sizes[item[0]] for item in shares] == wanted


def test_template_hash_ignores_nulls_and_empty_values() -> None:
    template = pod_template()
    padded: Obj = {
        "metadata": {**template["metadata"], "creationTimestamp": None, "annotations": {}},
        "spec": {**template["spec"], "securityContext": {}, "volumes": None},
    }
    padded["metadata"]["labels"] = {**padded["metadata"]["labels"], "pod-template-hash": "abc"}
    assert templates.template_hash(padded) == templates.template_hash(template)
    assert templates.same_template(padded, template)
    assert templates.template_hash(pod_template(version="2")) != templates.template_hash(template)
    assert templates.template_hash(template, 1) != templates.template_hash(template)


def pod(name: str, **facts: Any) -> Obj:
    ready_at = facts.get("ready_at")
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": text(ready_at)}] if ready_at else []
    made = facts.get("made", NOW - timedelta(hours=1))
    meta: Obj = {"name": name, "namespace": "default", "uid": name, "creationTimestamp": text(made)}
    if "cost" in facts:
        meta["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": facts["cost"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**meta, "labels": {"app": "web"}},
        "spec": {"nodeName": facts.get("node", "a"), "containers": pod_template(cpu="100m")["spec"]["containers"]},
        "status": {"phase": facts.get("phase", "Running"), "conditions": conditions, "startTime": text(made)},
    }


LONG_AGO, LATELY = NOW - timedelta(minutes=50), NOW - timedelta(seconds=5)


@pytest.mark.parametrize(
    ("goes", "stays"),
    [
        (pod("x", node=""), pod("y", phase="Pending")),
        (pod("x", phase="Pending"), pod("y")),
        (pod("x"), pod("y", ready_at=LONG_AGO)),
        (pod("x", ready_at=LONG_AGO, cost="-5"), pod("y", ready_at=LATELY)),
        (pod("x", ready_at=LATELY), pod("y", ready_at=LONG_AGO)),
        (pod("x", made=LATELY), pod("y", made=LONG_AGO)),
    ],
    ids=["unbound", "pending", "unready", "cheap", "ready-last", "youngest"],
)
def test_which_pod_goes_first(goes: Obj, stays: Obj) -> None:
    assert victims([stays, goes], [stays, goes], 1, NOW) == [goes]


def test_pod_on_the_crowded_node_goes_first() -> None:
    pods = [pod(name, node=node, ready_at=LONG_AGO) for name, node in (("a", "n1"), ("b", "n2"), ("c", "n2"))]
    assert victims(pods, pods, 1, NOW)[0]["spec"]["nodeName"] == "n2"


def test_requests_of_init_containers_count_when_they_are_bigger() -> None:
    def container(cpu: str, **more: Any) -> Obj:
        return {"resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}, **more}

    main, init = container("100m"), container("1")
    sidecar = container("50m", restartPolicy="Always")
    assert pod_requests({"spec": {"containers": [main]}}) == Resources(100, 2**20, 1)
    assert pod_requests({"spec": {"containers": [main], "initContainers": [init]}}).cpu_m == 1000
    assert pod_requests({"spec": {"containers": [main], "initContainers": [sidecar, init]}}).cpu_m == 1050


def readings(*usage: int | None) -> list[Reading]:
    return [Reading(one, 100, True) for one in usage]


@pytest.mark.parametrize(
    ("usage", "current", "wanted"),
    [
        ((70, 70), 2, 2),
        ((75, 75), 2, 2),
        ((140, 140), 2, 4),
        ((200, 200, 200), 3, 9),
        ((10, 10, 10, 10), 4, 1),
        ((140, None), 2, 2),
        ((10, None), 2, 2),
    ],
    ids=["on target", "within tolerance", "double", "triple", "idle", "silent when growing", "silent when shrinking"],
)
def test_utilization_asks_for_replicas(usage: tuple[int | None, ...], current: int, wanted: int) -> None:
    assert wanted_for_utilization(readings(*usage), 70, current)[0] == wanted


def test_average_asks_for_replicas() -> None:
    assert wanted_for_average(readings(300, 100), 100, 2) == (4, 200)


def test_growth_is_limited_and_shrinking_waits_for_its_window() -> None:
    memory = Memory()
    assert limited(50, 2, memory, {}, NOW) == 6
    memory = remember(memory, 6, 4, NOW)
    assert limited(50, 6, memory, {}, NOW + timedelta(seconds=10)) == 6
    assert limited(50, 6, memory, {}, NOW + timedelta(seconds=16)) == 12
    assert stabilized(2, 6, memory, {}, NOW + timedelta(seconds=299)) == 6
    assert stabilized(2, 6, memory, {}, NOW + timedelta(seconds=301)) == 2


def test_behavior_can_forbid_shrinking() -> None:
    assert limited(1, 5, Memory(), {"scaleDown": {"selectPolicy": "Disabled"}}, NOW) == 5


def usage(name: str, cpu: str) -> Obj:
    containers = [{"name": "main", "usage": {"cpu": cpu, "memory": "10Mi"}}]
    meta = {"name": name, "namespace": "default", "uid": f"metrics-{name}"}
    return {"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics", "metadata": meta, "containers": containers}


def test_autoscaler_with_readings_sets_size_and_conditions() -> None:
    target = deployment(replicas=2)
    target["metadata"]["uid"] = "target"
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}
    metric["resource"]["target"]["averageUtilization"] = 70  # type: ignore[index]
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default", "uid": "scaler"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2,
            "maxReplicas": 3,
            "metrics": [metric],
        },
    }
    pods = [pod("a", ready_at=LONG_AGO), pod("b", ready_at=LONG_AGO)]
    snapshot = Index.of([target, scaler, *pods, usage("a", "180m"), usage("b", "100m")])
    result = autoscaler.reconcile(snapshot, ("default", "web"), NOW, None)
    scale, status = result.writes
    assert scale.body == {"spec": {"replicas": 3}}
    after = status.body["status"]
    told = {item["type"]: (item["status"], item["reason"]) for item in after["conditions"]}
    assert told == {
        "AbleToScale": ("True", "SucceededRescale"),
        "ScalingActive": ("True", "ValidMetricFound"),
        "ScalingLimited": ("True", "TooManyReplicas"),
    }
    assert after["currentMetrics"][0]["resource"]["current"] == {"averageUtilization": 140, "averageValue": "140m"}
