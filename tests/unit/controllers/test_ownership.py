"""What goes when its owner or its namespace goes."""

from __future__ import annotations

from simulated import Cluster, deployment, service

from platform_lib.model import Obj

DEPLOYMENTS, SETS, PODS, CONFIGMAPS = "apps/v1/deployments", "apps/v1/replicasets", "v1/pods", "v1/configmaps"


def configmap(name: str, *owners: Obj, namespace: str = "default") -> Obj:
    references = [
        {
            "apiVersion": one["apiVersion"],
            "kind": one["kind"],
            "name": one["metadata"]["name"],
            "uid": one["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        for one in owners
    ]
    meta: Obj = {"name": name, "namespace": namespace}
    if references:
        meta["ownerReferences"] = references
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {}}


def names(cluster: Cluster, gvr: str = CONFIGMAPS, namespace: str = "default") -> set[str]:
    return {item["metadata"]["name"] for item in cluster.list(gvr, namespace)} - {"kube-root-ca.crt"}


def test_background_deletion_takes_everything_below(cluster: Cluster) -> None:
    cluster.create(deployment())
    cluster.run_to_rest()
    cluster.delete(DEPLOYMENTS, "web", propagationPolicy="Background")
    assert cluster.list(DEPLOYMENTS) == []
    cluster.run_to_rest()
    assert (cluster.list(SETS), cluster.list(PODS)) == ([], [])


def test_foreground_deletion_keeps_the_owner_until_the_last_pod_is_gone(cluster: Cluster) -> None:
    cluster.create(deployment())
    cluster.run_to_rest()
    cluster.delete(DEPLOYMENTS, "web", propagationPolicy="Foreground")
    cluster.settle()
    assert names(cluster, DEPLOYMENTS) == {"web"}
    assert len(cluster.list(SETS)) == 1
    assert all(pod["metadata"].get("deletionTimestamp") for pod in cluster.list(PODS))
    cluster.run_to_rest()
    assert (cluster.list(DEPLOYMENTS), cluster.list(SETS), cluster.list(PODS)) == ([], [], [])


def test_orphan_deletion_leaves_the_dependents_and_a_new_owner_adopts_them(cluster: Cluster) -> None:
    cluster.create(deployment())
    cluster.run_to_rest()
    pods = names(cluster, PODS)
    cluster.delete(DEPLOYMENTS, "web", propagationPolicy="Orphan")
    cluster.run_to_rest()
    assert cluster.list(DEPLOYMENTS) == []
    assert names(cluster, PODS) == pods
    assert not cluster.list(SETS)[0]["metadata"].get("ownerReferences")
    cluster.create(deployment())
    cluster.run_to_rest()
    assert names(cluster, PODS) == pods
    assert len(cluster.list(SETS)) == 1


def test_object_with_a_second_living_owner_stays(cluster: Cluster) -> None:
    one, two = cluster.create(configmap("one")), cluster.create(configmap("two"))
    cluster.create(configmap("shared", one, two))
    cluster.settle()
    cluster.delete(CONFIGMAPS, "one")
    cluster.settle()
    owners = cluster.get(CONFIGMAPS, "shared")["metadata"]["ownerReferences"]
    assert [item["name"] for item in owners] == ["two"]
    cluster.delete(CONFIGMAPS, "two")
    cluster.settle()
    assert names(cluster) == set()


def test_object_whose_owner_never_existed_is_collected(cluster: Cluster) -> None:
    ghost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ghost", "uid": "no-such-uid"}}
    cluster.create(configmap("lost", ghost))
    cluster.settle()
    assert names(cluster) == set()


def test_owner_of_the_same_name_but_another_uid_does_not_count(cluster: Cluster) -> None:
    first = cluster.create(configmap("owner"))
    cluster.create(configmap("child", first))
    cluster.delete(CONFIGMAPS, "owner")
    cluster.create(configmap("owner"))
    cluster.settle()
    assert names(cluster) == {"owner"}


def test_namespace_is_emptied_and_then_gone(cluster: Cluster) -> None:
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    cluster.settle()
    for body in (deployment(), service(), configmap("settings")):
        body["metadata"]["namespace"] = "shop"
        cluster.create(body)
    cluster.run_to_rest()
    cluster.delete("v1/namespaces", "shop", None)
    cluster.settle()
    space = cluster.api.get("v1/namespaces", "shop")
    assert space["status"]["phase"] == "Terminating"
    told = {item["type"]: item["message"] for item in space["status"]["conditions"]}
    assert told["NamespaceContentRemaining"] == "Some resources are remaining: pods. has 3 resource instances"
    assert names(cluster, CONFIGMAPS, "shop") == set()
    cluster.run_to_rest()
    assert "shop" not in names(cluster, "v1/namespaces", None)
    assert [item for gvr in cluster.store.resources() for item in cluster.store.list(gvr, "shop")] == []


def test_finalizer_in_a_namespace_holds_it_and_is_named(cluster: Cluster) -> None:
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    body = configmap("held", namespace="shop")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    cluster.create(body)
    cluster.settle()
    cluster.delete("v1/namespaces", "shop", None)
    cluster.settle()
    space = cluster.api.get("v1/namespaces", "shop")
    told = {item["type"]: item["message"] for item in space["status"]["conditions"]}
    assert told["NamespaceFinalizersRemaining"].endswith("example.com/hold in 1 resource instances")
    cluster.patch(CONFIGMAPS, "held", {"metadata": {"finalizers": None}}, "shop")
    cluster.settle()
    assert "shop" not in names(cluster, "v1/namespaces", None)


def test_every_namespace_gets_its_account_and_certificate(cluster: Cluster) -> None:
    cluster.settle()
    assert names(cluster, "v1/serviceaccounts") == {"default"}
    assert "BEGIN CERTIFICATE" in cluster.get(CONFIGMAPS, "kube-root-ca.crt")["data"]["ca.crt"]
    cluster.delete("v1/serviceaccounts", "default")
    cluster.patch(CONFIGMAPS, "kube-root-ca.crt", {"data": {"ca.crt": "spoiled"}})
    cluster.settle()
    assert names(cluster, "v1/serviceaccounts") == {"default"}
    assert "BEGIN CERTIFICATE" in cluster.get(CONFIGMAPS, "kube-root-ca.crt")["data"]["ca.crt"]
