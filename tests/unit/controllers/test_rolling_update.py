"""How a Deployment moves from one template to the next, on the real API and controllers."""

from __future__ import annotations

from simulated import Cluster, deployment, pod_template, rolling

DEPLOYMENTS, SETS, PODS = "apps/v1/deployments", "apps/v1/replicasets", "v1/pods"


def version(cluster: Cluster, number: str, **spec: object) -> None:
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": pod_template(version=number, **spec)}})


def sizes(cluster: Cluster) -> dict[str, int]:
    found = cluster.list(SETS)
    return {item["spec"]["template"]["spec"]["containers"][0]["image"][-1]: item["spec"]["replicas"] for item in found}


def condition(cluster: Cluster, kind: str) -> tuple[str, str]:
    status = cluster.get(DEPLOYMENTS, "web")["status"]
    found = next(item for item in status["conditions"] if item["type"] == kind)
    return found["status"], found["reason"]


def test_new_deployment_becomes_complete(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=3))
    cluster.run_to_rest()
    found = cluster.get(DEPLOYMENTS, "web")
    status = found["status"]
    assert (status["replicas"], status["readyReplicas"], status["availableReplicas"], status["updatedReplicas"]) == (
        3,
        3,
        3,
        3,
    )
    assert status["observedGeneration"] == found["metadata"]["generation"]
    assert condition(cluster, "Available") == ("True", "MinimumReplicasAvailable")
    assert condition(cluster, "Progressing") == ("True", "NewReplicaSetAvailable")
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    (made,) = cluster.list(SETS)
    hashed = made["metadata"]["labels"]["pod-template-hash"]
    assert made["metadata"]["name"] == f"web-{hashed}"
    assert all(pod["metadata"]["labels"]["pod-template-hash"] == hashed for pod in cluster.list(PODS))
    assert cluster.events("ScalingReplicaSet") == [f"Scaled up replica set web-{hashed} from 0 to 3"]


def test_rolling_update_ends_with_new_pods_only(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=4, strategy=rolling(1, 0)))
    cluster.run_to_rest()
    version(cluster, "2")
    cluster.run_to_rest()
    assert sizes(cluster) == {"1": 0, "2": 4}
    images = {pod["spec"]["containers"][0]["image"] for pod in cluster.list(PODS)}
    assert images == {"example/web:2"}


def test_surge_is_filled_before_anything_shrinks(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=2, strategy=rolling(1, 0)))
    cluster.run_to_rest()
    version(cluster, "2")
    cluster.settle()
    assert sizes(cluster) == {"1": 2, "2": 1}


def test_new_version_that_never_gets_ready_leaves_the_old_one_serving(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=2, strategy=rolling(1, 0), progressDeadlineSeconds=30))
    cluster.run_to_rest()
    cluster.is_ready = lambda pod: pod["spec"]["containers"][0]["image"].endswith(":1")
    version(cluster, "2")
    cluster.run_to_rest()
    assert sizes(cluster) == {"1": 2, "2": 1}
    assert condition(cluster, "Progressing")[0] == "True"
    cluster.advance(40)
    assert condition(cluster, "Progressing") == ("False", "ProgressDeadlineExceeded")
    assert condition(cluster, "Available") == ("True", "MinimumReplicasAvailable")
    assert cluster.get(DEPLOYMENTS, "web")["status"]["unavailableReplicas"] == 1


def test_broken_old_pods_go_first(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=4, strategy=rolling(0, 2)))
    cluster.run_to_rest()
    broken = {pod["metadata"]["name"] for pod in cluster.list(PODS)[:2]}
    cluster.is_ready = lambda pod: pod["metadata"]["name"] not in broken
    cluster.run_to_rest()
    version(cluster, "2")
    cluster.settle()
    left = {pod["metadata"]["name"] for pod in cluster.list(PODS) if not pod["metadata"].get("deletionTimestamp")}
    assert not left & broken


def test_rollback_uses_the_old_replica_set_again(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=2))
    cluster.run_to_rest()
    version(cluster, "2")
    cluster.run_to_rest()
    # What kubectl rollout undo sends: the old template as Go writes it, with nulls and empty values.
    template = pod_template(version="1")
    template["metadata"]["creationTimestamp"] = None
    template["spec"]["securityContext"] = {}
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": template}})
    cluster.run_to_rest()
    assert sizes(cluster) == {"1": 2, "2": 0}
    first = next(item for item in cluster.list(SETS) if item["spec"]["replicas"])
    notes = first["metadata"]["annotations"]
    assert notes["deployment.kubernetes.io/revision"] == "3"
    assert notes["deployment.kubernetes.io/revision-history"] == "1"
    found = cluster.get(DEPLOYMENTS, "web")["metadata"]["annotations"]
    assert found["deployment.kubernetes.io/revision"] == "3"


def test_history_is_cut_to_its_limit(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=1, revisionHistoryLimit=2))
    for number in range(1, 6):
        version(cluster, str(number))
        cluster.run_to_rest()
    assert sizes(cluster) == {"3": 0, "4": 0, "5": 1}


def test_paused_deployment_scales_but_does_not_roll(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=2))
    cluster.run_to_rest()
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"paused": True, "replicas": 3, "template": pod_template(version="2")}})
    cluster.run_to_rest()
    assert sizes(cluster) == {"1": 3}
    assert condition(cluster, "Progressing") == ("Unknown", "DeploymentPaused")
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}})
    cluster.run_to_rest()
    assert sizes(cluster) == {"1": 0, "2": 3}
    assert condition(cluster, "Progressing") == ("True", "NewReplicaSetAvailable")


def test_recreate_ends_all_old_pods_before_the_first_new_one(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=2, strategy={"type": "Recreate"}))
    cluster.run_to_rest()
    version(cluster, "2")
    cluster.settle()
    assert sizes(cluster) == {"1": 0}
    assert all(pod["metadata"].get("deletionTimestamp") for pod in cluster.list(PODS))
    cluster.run_to_rest()
    assert sizes(cluster) == {"1": 0, "2": 2}
    assert condition(cluster, "Progressing") == ("True", "NewReplicaSetAvailable")


def test_min_ready_seconds_hold_availability_back(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=1, minReadySeconds=10))
    cluster.run_to_rest()
    assert "availableReplicas" not in cluster.get(DEPLOYMENTS, "web")["status"]
    cluster.advance(12)
    assert cluster.get(DEPLOYMENTS, "web")["status"]["availableReplicas"] == 1


def test_scaling_in_mid_rollout_is_shared_in_proportion(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=10, strategy=rolling(3, 2)))
    cluster.run_to_rest()
    cluster.is_ready = lambda pod: pod["spec"]["containers"][0]["image"].endswith(":1")
    version(cluster, "2")
    cluster.run_to_rest()
    assert sizes(cluster) == {"1": 8, "2": 5}
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 15}})
    cluster.settle()
    # The worked example of the Kubernetes documentation, "Proportional scaling".
    assert sizes(cluster) == {"1": 11, "2": 7}


def test_pod_that_loses_its_label_is_released_and_replaced(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=2))
    cluster.run_to_rest()
    strayed = cluster.list(PODS)[0]["metadata"]["name"]
    cluster.patch(PODS, strayed, {"metadata": {"labels": {"app": "debug"}}})
    cluster.run_to_rest()
    assert len(cluster.list(PODS)) == 3
    assert not cluster.get(PODS, strayed)["metadata"].get("ownerReferences")
    cluster.patch(PODS, strayed, {"metadata": {"labels": {"app": "web"}}})
    cluster.run_to_rest()
    assert len(cluster.list(PODS)) == 2


def test_refused_pods_are_reported_and_tried_again(cluster: Cluster) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.patch("v1/namespaces", "default", {"metadata": {"labels": labels}}, None)
    cluster.create(deployment(replicas=1))
    cluster.settle()
    assert condition(cluster, "ReplicaFailure") == ("True", "FailedCreate")
    assert "violates PodSecurity" in cluster.events("FailedCreate")[0]
    off = {"pod-security.kubernetes.io/enforce": None}
    cluster.patch("v1/namespaces", "default", {"metadata": {"labels": off}}, None)
    cluster.advance(2)
    cluster.run_to_rest()
    status = cluster.get(DEPLOYMENTS, "web")["status"]
    assert status["readyReplicas"] == 1
    assert not [item for item in status["conditions"] if item["type"] == "ReplicaFailure"]
