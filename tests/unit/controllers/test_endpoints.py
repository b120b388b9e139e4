"""What EndpointSlices say about pods, and how soon."""

from __future__ import annotations

from simulated import Cluster, deployment, pod_template, service

from platform_lib.model import Obj

PODS, SLICES, SERVICES = "v1/pods", "discovery.k8s.io/v1/endpointslices", "v1/services"


def conditions(cluster: Cluster) -> list[tuple[bool, bool, bool]]:
    return sorted(
        (one["conditions"]["ready"], one["conditions"]["serving"], one["conditions"]["terminating"])
        for item in cluster.list(SLICES)
        for one in item.get("endpoints") or []
    )


def only_slice(cluster: Cluster) -> Obj:
    (found,) = cluster.list(SLICES)
    return found


def test_ready_pods_become_endpoints_of_one_slice(cluster: Cluster) -> None:
    cluster.create(service())
    cluster.create(deployment(replicas=3))
    cluster.run_to_rest()
    found = only_slice(cluster)
    assert conditions(cluster) == [(True, True, False)] * 3
    assert found["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert found["addressType"] == "IPv4"
    labels = found["metadata"]["labels"]
    assert labels["kubernetes.io/service-name"] == "web"
    assert labels["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
    endpoint = found["endpoints"][0]
    assert set(endpoint) >= {"addresses", "conditions", "nodeName", "targetRef"}


def test_deleted_pod_is_fenced_off_before_it_ends(cluster: Cluster) -> None:
    cluster.create(service())
    cluster.create(deployment(replicas=2))
    cluster.run_to_rest()
    victim = cluster.list(PODS)[0]
    cluster.delete(PODS, victim["metadata"]["name"])
    cluster.settle()
    assert (False, True, True) in conditions(cluster)
    cluster.act_as_nodes()
    cluster.run_to_rest()
    assert conditions(cluster) == [(True, True, False)] * 2


def test_endpoint_changes_before_anything_else_happens(cluster: Cluster) -> None:
    cluster.create(service())
    cluster.create(deployment(replicas=2))
    cluster.run_to_rest()
    cluster.delete(PODS, cluster.list(PODS)[0]["metadata"]["name"])
    assert cluster.runner.step()
    assert (False, True, True) in conditions(cluster)


def test_unready_pod_is_listed_as_not_serving(cluster: Cluster) -> None:
    cluster.is_ready = lambda pod: False
    cluster.create(service())
    cluster.create(deployment(replicas=1))
    cluster.run_to_rest()
    assert conditions(cluster) == [(False, False, False)]


def test_unready_addresses_are_published_on_demand(cluster: Cluster) -> None:
    cluster.is_ready = lambda pod: False
    cluster.create(service(publishNotReadyAddresses=True))
    cluster.create(deployment(replicas=1))
    cluster.run_to_rest()
    assert conditions(cluster) == [(True, False, False)]


def test_numeric_target_port_and_headless_service(cluster: Cluster) -> None:
    cluster.create(service(clusterIP="None", ports=[{"port": 80, "targetPort": 9090}]))
    cluster.create(deployment(replicas=1))
    cluster.run_to_rest()
    found = only_slice(cluster)
    assert found["ports"] == [{"name": "", "port": 9090, "protocol": "TCP"}]
    assert found["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def test_service_without_pods_has_an_empty_slice(cluster: Cluster) -> None:
    cluster.create(service())
    cluster.settle()
    assert only_slice(cluster).get("endpoints") in (None, [])


def test_named_port_with_two_numbers_makes_two_slices(cluster: Cluster) -> None:
    cluster.create(service(selector={"tier": "front"}))
    for name, port in (("a", 8080), ("b", 9090)):
        template = pod_template(name)
        template["metadata"]["labels"]["tier"] = "front"
        template["spec"]["containers"][0]["ports"][0]["containerPort"] = port
        cluster.create(deployment(name, replicas=1, template=template))
    cluster.run_to_rest()
    assert sorted(item["ports"][0]["port"] for item in cluster.list(SLICES)) == [8080, 9090]
    cluster.delete("apps/v1/deployments", "b", propagationPolicy="Background")
    cluster.run_to_rest()
    assert [item["ports"][0]["port"] for item in cluster.list(SLICES)] == [8080]


def test_finished_pod_is_no_endpoint(cluster: Cluster) -> None:
    cluster.create(service())
    template = pod_template("web", restartPolicy="Never")
    meta = {**template["metadata"], "name": "once", "namespace": "default"}
    cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]})
    cluster.run_to_rest()
    assert len(conditions(cluster)) == 1
    cluster.finish_pod(cluster.get(PODS, "once"), "Succeeded")
    cluster.settle()
    assert conditions(cluster) == []


def test_service_without_selector_keeps_hands_off(cluster: Cluster) -> None:
    body = service()
    del body["spec"]["selector"]
    cluster.create(body)
    cluster.settle()
    assert cluster.list(SLICES) == []


def test_slices_go_with_their_service(cluster: Cluster) -> None:
    cluster.create(service())
    cluster.create(deployment(replicas=1))
    cluster.run_to_rest()
    cluster.delete(SERVICES, "web")
    cluster.run_to_rest()
    assert cluster.list(SLICES) == []


def test_heartbeat_of_a_pod_writes_no_slice(cluster: Cluster) -> None:
    cluster.create(service())
    cluster.create(deployment(replicas=1))
    cluster.run_to_rest()
    before = only_slice(cluster)["metadata"]["resourceVersion"]
    pod = cluster.list(PODS)[0]["metadata"]["name"]
    cluster.patch(PODS, pod, {"status": {"message": "still here"}}, sub="status")
    cluster.settle()
    assert only_slice(cluster)["metadata"]["resourceVersion"] == before
