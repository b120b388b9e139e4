from __future__ import annotations

import copy

import pytest
from conftest import DEPLOYMENT, deployment

from platform_lib.embedded.defaults import admit_pod, apply_defaults, qos_class
from platform_lib.embedded.kinds import KINDS, by_kind

POD = by_kind("v1", "Pod")


def defaulted(kind, obj):
    apply_defaults(kind, obj)
    return obj


def test_a_deployment_reads_back_as_from_a_real_server():
    spec = defaulted(DEPLOYMENT, deployment())["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Always"
    assert pod["terminationGracePeriodSeconds"] == 30
    assert pod["dnsPolicy"] == "ClusterFirst"
    assert pod["schedulerName"] == "default-scheduler"
    assert pod["securityContext"] == {}
    container = pod["containers"][0]
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["terminationMessagePolicy"] == "File"
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["resources"] == {}
    assert container["ports"][0]["protocol"] == "TCP"


def test_recreate_gets_no_rolling_update():
    obj = defaulted(DEPLOYMENT, deployment(strategy={"type": "Recreate"}))
    assert obj["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("web", "Always"), ("web:latest", "Always"), ("web:1", "IfNotPresent"),
        ("host:5000/web", "Always"), ("web@sha256:00", "IfNotPresent"),
    ],
)  # fmt: skip
def test_the_pull_policy_follows_the_tag(image, policy):
    pod = defaulted(POD, {"spec": {"containers": [{"name": "c", "image": image}]}})
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_probes_get_their_periods():
    probe = {"httpGet": {"port": 80}}
    pod = defaulted(POD, {"spec": {"containers": [{"name": "c", "readinessProbe": probe}]}})
    assert pod["spec"]["containers"][0]["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def test_a_service_port_targets_itself():
    service = defaulted(by_kind("v1", "Service"), {"spec": {"ports": [{"port": 80}]}})
    assert service["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert service["spec"]["type"] == "ClusterIP"


def test_a_secret_folds_its_text():
    secret = defaulted(by_kind("v1", "Secret"), {"stringData": {"a": "b"}})
    assert secret == {"type": "Opaque", "data": {"a": "Yg=="}}


def test_admission_tolerates_lost_nodes_for_a_while():
    pod = {"metadata": {}, "spec": {"containers": [{"name": "c"}]}}
    admit_pod(pod, toleration_s=5)
    assert [(t["key"], t["tolerationSeconds"]) for t in pod["spec"]["tolerations"]] == [
        ("node.kubernetes.io/not-ready", 5),
        ("node.kubernetes.io/unreachable", 5),
    ]
    admit_pod(pod, toleration_s=9)
    assert len(pod["spec"]["tolerations"]) == 2
    own = {"metadata": {}, "spec": {"containers": [], "tolerations": [{"operator": "Exists"}]}}
    admit_pod(own, toleration_s=5)
    assert own["spec"]["tolerations"] == [{"operator": "Exists"}]


@pytest.mark.parametrize(
    ("resources", "name"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}, "Burstable"),
    ],
)
def test_quality_of_service_follows_the_resources(resources, name):
    assert qos_class({"containers": [{"resources": resources}]}) == name


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.stored], ids=lambda kind: kind.gvr)
def test_defaults_are_idempotent(kind, schemas):
    obj = deployment() if kind.kind in ("Deployment", "ReplicaSet") else {"metadata": {"name": "x"}}
    apply_defaults(kind, obj, schemas)
    once = copy.deepcopy(obj)
    apply_defaults(kind, obj, schemas)
    assert obj == once
