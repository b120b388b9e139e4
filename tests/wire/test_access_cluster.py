"""A whole cluster on record (k3s with Argo CD and the Prometheus operator): what doctor and up make of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded_api import RecordedApi, kubeconfig, playing, recording

from platform_lib import cluster, doctor
from platform_lib.errors import ApiError, Unreachable
from platform_lib.wire import prometheus

CONTROLLER = "GET /apis/apps/v1/statefulsets"
REVIEW = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
QUERY = "GET /api/v1/namespaces/monitoring/services/prometheus-operated:9090/proxy/api/v1/query"
FORBIDDEN = {
    "status": 403,
    "body": {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": 'x is forbidden: User "jane" cannot list resource "deployments" in API group "apps" at the cluster '
        "scope",
        "reason": "Forbidden",
        "details": {},
        "code": 403,
    },
}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedApi]:
    with playing(copy.deepcopy(recording("cluster-k3s"))) as found:
        monkeypatch.setenv("APQX_KUBECONFIG", str(kubeconfig(tmp_path, found.url, ca_data=found.ca_data)))
        monkeypatch.setenv("APQX_HOME", str(tmp_path / "home"))
        yield found
        assert found.changes() == []


def states(seen: doctor.Diagnosis) -> dict[str, str]:
    return {one.name: one.state for one in seen.findings}


def found(seen: doctor.Diagnosis, name: str) -> doctor.Finding:
    return next(one for one in seen.findings if one.name == name)


def test_a_whole_cluster_is_ok_and_named_with_versions(api: RecordedApi) -> None:
    seen = doctor.diagnose()
    assert seen.ok and seen.context == "prod" and seen.denied == ()
    assert found(seen, "Kubernetes API").found.startswith("v1.35.5+k3s1")
    assert found(seen, "Argo CD").found == "v3.5.1, full, namespace argocd"
    assert "Traefik 3.6.7" in found(seen, "ingress").found
    assert found(seen, "metrics-server").found == "v0.8.1" and found(seen, "cert-manager").found == "v1.19.2"
    assert found(seen, "Prometheus").found == "answers at kube://monitoring/prometheus-operated:9090"
    assert states(seen)["Prometheus Operator"] == "ok" and states(seen)["Argo Rollouts"] == "optional"
    assert found(seen, "Kyverno").cost == "policies are checked offline only, not at admission"


def test_endpoints_are_taken_from_what_the_cluster_says_of_itself(api: RecordedApi) -> None:
    done = cluster.up(provider="existing")
    platform = cluster.connect()
    assert done.figures["endpoints_missing"] == 0
    assert platform.gitops_repo == platform.gitops_url == "https://github.com/example/platform.git"
    assert (platform.gitops_branch, platform.argocd_namespace) == ("main", "argocd")
    assert platform.ingress_url == "http://203.0.113.7" and platform.argocd_url == "https://argocd.example.com"
    with prometheus.connect(platform) as client:
        assert client.instant("vector(1)")[0]["value"][1] == "1"


def test_a_setting_wins_over_what_is_found(api: RecordedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APQX_INGRESS_URL", "https://edge.example.com/")
    monkeypatch.setenv("APQX_GITOPS_BRANCH", "live")
    cluster.up(provider="existing")
    platform = cluster.connect()
    assert (platform.ingress_url, platform.gitops_branch) == ("https://edge.example.com", "live")


def test_argo_cd_without_its_server_is_core_and_a_controller_that_is_not_ready_degrades(api: RecordedApi) -> None:
    items = api.answers["GET /apis/apps/v1/deployments"][0]["body"]["items"]
    items[:] = [one for one in items if one["metadata"]["name"] != "argocd-server"]
    assert "core (no argocd-server)" in found(doctor.diagnose(), "Argo CD").found
    api.answers[CONTROLLER]["body"]["items"][0]["status"].pop("readyReplicas")
    degraded = found(doctor.diagnose(), "Argo CD")
    assert degraded.state == "degraded" and "not ready: argocd-application-controller" in degraded.found


def test_no_argo_cd_is_missing_and_says_how_it_is_had(api: RecordedApi) -> None:
    del api.answers["GET /apis/argoproj.io/v1alpha1"]
    seen = doctor.diagnose()
    assert (
        not seen.ok and found(seen, "Argo CD").state == "missing" and "--install argocd" in found(seen, "Argo CD").hint
    )


def test_metrics_server_that_is_registered_and_does_not_answer_degrades(api: RecordedApi) -> None:
    api.answers["GET /apis/metrics.k8s.io/v1beta1"] = {"status": 503, "body": "service unavailable\n"}
    one = found(doctor.diagnose(), "metrics-server")
    assert one.state == "degraded" and "503" in one.found and "cpu_of_requests stays empty" in one.cost


def test_without_metrics_server_the_cost_is_said(api: RecordedApi) -> None:
    groups = api.answers["GET /apis"]["body"]["groups"]
    groups[:] = [one for one in groups if one["name"] != "metrics.k8s.io"]
    one = found(doctor.diagnose(), "metrics-server")
    assert (one.state, one.cost) == ("degraded", "HPA does not scale, and cpu_of_requests stays empty")


def test_a_look_that_is_forbidden_is_unknown_and_the_rest_is_still_looked_at(api: RecordedApi) -> None:
    api.answers["GET /apis/apps/v1/deployments"] = FORBIDDEN
    seen = doctor.diagnose()
    assert "forbidden" in found(seen, "Argo CD").found and states(seen)["Argo CD"] == "degraded"
    assert states(seen)["Prometheus"] == "ok"


def test_each_function_says_which_permission_it_lacks(api: RecordedApi) -> None:
    def review(body: dict[str, Any]) -> dict[str, Any]:
        asked = body["spec"]["resourceAttributes"]
        denied = asked["verb"] in ("patch", "delete") and asked["resource"] in ("applications", "pods", "nodes")
        return body | {"status": {"allowed": not denied}}

    api.answers[REVIEW] = {"status": 201, "body": review}
    seen = doctor.diagnose()
    assert found(seen, "may: sync").found == "without patch applications.argoproj.io (namespace argocd)"
    assert states(seen)["may: sync"] == "missing" and not seen.ok
    assert states(seen)["may: drill pod-loss"] == "degraded" and states(seen)["may: drill drift"] == "ok"
    assert "delete pods (namespace sample-app)" in seen.denied and "patch nodes (cluster)" in seen.denied


def test_prometheus_is_asked_the_other_way_when_the_proxy_is_forbidden(api: RecordedApi) -> None:
    refused = copy.deepcopy(FORBIDDEN)
    refused["body"]["message"] = (
        'services "prometheus-operated:9090" is forbidden: User "jane" cannot get resource "services/proxy" in API '
        'group "" in the namespace "monitoring"'
    )
    api.answers[QUERY] = refused
    lines: list[str] = []
    cluster.up(provider="existing", progress=lines.append)
    note = next(line for line in lines if line.startswith("Prometheus: "))
    assert 'resources ["services/proxy"]' in note and "https://prometheus.example.com" in note
    platform = cluster.connect()
    assert platform.prometheus_url == ""
    with pytest.raises(Unreachable, match=r"no Prometheus endpoint.*APQX_PROMETHEUS_URL"):
        prometheus.connect(platform)


def test_a_refusal_of_prometheus_itself_comes_through_the_proxy_with_its_words(api: RecordedApi) -> None:
    cluster.up(provider="existing")
    document = {"status": "error", "errorType": "bad_data", "error": 'parse error: unexpected ")"'}
    api.answers[QUERY] = {"status": 400, "body": document}
    with prometheus.connect(cluster.connect()) as client, pytest.raises(prometheus.QueryError, match="parse error"):
        client.instant("up)")
    api.answers[QUERY] = {
        "status": 503,
        "body": {
            "kind": "Status",
            "status": "Failure",
            "message": "no endpoints available",
            "reason": "x",
            "code": 503,
        },
    }
    with prometheus.connect(cluster.connect()) as client, pytest.raises(ApiError, match="no endpoints available"):
        client.instant("up")
