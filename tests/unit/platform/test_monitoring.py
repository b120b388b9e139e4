"""Prometheus's configuration, its targets, and the metrics about the cluster's objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from platform_lib.embedded import kubestate, promconfig, targets
from platform_lib.embedded.config import Config
from platform_lib.embedded.scrape import write_files
from platform_lib.errors import ManifestError

PROJECT = Path(__file__).parents[3]
POD: dict[str, Any] = {
    "metadata": {
        "name": "web-1",
        "namespace": "shop",
        "uid": "u1",
        "labels": {"app.kubernetes.io/name": "web"},
        "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web"}],
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
    "spec": {
        "nodeName": "apqx-agent-0",
        "containers": [
            {
                "name": "main",
                "image": "x@sha256:0",
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}},
            }
        ],
    },
    "status": {
        "phase": "Running",
        "podIP": "127.43.1.10",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {"name": "main", "restartCount": 3, "ready": True, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
        ],
    },
}


def _from_git() -> dict[str, str]:
    path = PROJECT / "gitops/platform/monitoring/prometheus-config.yaml"
    data: dict[str, str] = yaml.safe_load(path.read_text())["data"]
    return data


def _jobs(config: Config, text: str | None) -> dict[str, dict[str, Any]]:
    document = yaml.safe_load(promconfig.render(text, config, token_file=Path("/token")))
    return {job["job_name"]: job for job in document["scrape_configs"]}


def test_the_configuration_in_git_keeps_its_relabelling_and_gets_http_discovery(config: Config) -> None:
    original = {j["job_name"]: j for j in yaml.safe_load(_from_git()["prometheus.yml"])["scrape_configs"]}
    jobs = _jobs(config, _from_git()["prometheus.yml"])
    assert jobs["kubernetes-pods"]["relabel_configs"] == original["kubernetes-pods"]["relabel_configs"]
    assert [d["url"] for d in jobs["kubernetes-pods"]["http_sd_configs"]] == ["http://127.0.0.1:19101/sd/pods"]
    assert not any("kubernetes_sd_configs" in job for job in jobs.values())
    kubelet = jobs["kubelet"]
    assert (kubelet["scheme"], kubelet["authorization"]) == ("http", {"credentials_file": "/token"})
    assert jobs["traefik"]["static_configs"][0]["targets"] == ["127.0.0.1:19100"]
    assert jobs["kube-state-metrics"]["static_configs"][0]["targets"] == ["127.0.0.1:19101"]


def test_namespaces_and_selectors_of_a_discovery_become_its_query(config: Config) -> None:
    text = """
    scrape_configs:
      - job_name: j
        kubernetes_sd_configs:
          - {role: pod, namespaces: {names: [a, b]}, selectors: [{role: pod, label: "app=x"}]}
    """
    (discovery,) = _jobs(config, text)["j"]["http_sd_configs"]
    assert discovery["url"] == "http://127.0.0.1:19101/sd/pods?namespace=a&namespace=b&label=app%3Dx"


def test_without_a_configuration_the_platform_itself_is_scraped(config: Config) -> None:
    assert list(_jobs(config, None)) == ["traefik", "kube-state-metrics", "kubelet"]


@pytest.mark.parametrize("text", ["{", "- a", "scrape_configs: 7", "scrape_configs: [7]"])
def test_an_unusable_configuration_is_refused(config: Config, text: str) -> None:
    with pytest.raises(ManifestError, match=r"prometheus\.yml"):
        promconfig.render(text, config, token_file=Path("/token"))


def test_an_unserved_discovery_role_is_refused_by_name(config: Config) -> None:
    text = "scrape_configs: [{job_name: j, kubernetes_sd_configs: [{role: ingress}]}]"
    with pytest.raises(ManifestError, match="job j - discovery role 'ingress'"):
        promconfig.render(text, config, token_file=Path("/token"))


def test_files_are_written_only_when_they_changed_and_old_rules_go(config: Config) -> None:
    assert write_files(config, None, {"a.rules.yml": "groups: []"})
    assert not write_files(config, None, {"a.rules.yml": "groups: []"})
    assert write_files(config, None, {"b.rules.yml": "groups: []"})
    assert [path.name for path in promconfig.rules_folder(config).iterdir()] == ["b.rules.yml"]


def test_a_refused_configuration_leaves_the_files_as_they_are(config: Config) -> None:
    write_files(config, None, {})
    before = promconfig.config_file(config).read_text()
    with pytest.raises(ManifestError):
        write_files(config, "scrape_configs: 7", {})
    assert promconfig.config_file(config).read_text() == before


def test_a_pod_target_has_the_labels_of_kubernetes_discovery() -> None:
    (group,) = targets.pod_targets([POD])
    labels = group["labels"]
    assert group["targets"] == ["127.43.1.10:8080"]
    assert labels["__meta_kubernetes_pod_annotation_prometheus_io_scrape"] == "true"
    assert labels["__meta_kubernetes_pod_label_app_kubernetes_io_name"] == "web"
    assert labels["__meta_kubernetes_pod_ready"] == "true"
    assert labels["__meta_kubernetes_pod_container_port_name"] == "http"


def test_a_pod_without_an_address_is_no_target() -> None:
    assert targets.pod_targets([POD | {"status": {"phase": "Pending"}}]) == []


def test_a_node_target_is_its_kubelet() -> None:
    node = {
        "metadata": {"name": "n1"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.43.1.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        },
    }
    assert targets.node_targets([node])[0]["targets"] == ["127.43.1.1:10250"]


def test_metrics_carry_the_names_and_labels_of_kube_state_metrics() -> None:
    text = kubestate.render({"v1/pods": [POD]})
    assert 'kube_pod_status_phase{namespace="shop",pod="web-1",phase="Running"} 1' in text
    assert 'kube_pod_status_ready{namespace="shop",pod="web-1",condition="true"} 1' in text
    assert 'container="main",uid="u1"} 3' in text
    assert 'uid="u1",reason="CrashLoopBackOff"} 1' in text
    assert 'resource="cpu",unit="core"} 0.25' in text
    assert 'resource="memory",unit="byte"} 6.71089e+07' not in text  # bytes are exact


def test_large_numbers_keep_their_digits() -> None:
    text = kubestate.render({"v1/pods": [POD]})
    assert 'resource="memory",unit="byte"} 67108864' in text
    assert 'kube_pod_created{namespace="shop",pod="web-1"} 1767225600' in text


def test_label_values_are_escaped() -> None:
    pod = {"metadata": {"name": "x", "namespace": 'a"b\\c\nd'}, "spec": {}, "status": {}}
    assert r'namespace="a\"b\\c\nd"' in kubestate.render({"v1/pods": [pod]})


def test_applications_are_described_as_argo_cd_does() -> None:
    app = {
        "metadata": {"name": "sample-app", "namespace": "argocd"},
        "spec": {"project": "apqx", "source": {"repoURL": "r"}, "destination": {"namespace": "n"}},
        "status": {"sync": {"status": "Synced"}, "health": {"status": "Degraded"}},
    }
    text = kubestate.render({"argoproj.io/v1alpha1/applications": [app]})
    assert 'sync_status="Synced",health_status="Degraded"' in text


@pytest.mark.parametrize(
    ("text", "number"), [("250m", 0.25), ("2", 2), ("1Ki", 1024), ("64Mi", 67108864), ("1k", 1000), ("5n", 5e-9)]
)
def test_quantities_are_read(text: str, number: float) -> None:
    assert kubestate.quantity(text) == pytest.approx(number)
