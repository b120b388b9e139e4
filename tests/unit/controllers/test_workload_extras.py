"""Disruption budgets, autoscalers, Jobs, Ingress addresses and the life of events."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from simulated import Cluster, deployment, pod_template

from platform_lib.errors import ApiError
from platform_lib.model import Obj
from platform_lib.rules.health import health_of

PODS, BUDGETS, SCALERS = "v1/pods", "policy/v1/poddisruptionbudgets", "autoscaling/v2/horizontalpodautoscalers"
JOBS, INGRESSES = "batch/v1/jobs", "networking.k8s.io/v1/ingresses"


def named(api_version: str, kind: str, name: str, spec: Obj) -> Obj:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def budget(**spec: Any) -> Obj:
    return named("policy/v1", "PodDisruptionBudget", "web", {"selector": {"matchLabels": {"app": "web"}}, **spec})


def counts(cluster: Cluster) -> tuple[int, int, int, int]:
    status = cluster.get(BUDGETS, "web")["status"]
    fields = ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed")
    return tuple(status[field] for field in fields)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"minAvailable": 1}, (3, 3, 1, 2)),
        ({"minAvailable": "50%"}, (3, 3, 2, 1)),
        ({"maxUnavailable": 1}, (3, 3, 2, 1)),
        ({"maxUnavailable": "100%"}, (3, 3, 0, 3)),
        ({"minAvailable": 3}, (3, 3, 3, 0)),
    ],
)
def test_budget_counts(cluster: Cluster, spec: Obj, wanted: tuple[int, ...]) -> None:
    cluster.create(deployment(replicas=3))
    cluster.create(budget(**spec))
    cluster.run_to_rest()
    assert counts(cluster) == wanted
    assert health_of(cluster.get(BUDGETS, "web")).status == "Healthy"  # type: ignore[union-attr]


def test_second_eviction_in_a_row_is_refused_until_the_first_is_replaced(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=2))
    cluster.create(budget(minAvailable=1))
    cluster.run_to_rest()
    first, second = (pod["metadata"]["name"] for pod in cluster.list(PODS))
    eviction: Obj = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": first}}
    cluster.api.create(PODS, eviction, "default", user="test", sub="eviction", name=first)
    cluster.settle()
    eviction["metadata"]["name"] = second
    with pytest.raises(ApiError) as refused:
        cluster.api.create(PODS, eviction, "default", user="test", sub="eviction", name=second)
    assert refused.value.status == 429
    cluster.run_to_rest()
    assert counts(cluster) == (2, 2, 1, 1)


def scaler(**spec: Any) -> Obj:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
    body = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 10, "metrics": [cpu], **spec}
    return named("autoscaling/v2", "HorizontalPodAutoscaler", "web", body)


def test_autoscaler_without_readings_claims_nothing_and_is_healthy(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=2))
    cluster.create(scaler())
    cluster.run_to_rest()
    cluster.advance(20)
    found = cluster.get(SCALERS, "web")
    told = {item["type"]: item["reason"] for item in found["status"]["conditions"]}
    assert told == {"AbleToScale": "SucceededGetScale"}
    assert found["status"]["currentReplicas"] == found["status"]["desiredReplicas"] == 2
    assert health_of(found).status == "Healthy"  # type: ignore[union-attr]


def test_autoscaler_enforces_its_bounds_without_readings(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=1))
    cluster.create(scaler())
    cluster.run_to_rest()
    assert cluster.get("apps/v1/deployments", "web")["spec"]["replicas"] == 2
    assert cluster.events("SuccessfulRescale") == [
        "New size: 2; reason: Current number of replicas below Spec.MinReplicas"
    ]


def test_autoscaler_without_target_says_so(cluster: Cluster) -> None:
    cluster.create(scaler())
    cluster.settle()
    (told,) = cluster.get(SCALERS, "web")["status"]["conditions"]
    assert (told["type"], told["status"], told["reason"]) == ("AbleToScale", "False", "FailedGetScale")


def job(**spec: Any) -> Obj:
    template = pod_template("job", restartPolicy="Never")
    return named("batch/v1", "Job", "job", {"template": template, **spec})


def finish(cluster: Cluster, phase: str) -> None:
    for pod in cluster.list(PODS):
        if pod.get("status", {}).get("phase") == "Running":
            cluster.finish_pod(pod, phase)
    cluster.settle()


def told(cluster: Cluster) -> dict[str, str]:
    status = cluster.get(JOBS, "job").get("status", {})
    return {item["type"]: item["reason"] for item in status.get("conditions", []) if item["status"] == "True"}


def test_job_runs_to_its_completions(cluster: Cluster) -> None:
    cluster.create(job(completions=3, parallelism=2))
    cluster.run_to_rest()
    assert cluster.get(JOBS, "job")["status"]["active"] == 2
    finish(cluster, "Succeeded")
    cluster.run_to_rest()
    assert cluster.get(JOBS, "job")["status"]["active"] == 1
    finish(cluster, "Succeeded")
    assert told(cluster)["Complete"] == "CompletionsReached"
    status = cluster.get(JOBS, "job")["status"]
    assert (status["succeeded"], status.get("active")) == (3, None)
    assert status["completionTime"]
    assert health_of(cluster.get(JOBS, "job")).status == "Healthy"  # type: ignore[union-attr]


def test_failing_job_waits_longer_each_time_and_gives_up(cluster: Cluster) -> None:
    cluster.create(job(backoffLimit=1))
    cluster.run_to_rest()
    finish(cluster, "Failed")
    assert len(cluster.list(PODS)) == 1
    cluster.advance(11)
    cluster.run_to_rest()
    assert len(cluster.list(PODS)) == 2
    finish(cluster, "Failed")
    assert told(cluster)["Failed"] == "BackoffLimitExceeded"
    assert health_of(cluster.get(JOBS, "job")).status == "Degraded"  # type: ignore[union-attr]


def test_job_past_its_deadline_fails_and_ends_its_pods(cluster: Cluster) -> None:
    cluster.create(job(activeDeadlineSeconds=5))
    cluster.run_to_rest()
    cluster.advance(6)
    cluster.run_to_rest()
    assert told(cluster)["Failed"] == "DeadlineExceeded"
    assert cluster.list(PODS) == []


def test_suspended_job_runs_nothing_until_it_is_resumed(cluster: Cluster) -> None:
    cluster.create(job(suspend=True))
    cluster.run_to_rest()
    assert cluster.list(PODS) == []
    assert told(cluster) == {"Suspended": "JobSuspended"}
    cluster.patch(JOBS, "job", {"spec": {"suspend": False}})
    cluster.run_to_rest()
    assert len(cluster.list(PODS)) == 1


def test_finished_job_is_deleted_after_its_time_to_live(cluster: Cluster) -> None:
    cluster.create(job(ttlSecondsAfterFinished=5))
    cluster.run_to_rest()
    finish(cluster, "Succeeded")
    cluster.advance(3)
    assert cluster.list(JOBS)
    cluster.advance(4)
    cluster.run_to_rest()
    assert cluster.list(JOBS) == cluster.list(PODS) == []


def test_ingress_gets_its_address_once_its_class_is_served(cluster: Cluster) -> None:
    service = {"name": "web", "port": {"name": "http"}}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": service}}
    rules = [{"host": "app.127.0.0.1.sslip.io", "http": {"paths": [path]}}]
    cluster.create(named("networking.k8s.io/v1", "Ingress", "web", {"ingressClassName": "traefik", "rules": rules}))
    cluster.settle()
    assert health_of(cluster.get(INGRESSES, "web")).status == "Progressing"  # type: ignore[union-attr]
    meta = {"name": "traefik"}
    spec = {"controller": "traefik.io/ingress-controller"}
    cluster.create({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": meta, "spec": spec})
    cluster.settle()
    assert cluster.get(INGRESSES, "web")["status"]["loadBalancer"] == {"ingress": [{"ip": "127.0.0.1"}]}


def test_events_expire_after_an_hour(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=1))
    cluster.run_to_rest()
    assert cluster.list("v1/events")
    cluster.now += timedelta(hours=1, seconds=5)
    cluster.renew_leases()
    cluster.settle()
    cluster.settle()
    assert cluster.list("v1/events") == []
