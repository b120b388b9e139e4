"""What happens when a node stops reporting, and when it is back."""

from __future__ import annotations

from simulated import Cluster, deployment, pod_template, service

from platform_lib.model import Obj

PODS, NODES, SLICES = "v1/pods", "v1/nodes", "discovery.k8s.io/v1/endpointslices"
UNREACHABLE = "node.kubernetes.io/unreachable"


def ready(obj: Obj) -> str:
    return next(item["status"] for item in obj["status"]["conditions"] if item["type"] == "Ready")


def taints(cluster: Cluster, node: str) -> set[tuple[str, str]]:
    found = cluster.api.get(NODES, node)["spec"].get("taints") or []
    return {(item["key"], item["effect"]) for item in found}


def pods_on(cluster: Cluster, node: str) -> list[Obj]:
    return [pod for pod in cluster.list(PODS) if pod["spec"].get("nodeName") == node]


def running(cluster: Cluster, replicas: int = 3) -> None:
    cluster.create(service())
    cluster.create(deployment(replicas=replicas))
    cluster.run_to_rest()


def test_node_without_heartbeat_is_marked_and_its_endpoints_drop_at_once(cluster: Cluster) -> None:
    running(cluster)
    cluster.dead.add("node-1")
    cluster.advance(3)
    assert ready(cluster.api.get(NODES, "node-1")) == "True"
    cluster.advance(2)
    node = cluster.api.get(NODES, "node-1")
    condition = next(item for item in node["status"]["conditions"] if item["type"] == "Ready")
    assert (condition["status"], condition["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert condition["message"] == "Kubelet stopped posting node status."
    assert taints(cluster, "node-1") == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}
    assert [ready(pod) for pod in pods_on(cluster, "node-1")] == ["False"]
    (found,) = cluster.list(SLICES)
    by_node = {one["nodeName"]: one["conditions"]["ready"] for one in found["endpoints"]}
    assert by_node == {"node-0": True, "node-1": False, "node-2": True}


def test_pods_of_a_lost_node_are_replaced_elsewhere_after_their_toleration(cluster: Cluster) -> None:
    running(cluster)
    cluster.dead.add("node-1")
    cluster.advance(6)
    assert len(cluster.list(PODS)) == 3
    cluster.advance(6)
    cluster.run_to_rest()
    (stuck,) = pods_on(cluster, "node-1")
    assert stuck["metadata"]["deletionTimestamp"]
    assert len([pod for pod in cluster.list(PODS) if ready(pod) == "True"]) == 3
    assert cluster.get("apps/v1/deployments", "web")["status"]["availableReplicas"] == 3


def test_node_that_returns_is_clean_again(cluster: Cluster) -> None:
    running(cluster)
    cluster.dead.add("node-1")
    cluster.advance(12)
    cluster.run_to_rest()
    cluster.dead.clear()
    cluster.report_node("node-1")
    cluster.advance(1)
    cluster.run_to_rest()
    assert taints(cluster, "node-1") == set()
    assert pods_on(cluster, "node-1") == []
    assert len(cluster.list(PODS)) == 3
    cluster.patch("apps/v1/deployments", "web", {"spec": {"replicas": 4}})
    cluster.run_to_rest()
    assert len(pods_on(cluster, "node-1")) == 1


def test_short_absence_evicts_nobody(cluster: Cluster) -> None:
    running(cluster)
    before = {pod["metadata"]["name"] for pod in cluster.list(PODS)}
    cluster.dead.add("node-1")
    cluster.advance(6)
    cluster.dead.clear()
    cluster.report_node("node-1")
    cluster.advance(10)
    cluster.run_to_rest()
    assert {pod["metadata"]["name"] for pod in cluster.list(PODS)} == before
    assert all(ready(pod) == "True" for pod in cluster.list(PODS))


def test_with_every_node_lost_nobody_is_evicted(cluster: Cluster) -> None:
    running(cluster)
    cluster.dead |= {"node-0", "node-1", "node-2"}
    cluster.advance(20)
    assert all(not pod["metadata"].get("deletionTimestamp") for pod in cluster.list(PODS))
    assert taints(cluster, "node-0") == {(UNREACHABLE, "NoSchedule")}


def test_age_of_a_heartbeat_counts_from_the_start_of_the_control_plane(cluster: Cluster) -> None:
    running(cluster)
    cluster.now = cluster.now.replace(hour=1)
    cluster.restart_controllers()
    cluster.settle()
    assert ready(cluster.api.get(NODES, "node-1")) == "True"


def test_cordoned_node_gets_the_taint_and_loses_it(cluster: Cluster) -> None:
    cluster.patch(NODES, "node-0", {"spec": {"unschedulable": True}}, None)
    cluster.settle()
    assert taints(cluster, "node-0") == {("node.kubernetes.io/unschedulable", "NoSchedule")}
    cluster.patch(NODES, "node-0", {"spec": {"unschedulable": None}}, None)
    cluster.settle()
    assert taints(cluster, "node-0") == set()


def test_taints_set_by_people_stay(cluster: Cluster) -> None:
    mine = [{"key": "team", "value": "a", "effect": "NoSchedule"}]
    cluster.patch(NODES, "node-1", {"spec": {"taints": mine}}, None)
    cluster.dead.add("node-1")
    cluster.advance(6)
    cluster.dead.clear()
    cluster.report_node("node-1")
    cluster.settle()
    assert cluster.api.get(NODES, "node-1")["spec"]["taints"] == mine


def test_no_execute_taint_evicts_who_does_not_tolerate_it(cluster: Cluster) -> None:
    tolerant = [{"key": "drain", "operator": "Exists", "effect": "NoExecute"}]
    cluster.create(deployment("stays", replicas=3, template=pod_template("stays", tolerations=tolerant)))
    running(cluster)
    taint = [{"key": "drain", "effect": "NoExecute"}]
    cluster.patch(NODES, "node-2", {"spec": {"taints": taint}}, None)
    cluster.run_to_rest()
    left = {pod["metadata"]["labels"]["app"] for pod in pods_on(cluster, "node-2")}
    assert left == {"stays"}
    assert len([pod for pod in cluster.list(PODS) if pod["metadata"]["labels"]["app"] == "web"]) == 3


def test_pods_of_a_deleted_node_are_removed(cluster: Cluster) -> None:
    running(cluster)
    cluster.dead.add("node-1")
    cluster.api.delete(NODES, "node-1", user="test")
    cluster.delete("coordination.k8s.io/v1/leases", "node-1", "kube-node-lease")
    cluster.settle()
    assert len(pods_on(cluster, "node-1")) == 1
    cluster.advance(6)
    cluster.run_to_rest()
    assert pods_on(cluster, "node-1") == []
    assert len(cluster.list(PODS)) == 3
