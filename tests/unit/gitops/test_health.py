# ruff: noqa: E501
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.rules import health as h


def make(api, kind, spec=None, status=None, **meta):
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": "x", **meta},
        "spec": spec or {},
        "status": status or {},
    }


def deployment(spec=None, *, generation=2, **status):
    return make(
        "apps/v1",
        "Deployment",
        {"replicas": 2, **(spec or {})},
        {"observedGeneration": 2, **status},
        generation=generation,
    )


FULL = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


def cond(type_, status="True", reason="", message=""):
    return {"type": type_, "status": status, "reason": reason, "message": message}


def waiting(reason, message=""):
    return {"name": "c", "state": {"waiting": {"reason": reason, "message": message}}}


CASES = [
    ("deployment complete", deployment(**FULL), "Healthy", ""),
    ("deployment paused", deployment({"paused": True}), "Suspended", "Deployment is paused"),
    ("deployment not observed", deployment(generation=3, **FULL), "Progressing", "observed deployment generation less"),
    ("deadline", deployment(**FULL, conditions=[cond("Progressing", "False", "ProgressDeadlineExceeded")]), "Degraded", 'Deployment "x" exceeded its progress deadline'),
    ("not all updated", deployment(replicas=2, updatedReplicas=1, availableReplicas=2), "Progressing", "1 out of 2 new replicas"),
    ("old pods left", deployment(replicas=3, updatedReplicas=2, availableReplicas=2), "Progressing", "1 old replicas are pending termination"),
    ("not available", deployment(replicas=2, updatedReplicas=2, availableReplicas=1), "Progressing", "1 of 2 updated replicas are available"),
    ("old api", make("apps/v1beta1", "Deployment"), "Unknown", "unsupported"),
    ("replica failure", make("apps/v1", "ReplicaSet", {"replicas": 1}, {"conditions": [cond("ReplicaFailure", message="quota")]}), "Degraded", "quota"),
    ("replica set short", make("apps/v1", "ReplicaSet", {"replicas": 1}), "Progressing", "0 out of 1"),
    ("replica set full", make("apps/v1", "ReplicaSet", {"replicas": 1}, {"availableReplicas": 1}), "Healthy", ""),
    ("stateful set unobserved", make("apps/v1", "StatefulSet", {"replicas": 1}), "Progressing", "to be observed"),
    ("stateful set not ready", make("apps/v1", "StatefulSet", {"replicas": 2}, {"observedGeneration": 1, "readyReplicas": 1}), "Progressing", "Waiting for 1 pods"),
    ("stateful partition", make("apps/v1", "StatefulSet", {"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}, {"observedGeneration": 1, "readyReplicas": 3, "updatedReplicas": 1}), "Progressing", "1 out of 2"),
    ("stateful on delete", make("apps/v1", "StatefulSet", {"replicas": 1, "updateStrategy": {"type": "OnDelete"}}, {"observedGeneration": 1, "readyReplicas": 1, "updateRevision": "b", "currentRevision": "a"}), "Healthy", ""),
    ("stateful revision", make("apps/v1", "StatefulSet", {"replicas": 1}, {"observedGeneration": 1, "readyReplicas": 1, "updateRevision": "b", "currentRevision": "a"}), "Progressing", "revision b"),
    ("daemon set short", make("apps/v1", "DaemonSet", {}, {"desiredNumberScheduled": 2, "updatedNumberScheduled": 1}), "Progressing", "1 out of 2"),
    ("daemon set full", make("apps/v1", "DaemonSet", {}, {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1}), "Healthy", ""),
    ("pod back-off", make("v1", "Pod", {"restartPolicy": "Always"}, {"phase": "Running", "containerStatuses": [waiting("CrashLoopBackOff", "back-off 10s")]}), "Degraded", "back-off 10s"),
    ("pod image", make("v1", "Pod", {}, {"phase": "Pending", "containerStatuses": [waiting("ErrImagePull")]}), "Degraded", "ErrImagePull"),
    ("pod never restarts", make("v1", "Pod", {"restartPolicy": "Never"}, {"phase": "Pending", "containerStatuses": [waiting("ErrImagePull")]}), "Progressing", ""),
    ("pod pending", make("v1", "Pod", {}, {"phase": "Pending", "containerStatuses": [waiting("ContainerCreating")]}), "Progressing", ""),
    ("pod ready", make("v1", "Pod", {"restartPolicy": "Always"}, {"phase": "Running", "conditions": [cond("Ready")]}), "Healthy", ""),
    ("pod restarted", make("v1", "Pod", {"restartPolicy": "Always"}, {"phase": "Running", "containerStatuses": [{"name": "c", "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}}]}), "Degraded", ""),
    ("pod failed", make("v1", "Pod", {"restartPolicy": "Never"}, {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 3}}}]}), "Degraded", 'container "c" failed with exit code 3'),
    ("pod oom", make("v1", "Pod", {"restartPolicy": "Never"}, {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}), "Degraded", "OOMKilled"),
    ("pod succeeded", make("v1", "Pod", {"restartPolicy": "Never"}, {"phase": "Succeeded"}), "Healthy", ""),
    ("pod strange", make("v1", "Pod", {}, {"phase": "Odd"}), "Unknown", ""),
    ("service", make("v1", "Service", {"type": "ClusterIP"}), "Healthy", ""),
    ("load balancer pending", make("v1", "Service", {"type": "LoadBalancer"}), "Progressing", ""),
    ("ingress pending", make("networking.k8s.io/v1", "Ingress"), "Progressing", ""),
    ("ingress published", make("networking.k8s.io/v1", "Ingress", {}, {"loadBalancer": {"ingress": [{}]}}), "Healthy", ""),
    ("claim lost", make("v1", "PersistentVolumeClaim", {}, {"phase": "Lost"}), "Degraded", ""),
    ("job new", make("batch/v1", "Job"), "Progressing", ""),
    ("job failed", make("batch/v1", "Job", {}, {"conditions": [cond("Failed", message="limit")]}), "Degraded", "limit"),
    ("job complete", make("batch/v1", "Job", {}, {"conditions": [cond("Complete")]}), "Healthy", ""),
    ("job suspended", make("batch/v1", "Job", {}, {"conditions": [cond("Suspended")]}), "Suspended", ""),
    ("autoscaler new", make("autoscaling/v2", "HorizontalPodAutoscaler"), "Progressing", "Waiting to Autoscale"),
    ("autoscaler fails", make("autoscaling/v2", "HorizontalPodAutoscaler", {}, {"conditions": [cond("AbleToScale"), cond("ScalingActive", "False", "FailedGetResourceMetric", "no metrics")]}), "Degraded", "no metrics"),
    ("autoscaler able", make("autoscaling/v2", "HorizontalPodAutoscaler", {}, {"conditions": [cond("AbleToScale", message="ok")]}), "Healthy", "ok"),
    ("budget new", make("policy/v1", "PodDisruptionBudget"), "Progressing", ""),
    ("budget short of pods", make("policy/v1", "PodDisruptionBudget", {}, {"conditions": [cond("DisruptionAllowed", "False", "InsufficientPods")]}), "Healthy", ""),
    ("budget broken", make("policy/v1", "PodDisruptionBudget", {}, {"conditions": [cond("DisruptionAllowed", "False", "SyncFailed")]}), "Degraded", "SyncFailed"),
    ("definition", make("apiextensions.k8s.io/v1", "CustomResourceDefinition", {}, {"conditions": [cond("Established"), cond("NamesAccepted")]}), "Healthy", ""),
    ("definition new", make("apiextensions.k8s.io/v1", "CustomResourceDefinition"), "Progressing", ""),
    ("definition conflicting", make("apiextensions.k8s.io/v1", "CustomResourceDefinition", {}, {"conditions": [cond("NamesAccepted", "False", message="taken")]}), "Degraded", "taken"),
    ("cron job suspended", make("batch/v1", "CronJob", {"suspend": True}), "Healthy", ""),
    ("cron job failing", make("batch/v1", "CronJob", {}, {"lastScheduleTime": "2024-01-02T00:00:00Z", "lastSuccessfulTime": "2024-01-01T00:00:00Z"}), "Degraded", ""),
    ("child application", make("argoproj.io/v1alpha1", "Application", {}, {"health": {"status": "Degraded"}}), "Degraded", ""),
    ("child application new", make("argoproj.io/v1alpha1", "Application"), "Progressing", ""),
    ("api service", make("apiregistration.k8s.io/v1", "APIService", {}, {"conditions": [cond("Available", reason="Passed", message="ok")]}), "Healthy", "Passed: ok"),
    ("workflow", make("argoproj.io/v1alpha1", "Workflow", {}, {"phase": "Error", "message": "m"}), "Degraded", "m"),
    ("going away", make("v1", "Service", deletionTimestamp="2024-01-01T00:00:00Z"), "Progressing", "Pending deletion"),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "status", "message"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_health_of_one_object(obj, status, message):
    judged = h.health_of(obj)
    assert judged is not None
    assert judged.status == status
    assert message in judged.message


@pytest.mark.parametrize("kind", ["Namespace", "ConfigMap", "Secret", "ServiceAccount"])
def test_kinds_without_a_rule_have_no_health(kind):
    assert h.health_of(make("v1", kind)) is None


def test_a_running_hook_is_not_pending_deletion():
    job = make("batch/v1", "Job", deletionTimestamp="t", finalizers=[h.HOOK_FINALIZER])
    assert h.health_of(job) == ("Progressing", "")


def test_one_missing_object_does_not_count_but_all_missing_do():
    assert h.application_health([None, make("v1", "Service")]) == "Healthy"
    assert h.application_health([None, None]) == "Missing"
    assert h.application_health([]) == "Healthy"


def test_worst_health_wins_and_ignored_objects_do_not_count():
    bad = deployment(conditions=[cond("Progressing", "False", "ProgressDeadlineExceeded")])
    assert h.application_health([bad, make("v1", "Service")]) == "Degraded"
    bad["metadata"]["annotations"] = {h.IGNORE_HEALTH_ANNOTATION: "true"}
    assert h.application_health([bad, make("v1", "Service")]) == "Healthy"


def test_unknown_child_applications_do_not_count():
    child = make("argoproj.io/v1alpha1", "Application", {}, {"health": {"status": "Unknown"}})
    assert h.application_health([child]) == "Healthy"


@given(st.lists(st.sampled_from(h.SEVERITY)))
def test_worst_is_never_better_than_any_part(statuses):
    result = h.SEVERITY.index(h.worst(statuses))
    assert all(result >= h.SEVERITY.index(status) for status in statuses)
