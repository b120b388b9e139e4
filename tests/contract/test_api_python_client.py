"""The official Python client, unchanged, against the API process: what a runbook author would write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from apiprocess import ApiServer

kubernetes = pytest.importorskip("kubernetes")


@pytest.fixture(scope="module")
def api_client(api_server: ApiServer) -> Iterator[Any]:
    from kubernetes import client, config

    settings = client.Configuration()
    config.load_kube_config(str(api_server.config.cluster_dir / "kubeconfig"), client_configuration=settings)
    with client.ApiClient(settings) as found:
        yield found


def deployment(name: str = "web") -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "example/app"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def test_typed_create_list_patch_scale_and_delete(api_client: Any, namespace: str) -> None:
    from kubernetes import client

    apps = client.AppsV1Api(api_client)
    made = apps.create_namespaced_deployment(namespace, deployment())
    assert made.spec.strategy.rolling_update.max_surge == "25%"
    assert made.status.ready_replicas is None
    apps.patch_namespaced_deployment("web", namespace, {"spec": {"paused": True}})
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 3}})
    found = apps.read_namespaced_deployment("web", namespace)
    assert (found.spec.paused, found.spec.replicas) == (True, 3)
    operations = [{"op": "remove", "path": "/spec/paused"}]
    apps.patch_namespaced_deployment("web", namespace, operations)
    assert apps.read_namespaced_deployment("web", namespace).spec.paused is None
    listed = apps.list_namespaced_deployment(namespace, label_selector="", limit=1)
    assert [item.metadata.name for item in listed.items] == ["web"]
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")


def test_errors_arrive_as_the_client_expects(api_client: Any, namespace: str) -> None:
    from kubernetes import client

    core = client.CoreV1Api(api_client)
    with pytest.raises(client.ApiException) as caught:
        core.read_namespaced_config_map("nope", namespace)
    assert caught.value.status == 404
    assert '"reason":"NotFound"' in caught.value.body


def test_a_watch_streams_and_an_old_version_raises_410(api_client: Any, namespace: str) -> None:
    from kubernetes import client, watch

    core = client.CoreV1Api(api_client)
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "a", "labels": {"w": "1"}}})
    stream = watch.Watch()
    for event in stream.stream(core.list_namespaced_config_map, namespace, label_selector="w", timeout_seconds=5):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "a")
        stream.stop()
    with pytest.raises(client.ApiException) as caught:
        list(watch.Watch().stream(core.list_namespaced_config_map, namespace, resource_version="3"))
    assert caught.value.status == 410


def test_create_from_dict_and_server_side_apply(api_client: Any, namespace: str) -> None:
    from kubernetes import utils

    utils.create_from_dict(api_client, deployment(), namespace=namespace)
    with pytest.raises(utils.FailToCreateError):
        utils.create_from_dict(api_client, deployment(), namespace=namespace)
    utils.create_from_dict(api_client, deployment(), namespace=namespace, apply=True)


def test_the_dynamic_client_discovers_applies_and_watches_custom_objects(api_client: Any, tmp_path: Any) -> None:
    from kubernetes.dynamic import DynamicClient

    dynamic = DynamicClient(api_client, cache_file=str(tmp_path / "discovery.json"))
    applications = dynamic.resources.get(api_version="argoproj.io/v1alpha1", kind="Application")
    body = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "demo"},
        "spec": {
            "project": "default",
            "source": {"repoURL": "http://git.example/x.git", "path": "."},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "default"},
        },
    }
    made = applications.server_side_apply(body, name="demo", namespace="argocd", field_manager="test")
    assert made.spec.project == "default"
    version = made.metadata.resourceVersion
    patch = {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}}
    applications.patch(body=patch, name="demo", namespace="argocd", content_type="application/merge-patch+json")
    for event in applications.watch(namespace="argocd", resource_version=version, timeout=5):
        assert event["type"] == "MODIFIED"
        break
    applications.delete(name="demo", namespace="argocd")


def test_token_review_and_access_review(api_client: Any, namespace: str) -> None:
    from kubernetes import client

    core = client.CoreV1Api(api_client)
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "bot"}})
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[]))
    token = core.create_namespaced_service_account_token("bot", namespace, request).status.token
    review = client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token))
    answer = client.AuthenticationV1Api(api_client).create_token_review(review)
    assert answer.status.user.username == f"system:serviceaccount:{namespace}:bot"


def test_versions_and_apis(api_client: Any) -> None:
    from kubernetes import client

    assert client.VersionApi(api_client).get_code().minor.isdigit()
    groups = {group.name for group in client.ApisApi(api_client).get_api_versions().groups}
    assert {"apps", "argoproj.io", "networking.k8s.io"} <= groups
