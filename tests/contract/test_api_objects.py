"""Objects over the wire: what a write changes, what it leaves alone, and when an object is gone."""

from __future__ import annotations

from typing import Any

import pytest
from apiprocess import ApiServer

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


def deployment(name: str = "web", replicas: int = 0) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "example/app"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def pod(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **metadata},
        "spec": {"containers": [{"name": "c", "image": "example/app"}], "schedulerName": "nobody"},
    }


class Client:
    """Short spellings for one namespace."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self.server, self.namespace = server, namespace

    def url(self, what: str) -> str:
        plural = what.split("/")[0].split("?")[0]
        root = {"deployments": "/apis/apps/v1", "poddisruptionbudgets": "/apis/policy/v1"}.get(plural, "/api/v1")
        return f"{root}/namespaces/{self.namespace}/{what}"

    def __call__(self, method: str, what: str, body: Any = None, **options: Any) -> Any:
        answer = self.server.call(method, self.url(what), body, **options)
        assert answer.status < 300, answer.body
        return answer.json

    def refused(self, method: str, what: str, body: Any = None, **options: Any) -> Any:
        answer = self.server.call(method, self.url(what), body, **options)
        assert answer.status >= 400, answer.body
        return answer.json


@pytest.fixture
def client(api_server: ApiServer, namespace: str) -> Client:
    return Client(api_server, namespace)


def test_generate_name_makes_distinct_names(client: Client) -> None:
    body = {"metadata": {"generateName": "job-"}}
    names = {client("POST", "configmaps", body)["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


def test_generation_counts_changes_of_the_specification_only(client: Client) -> None:
    made = client("POST", "deployments", deployment())
    assert made["metadata"]["generation"] == 1
    client("PATCH", "deployments/web", {"metadata": {"labels": {"x": "y"}}}, content_type=MERGE)
    client("PATCH", "deployments/web/status", {"status": {"collisionCount": 3}}, content_type=MERGE)
    found = client("PATCH", "deployments/web", {"spec": {"minReadySeconds": 1}}, content_type=MERGE)
    assert found["metadata"]["generation"] == 2


def test_status_and_specification_are_written_apart(client: Client) -> None:
    client("POST", "configmaps", {"metadata": {"name": "x"}})
    client("POST", "pods", pod("p"))
    found = client("PATCH", "pods/p", {"status": {"phase": "Running"}}, content_type=MERGE)
    assert found["status"]["phase"] == "Pending"
    found = client(
        "PATCH",
        "pods/p/status",
        {"status": {"phase": "Running"}, "metadata": {"labels": {"a": "b"}}, "spec": {"hostname": "x"}},
        content_type=MERGE,
    )
    assert found["status"]["phase"] == "Running"
    assert "hostname" not in found["spec"]


def test_a_write_that_changes_nothing_keeps_the_version(client: Client) -> None:
    made = client("POST", "configmaps", {"metadata": {"name": "x"}, "data": {"a": "b"}})
    same = client("PATCH", "configmaps/x", {"data": {"a": "b"}}, content_type=MERGE)
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_the_four_patch_types_do_what_they_say(client: Client) -> None:
    client("POST", "deployments", deployment())
    containers = [{"name": "side", "image": "example/side"}]
    body = {"spec": {"template": {"spec": {"containers": containers}}}}
    found = client("PATCH", "deployments/web", body, content_type=STRATEGIC)
    names = {item["name"] for item in found["spec"]["template"]["spec"]["containers"]}
    assert names == {"c", "side"}
    found = client("PATCH", "deployments/web", body, content_type=MERGE)
    assert [item["name"] for item in found["spec"]["template"]["spec"]["containers"]] == ["side"]
    operations = [{"op": "replace", "path": "/spec/minReadySeconds", "value": 7}]
    refused = client.refused("PATCH", "deployments/web", operations, content_type=JSON_PATCH)
    assert refused["code"] == 422
    operations[0]["op"] = "add"
    assert client("PATCH", "deployments/web", operations, content_type=JSON_PATCH)["spec"]["minReadySeconds"] == 7


def test_apply_creates_owns_conflicts_and_gives_up_fields(client: Client) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1", "b": "1"}}
    made = client("PATCH", "configmaps/x?fieldManager=one", body, content_type=APPLY)
    assert made["metadata"]["managedFields"][0]["manager"] == "one"
    again = client("PATCH", "configmaps/x?fieldManager=one", body, content_type=APPLY)
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    other = {**body, "data": {"a": "2"}}
    refused = client.refused("PATCH", "configmaps/x?fieldManager=two", other, content_type=APPLY)
    assert (refused["code"], refused["reason"]) == (409, "Conflict")
    assert refused["details"]["causes"][0]["field"] == ".data.a"
    client("PATCH", "configmaps/x?fieldManager=two&force=true", other, content_type=APPLY)
    found = client("PATCH", "configmaps/x?fieldManager=one", {**body, "data": {}}, content_type=APPLY)
    assert found["data"] == {"a": "2"}


def test_a_manager_that_applies_again_never_meets_itself(client: Client) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}
    for value in ("1", "2", "3"):
        body["data"] = {"a": value}
        found = client("PATCH", "configmaps/x?fieldManager=one", body, content_type=APPLY)
    assert [item["operation"] for item in found["metadata"]["managedFields"]] == ["Apply"]


def test_apply_reads_yaml_and_needs_a_manager(client: Client) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {a: 'b'}\n"
    assert client("PATCH", "configmaps/y?fieldManager=m", text, content_type=APPLY)["data"] == {"a": "b"}
    assert client.refused("PATCH", "configmaps/y", text, content_type=APPLY)["code"] == 422


def test_a_later_writer_becomes_owner_of_what_it_changed(client: Client) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}
    client("PATCH", "configmaps/x?fieldManager=one", body, content_type=APPLY)
    found = client("PATCH", "configmaps/x?fieldManager=hand", {"data": {"a": "2"}}, content_type=MERGE)
    managers = {item["manager"]: item for item in found["metadata"]["managedFields"]}
    assert "f:a" in managers["hand"]["fieldsV1"]["f:data"]


def test_finalizers_hold_an_object_until_the_last_is_gone(client: Client) -> None:
    client("POST", "configmaps", {"metadata": {"name": "x", "finalizers": ["example.com/hold"]}})
    marked = client("DELETE", "configmaps/x")
    assert marked["metadata"]["deletionTimestamp"]
    refused = client.refused("PATCH", "configmaps/x", {"metadata": {"finalizers": ["a.b/c"]}}, content_type=MERGE)
    assert refused["code"] == 422
    client("PATCH", "configmaps/x", {"metadata": {"finalizers": None}}, content_type=MERGE)
    assert client.refused("GET", "configmaps/x")["code"] == 404


def test_a_running_pod_gets_its_grace_period(client: Client) -> None:
    client("POST", "pods", pod("p"))
    client("POST", "pods/p/binding", {"target": {"name": "nowhere"}})
    first = client("DELETE", "pods/p")
    assert first["metadata"]["deletionGracePeriodSeconds"] == 30
    shorter = client("DELETE", "pods/p", {"gracePeriodSeconds": 5})
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    assert client("DELETE", "pods/p?gracePeriodSeconds=20")["metadata"]["deletionGracePeriodSeconds"] == 5
    client("DELETE", "pods/p?gracePeriodSeconds=0")
    assert client.refused("GET", "pods/p")["code"] == 404


def test_a_pod_on_no_node_is_gone_at_once(client: Client) -> None:
    client("POST", "pods", pod("p"))
    client("DELETE", "pods/p")
    assert client.refused("GET", "pods/p")["code"] == 404


def test_preconditions_of_a_delete_must_hold(client: Client) -> None:
    client("POST", "configmaps", {"metadata": {"name": "x"}})
    refused = client.refused("DELETE", "configmaps/x", {"preconditions": {"uid": "other"}})
    assert (refused["code"], refused["reason"]) == (409, "Conflict")


def test_deletecollection_takes_what_the_selector_chooses(client: Client) -> None:
    for name, tier in (("a", "x"), ("b", "x"), ("c", "y")):
        client("POST", "configmaps", {"metadata": {"name": name, "labels": {"tier": tier}}})
    gone = client("DELETE", "configmaps?labelSelector=tier%3Dx")
    assert {item["metadata"]["name"] for item in gone["items"]} == {"a", "b"}
    assert client("GET", "configmaps/c")["metadata"]["name"] == "c"


def test_a_pod_is_bound_once(client: Client) -> None:
    client("POST", "pods", pod("p"))
    assert client("POST", "pods/p/binding", {"target": {"name": "n1"}})["status"] == "Success"
    refused = client.refused("POST", "pods/p/binding", {"target": {"name": "n2"}})
    assert refused["code"] == 409
    found = client("GET", "pods/p")
    assert found["spec"]["nodeName"] == "n1"
    assert found["status"]["conditions"][0]["type"] == "PodScheduled"


def test_scale_reads_and_writes_the_replicas(client: Client) -> None:
    client("POST", "deployments", deployment())
    scale = client("GET", "deployments/web/scale")
    assert (scale["kind"], scale["spec"]["replicas"], scale["status"]["selector"]) == ("Scale", 0, "app=web")
    for content_type in (MERGE, STRATEGIC):
        body = {"spec": {"replicas": 2 if content_type == MERGE else 0}}
        client("PATCH", "deployments/web/scale", body, content_type=content_type)
    scale["spec"]["replicas"] = 1
    assert client.refused("PUT", "deployments/web/scale", scale)["code"] == 409
    del scale["metadata"]["resourceVersion"]
    assert client("PUT", "deployments/web/scale", scale, content_type=None)["spec"]["replicas"] == 1
    assert (
        client.refused("PATCH", "deployments/web/scale", {"spec": {"replicas": -1}}, content_type=MERGE)["code"] == 422
    )
    assert client("GET", "deployments/web")["spec"]["replicas"] == 1


def test_an_eviction_spends_the_budget_and_is_then_refused(client: Client) -> None:
    for name in ("p1", "p2"):
        client("POST", "pods", pod(name, labels={"app": "x"}))
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        client("PATCH", f"pods/{name}/status", {"status": ready}, content_type=MERGE)
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    }
    client("POST", "poddisruptionbudgets", budget)
    for _ in range(100):
        if client("GET", "poddisruptionbudgets/b").get("status", {}).get("disruptionsAllowed") == 1:
            break
    assert client("POST", "pods/p1/eviction", {"metadata": {"name": "p1"}})["status"] == "Success"
    refused = client.refused("POST", "pods/p2/eviction", {"metadata": {"name": "p2"}})
    assert (refused["code"], refused["reason"]) == (429, "TooManyRequests")
    assert refused["details"]["causes"][0]["reason"] == "DisruptionBudget"


def test_pages_add_up_to_the_whole_and_share_one_version(client: Client) -> None:
    for number in range(7):
        client("POST", "configmaps", {"metadata": {"name": f"m{number}", "labels": {"page": "yes"}}})
    query, names, versions = "configmaps?labelSelector=page&limit=3", [], set()
    token = ""
    for expected in (3, 3, 1):
        page = client("GET", query + token)
        assert len(page["items"]) == expected
        names += [item["metadata"]["name"] for item in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        token = f"&continue={page['metadata'].get('continue', '')}"
    assert names == [f"m{number}" for number in range(7)]
    assert len(versions) == 1
    assert "continue" not in page["metadata"]
    assert client.refused("GET", "configmaps?limit=3&continue=nonsense")["code"] == 400


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("labelSelector=tier%20in%20(a,b)", {"p1", "p2"}),
        ("labelSelector=!tier", {"p3"}),
        ("fieldSelector=metadata.name%3Dp2", {"p2"}),
        ("fieldSelector=spec.nodeName%3Dn1", {"p1"}),
        ("fieldSelector=status.phase!%3DPending", set()),
        ("fieldSelector=spec.nodeName%3D&labelSelector=tier", {"p2"}),
    ],
)
def test_selectors_choose(client: Client, query: str, wanted: set[str]) -> None:
    client("POST", "pods", pod("p1", labels={"tier": "a"}))
    client("POST", "pods", pod("p2", labels={"tier": "b"}))
    client("POST", "pods", pod("p3"))
    client("POST", "pods/p1/binding", {"target": {"name": "n1"}})
    found = client("GET", f"pods?{query}")
    assert {item["metadata"]["name"] for item in found["items"]} == wanted


def test_tables_and_bare_metadata_on_demand(client: Client) -> None:
    client("POST", "deployments", deployment())
    table = client("GET", "deployments", accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    assert table["kind"] == "Table"
    assert table["columnDefinitions"][0]["name"] == "Name"
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    assert set(client("GET", "deployments", accept=accept)["items"][0]) == {"kind", "apiVersion", "metadata"}
    plain = client("GET", "deployments", accept="application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json")
    assert plain["kind"] == "DeploymentList"


def test_a_namespace_goes_with_everything_in_it(api_server: ApiServer) -> None:
    client = Client(api_server, "going")
    api_server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "going"}})
    client("POST", "configmaps", {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})
    answer = api_server.call("DELETE", "/api/v1/namespaces/going").json
    assert answer["status"]["phase"] == "Terminating"
    refused = client.refused("POST", "configmaps", {"metadata": {"name": "late"}})
    assert (refused["code"], refused["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    client("PATCH", "configmaps/held", {"metadata": {"finalizers": []}}, content_type=MERGE)
    watch = api_server.call("GET", "/api/v1/namespaces?watch=1&fieldSelector=metadata.name%3Dgoing&timeoutSeconds=1")
    assert watch.status == 200
    assert api_server.call("GET", "/api/v1/namespaces/going").status == 404


def test_a_definition_is_served_at_once_and_takes_its_objects_along(api_server: ApiServer, namespace: str) -> None:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}}},
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gd"]}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.com"},
        "spec": spec,
    }
    made = api_server.call("POST", root, body)
    assert made.status == 201, made.body
    assert {item["type"] for item in made.json["status"]["conditions"]} == {"Established", "NamesAccepted"}
    path = f"/apis/example.com/v1/namespaces/{namespace}/gadgets"
    gadget = {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"color": "red"}}
    found = api_server.call("POST", path, gadget).json
    assert found["spec"] == {"size": 3}
    assert api_server.call("POST", path, {**gadget, "spec": {"size": "big"}}).status in (400, 422)
    refused = api_server.call("PATCH", f"{path}/g", {}, content_type=STRATEGIC)
    assert refused.status == 415
    listed = api_server.call("GET", "/apis/example.com/v1").json
    assert {item["name"] for item in listed["resources"]} == {"gadgets", "gadgets/status"}
    assert api_server.call("DELETE", f"{root}/gadgets.example.com").status == 200
    assert api_server.call("GET", path).status == 404
    assert api_server.call("POST", root, body).status == 201
    assert api_server.call("GET", path).json["items"] == []
    api_server.call("DELETE", f"{root}/gadgets.example.com")


def test_a_definition_waits_for_objects_with_finalizers(api_server: ApiServer, namespace: str) -> None:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    spec = {
        "group": "example.org",
        "names": {"plural": "locks", "kind": "Lock"},
        "scope": "Namespaced",
        "versions": [version],
    }
    root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    api_server.call("POST", root, {"metadata": {"name": "locks.example.org"}, "spec": spec})
    path = f"/apis/example.org/v1/namespaces/{namespace}/locks"
    api_server.call("POST", path, {"metadata": {"name": "held", "finalizers": ["example.org/hold"]}})
    api_server.call("POST", path, {"metadata": {"name": "free"}})
    api_server.call("DELETE", f"{root}/locks.example.org")
    assert [item["metadata"]["name"] for item in api_server.call("GET", path).json["items"]] == ["held"]
    assert api_server.call("GET", f"{root}/locks.example.org").json["metadata"]["deletionTimestamp"]
    api_server.call("PATCH", f"{path}/held", {"metadata": {"finalizers": None}}, content_type=MERGE)
    assert api_server.call("GET", path).status == 404
    assert api_server.call("GET", f"{root}/locks.example.org").status == 404


def test_restricted_namespaces_refuse_pods_and_warn_about_templates(api_server: ApiServer) -> None:
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    api_server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "strict", "labels": labels}})
    refused = api_server.call("POST", "/api/v1/namespaces/strict/pods", pod("p"))
    assert refused.status == 403
    assert refused.json["message"].startswith(
        'pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false '
        '(container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities'
    )
    warned = api_server.call("POST", "/apis/apps/v1/namespaces/strict/deployments", deployment())
    assert warned.status == 201
    assert 'would violate PodSecurity \\"restricted:latest\\"' in warned.headers["Warning"]
    good = pod("good")
    good["spec"]["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    good["spec"]["containers"][0]["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert api_server.call("POST", "/api/v1/namespaces/strict/pods", good).status == 201
    api_server.call("DELETE", "/api/v1/namespaces/strict")


def test_what_every_cluster_has_from_the_start(api_server: ApiServer) -> None:
    names = {item["metadata"]["name"] for item in api_server.call("GET", "/api/v1/namespaces").json["items"]}
    assert {"default", "kube-system", "kube-public", "kube-node-lease", "argocd"} <= names
    for path in (
        "/api/v1/namespaces/default/services/kubernetes",
        "/apis/networking.k8s.io/v1/ingressclasses/traefik",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/view",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/applications.argoproj.io",
        "/apis/argoproj.io/v1alpha1/namespaces/argocd/appprojects/default",
    ):
        assert api_server.call("GET", path).status == 200, path


def test_aggregated_discovery_and_schemas_are_served(api_server: ApiServer) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    answer = api_server.call("GET", "/apis", accept=accept)
    assert answer.headers["Content-Type"] == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert answer.json["kind"] == "APIGroupDiscoveryList"
    assert api_server.call("GET", "/apis").json["kind"] == "APIGroupList"
    index = api_server.call("GET", "/openapi/v3").json
    document = api_server.call("GET", index["paths"]["apis/apps/v1"]["serverRelativeURL"])
    assert document.headers["Cache-Control"] == "public, immutable"
    assert "Deployment" in str(document.json["components"]["schemas"].keys())
    assert api_server.call("GET", "/openapi/v2").status == 404
