"""Where pods are placed, and what is said when they cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from simulated import Cluster, deployment, pod_template, rolling

from platform_lib.model import Obj

PODS, NODES = "v1/pods", "v1/nodes"
HOST = "kubernetes.io/hostname"


def pod(name: str = "one", **spec: Any) -> Obj:
    template = pod_template(**spec)
    meta = {**template["metadata"], "name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}


def node_of(cluster: Cluster, name: str = "one") -> str | None:
    return cluster.get(PODS, name)["spec"].get("nodeName")


def refusal(cluster: Cluster, name: str = "one") -> str:
    conditions = cluster.get(PODS, name)["status"]["conditions"]
    found = next(item for item in conditions if item["type"] == "PodScheduled")
    assert (found["status"], found["reason"]) == ("False", "Unschedulable")
    return str(found["message"])


def spread(mode: str = "DoNotSchedule", **fields: Any) -> list[Obj]:
    rule = {
        "maxSkew": 1,
        "topologyKey": HOST,
        "whenUnsatisfiable": mode,
        "labelSelector": {"matchLabels": {"app": "web"}},
        **fields,
    }
    return [rule]


def per_node(cluster: Cluster) -> list[int]:
    counted = Counter(item["spec"].get("nodeName") for item in cluster.list(PODS))
    return sorted(counted.values())


def test_pods_of_a_deployment_are_spread_without_being_told(cluster: Cluster) -> None:
    cluster.create(deployment(replicas=6))
    cluster.settle()
    assert per_node(cluster) == [2, 2, 2]


def test_placed_pod_is_announced(cluster: Cluster) -> None:
    cluster.create(pod())
    cluster.settle()
    assert cluster.events("Scheduled") == [f"Successfully assigned default/one to {node_of(cluster)}"]
    conditions = {item["type"]: item["status"] for item in cluster.get(PODS, "one")["status"]["conditions"]}
    assert conditions["PodScheduled"] == "True"


def test_emptier_node_is_preferred(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(nodes=2)
    cluster.create(pod("big", cpu="3"))
    cluster.settle()
    cluster.create(pod("small"))
    cluster.settle()
    assert node_of(cluster, "big") != node_of(cluster, "small")


def test_pod_too_big_for_every_node_says_so_as_kubernetes_does(cluster: Cluster) -> None:
    cluster.create(pod(cpu="100"))
    cluster.settle()
    wanted = (
        "0/3 nodes are available: 3 Insufficient cpu. "
        "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
    )
    assert refusal(cluster) == wanted
    assert cluster.events("FailedScheduling") == [wanted]


def test_reasons_of_different_nodes_are_counted_apart(cluster: Cluster) -> None:
    cluster.patch(NODES, "node-0", {"spec": {"unschedulable": True}}, None)
    taints = [{"key": "team", "value": "a", "effect": "NoSchedule"}]
    cluster.patch(NODES, "node-1", {"spec": {"taints": taints}}, None)
    cluster.create(pod(cpu="100"))
    cluster.settle()
    assert refusal(cluster).startswith(
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {team: a}, "
        "1 node(s) were unschedulable. preemption: 0/3 nodes are available: "
        "1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    )


def test_no_nodes_at_all(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(nodes=0)
    cluster.create(pod())
    cluster.settle()
    assert refusal(cluster) == "no nodes available to schedule pods"
    cluster.add_node("late")
    cluster.settle()
    assert node_of(cluster) == "late"


def test_waiting_pod_is_placed_when_another_one_leaves(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(nodes=1)
    cluster.create(pod("first", cpu="3"))
    cluster.settle()
    cluster.create(pod("second", cpu="3"))
    cluster.settle()
    assert node_of(cluster, "second") is None
    cluster.delete(PODS, "first", gracePeriodSeconds=0)
    cluster.settle()
    assert node_of(cluster, "second") == "node-0"


def test_node_selector_and_affinity_choose(cluster: Cluster) -> None:
    cluster.patch(NODES, "node-2", {"metadata": {"labels": {"disk": "ssd"}}}, None)
    cluster.create(pod("one", nodeSelector={"disk": "ssd"}))
    terms = [{"matchExpressions": [{"key": HOST, "operator": "In", "values": ["node-1"]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    cluster.create(pod("two", affinity={"nodeAffinity": required}))
    cluster.create(pod("three", nodeSelector={"disk": "tape"}))
    cluster.settle()
    assert (node_of(cluster, "one"), node_of(cluster, "two")) == ("node-2", "node-1")
    assert "3 node(s) didn't match Pod's node affinity/selector" in refusal(cluster, "three")


def test_toleration_opens_a_tainted_node(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(nodes=1)
    taints = [{"key": "team", "value": "a", "effect": "NoSchedule"}]
    cluster.patch(NODES, "node-0", {"spec": {"taints": taints}}, None)
    tolerations = [{"key": "team", "operator": "Equal", "value": "a", "effect": "NoSchedule"}]
    cluster.create(pod(tolerations=tolerations))
    cluster.settle()
    assert node_of(cluster) == "node-0"


def test_hard_spread_keeps_the_skew(cluster: Cluster) -> None:
    cluster.patch(NODES, "node-2", {"spec": {"unschedulable": True}}, None)
    template = pod_template("web", topologySpreadConstraints=spread())
    cluster.create(deployment(replicas=4, template=template))
    cluster.settle()
    # The cordoned node counts as an empty domain, so the others may hold one pod each.
    assert per_node(cluster) == [1, 1, 2]
    waiting = next(item for item in cluster.list(PODS) if not item["spec"].get("nodeName"))
    assert "2 node(s) didn't match pod topology spread constraints" in refusal(cluster, waiting["metadata"]["name"])


def test_node_taints_policy_leaves_closed_nodes_out_of_the_count(cluster: Cluster) -> None:
    cluster.patch(NODES, "node-2", {"spec": {"unschedulable": True}}, None)
    template = pod_template("web", topologySpreadConstraints=spread(nodeTaintsPolicy="Honor"))
    cluster.create(deployment(replicas=4, template=template))
    cluster.settle()
    assert per_node(cluster) == [2, 2]


def test_soft_spread_places_anyway(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(nodes=1)
    template = pod_template("web", topologySpreadConstraints=spread("ScheduleAnyway"))
    cluster.create(deployment(replicas=3, template=template))
    cluster.settle()
    assert per_node(cluster) == [3]


def test_match_label_keys_count_each_revision_for_itself(cluster: Cluster) -> None:
    rules = spread(matchLabelKeys=["pod-template-hash"])
    template = pod_template("web", topologySpreadConstraints=rules)
    cluster.create(deployment(replicas=3, template=template, strategy=rolling(3, 0)))
    cluster.run_to_rest()
    newer = pod_template("web", version="2", topologySpreadConstraints=rules)
    cluster.patch("apps/v1/deployments", "web", {"spec": {"template": newer}})
    cluster.settle()
    fresh = [item for item in cluster.list(PODS) if item["spec"]["containers"][0]["image"].endswith(":2")]
    assert sorted(item["spec"]["nodeName"] for item in fresh) == ["node-0", "node-1", "node-2"]


def test_missing_topology_label_is_named(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(nodes=1)
    cluster.create(pod(topologySpreadConstraints=spread(topologyKey="zone")))
    cluster.settle()
    assert "(missing required label)" in refusal(cluster)


def test_anti_affinity_keeps_pods_apart(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(nodes=2)
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": HOST}
    rule = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    cluster.create(deployment(replicas=3, template=pod_template("web", affinity=rule)))
    cluster.settle()
    placed = [item["spec"]["nodeName"] for item in cluster.list(PODS) if item["spec"].get("nodeName")]
    assert sorted(placed) == ["node-0", "node-1"]


def test_pod_of_another_scheduler_or_with_gates_is_left_alone(cluster: Cluster) -> None:
    cluster.create(pod("other", schedulerName="mine"))
    cluster.create(pod("gated", schedulingGates=[{"name": "wait"}]))
    cluster.settle()
    assert node_of(cluster, "other") is None
    assert node_of(cluster, "gated") is None


def test_explanation_is_written_once(cluster: Cluster) -> None:
    cluster.create(pod(cpu="100"))
    cluster.settle()
    before = cluster.get(PODS, "one")["metadata"]["resourceVersion"]
    cluster.patch(NODES, "node-0", {"metadata": {"labels": {"x": "y"}}}, None)
    cluster.settle()
    assert cluster.get(PODS, "one")["metadata"]["resourceVersion"] == before
