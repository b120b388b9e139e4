"""Does what only a real cluster runs fit together: git server, Prometheus, kube-state-metrics, and the library?"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
import yaml

from platform_lib import gitserver as program
from platform_lib.providers.bootstrap import gitserver, repourl, rootapp


@pytest.fixture(scope="module")
def server(documents):
    """Kind -> object of the git server."""
    return {d.kind: d.body for d in documents if d.file == rootapp.GIT_SERVER}


@pytest.fixture(scope="module")
def monitoring(documents):
    """(kind, name) -> object of the programs that watch."""
    return {(d.kind, d.name): d.body for d in documents if d.file.startswith("gitops/platform/monitoring-k3d/")}


def pod_of(deployment):
    return deployment["spec"]["template"]["spec"]


def test_the_service_is_the_address_in_the_applications(server, documents):
    meta = server["Service"]["metadata"]
    (port,) = server["Service"]["spec"]["ports"]
    assert port["port"] == 80
    repository = pod_of(server["Deployment"])["containers"][0]
    assert not any(argument.startswith("--repository") for argument in repository["args"]), "gitops.git by default"
    assert f"http://{meta['name']}.{meta['namespace']}.svc/gitops.git" == repourl.INTERNAL


def test_the_way_from_the_laptop_is_the_one_the_library_takes(server):
    (rule,) = server["Ingress"]["spec"]["rules"]
    assert rule["host"] == gitserver.HOST
    assert rule["http"]["paths"][0]["backend"]["service"]["name"] == server["Service"]["metadata"]["name"]


def test_the_pod_starts_the_program_with_arguments_it_knows(server, monkeypatch):
    (container,) = pod_of(server["Deployment"])["containers"]
    assert container["command"] == ["python", "-m", "platform_lib.gitserver"]
    asked = {}
    monkeypatch.setattr(program, "ensure", lambda root, name, git: asked.setdefault("place", root / name))
    monkeypatch.setattr(program, "serve", lambda app, bind: asked.setdefault("bind", bind))
    program.main(container["args"])
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert str(asked["place"].parent) in mounts and "readOnly" not in mounts[str(asked["place"].parent)]
    (token,) = [a.partition("=")[2] for a in container["args"] if a.startswith("--token-file=")]
    assert mounts[token.rpartition("/")[0]]["readOnly"] is True
    (port,) = container["ports"]
    assert asked["bind"] == f"0.0.0.0:{port['containerPort']}"


def test_the_probes_ask_an_address_that_exists(server):
    (container,) = pod_of(server["Deployment"])["containers"]
    assert {container[p]["httpGet"]["path"] for p in ("startupProbe", "readinessProbe")} == {"/healthz"}


def test_the_secret_is_the_one_the_library_makes_and_no_file_holds_it(server):
    volumes = {volume["name"]: volume for volume in pod_of(server["Deployment"])["volumes"]}
    secret = volumes["token"]["secret"]
    assert (secret["secretName"], secret["defaultMode"]) == (gitserver.SECRET, 0o440)
    assert "Secret" not in server
    assert server["Namespace"]["metadata"]["name"] == gitserver.NAMESPACE


def test_nothing_writes_twice_and_nothing_calls_out(server):
    spec = server["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert server["NetworkPolicy"]["spec"]["egress"] == []
    assert pod_of(server["Deployment"])["automountServiceAccountToken"] is False


@pytest.mark.parametrize("folder", ["gitops/bootstrap/k3d/", "gitops/platform/monitoring-k3d/"])
def test_every_pod_keeps_the_restricted_standard(documents, folder):
    pods = [d for d in documents if d.file.startswith(folder) and d.kind == "Deployment"]
    assert pods
    for document in pods:
        spec = pod_of(document.body)
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"]
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] and own["capabilities"] == {"drop": ["ALL"]}
            assert own["allowPrivilegeEscalation"] is False
            assert set(container["resources"]) == {"requests", "limits"}
            assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"]), container["image"]


def test_prometheus_reads_the_files_that_git_writes(monitoring, prometheus_config, rule_texts):
    (container,) = pod_of(monitoring["Deployment", "prometheus"])["containers"]
    volumes = {v["name"]: v for v in pod_of(monitoring["Deployment", "prometheus"])["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert f"--config.file={mounts['config']}/prometheus.yml" in container["args"]
    assert prometheus_config["rule_files"] == [f"{mounts['rules']}/*.rules.yml"]
    maps = {source["configMap"]["name"] for source in volumes["rules"]["projected"]["sources"]}
    assert maps == {"prometheus-rules", "prometheus-slo-rules"}
    assert all(name.endswith(".rules.yml") for name in rule_texts)


def test_nobody_ends_prometheus_over_http_and_it_reloads_by_itself(monitoring):
    (container,) = pod_of(monitoring["Deployment", "prometheus"])["containers"]
    assert not [argument for argument in container["args"] if "enable-lifecycle" in argument or "admin-api" in argument]
    assert "--enable-feature=auto-reload-config" in container["args"]


def granted(monitoring, role):
    return {
        resource: set(rule["verbs"])
        for rule in monitoring["ClusterRole", role]["rules"]
        for resource in rule["resources"]
    }


def test_each_program_may_read_what_it_asks_for_and_nothing_more(monitoring, prometheus_config):
    (container,) = pod_of(monitoring["Deployment", "kube-state-metrics"])["containers"]
    (listed,) = [a.partition("=")[2].split(",") for a in container["args"] if a.startswith("--resources=")]
    allowed = granted(monitoring, "apqx-kube-state-metrics")
    assert set(allowed) == set(listed)
    assert all(verbs == {"list", "watch"} for verbs in allowed.values())
    roles = {c["role"] for j in prometheus_config["scrape_configs"] for c in j.get("kubernetes_sd_configs", ())}
    allowed = granted(monitoring, "apqx-prometheus")
    assert {f"{role}s" for role in roles} | {"nodes/metrics"} == set(allowed)
    for binding in ("apqx-prometheus", "apqx-kube-state-metrics"):
        (subject,) = monitoring["ClusterRoleBinding", binding]["subjects"]
        assert ("ServiceAccount", subject["name"]) in monitoring


def test_the_scrape_jobs_find_the_pods_of_the_programs(monitoring, prometheus_config):
    jobs = {job["job_name"]: job for job in prometheus_config["scrape_configs"]}
    (keep,) = [r["regex"] for r in jobs["kube-state-metrics-pods"]["relabel_configs"] if r.get("action") == "keep"]
    labels = monitoring["Deployment", "kube-state-metrics"]["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == keep


def test_the_door_of_the_k3d_provider_leads_to_prometheus(monitoring):
    from platform_lib.providers.k3d.access import DOOR

    (service,) = [thing for thing in DOOR if thing["kind"] == "Service"]
    template = monitoring["Deployment", "prometheus"]["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    (container,) = template["spec"]["containers"]
    assert service["spec"]["ports"][0]["targetPort"] in {port["name"] for port in container["ports"]}


def test_what_is_applied_by_hand_is_in_the_bootstrap_folder_and_nothing_is_forgotten(project):
    names = {path.name for path in (project / rootapp.FOLDER).glob("*.yaml")}
    assert names == {*rootapp.FILES, rootapp.GIT_SERVER.rpartition("/")[2]}
    for name in names:
        assert list(yaml.safe_load_all((project / rootapp.FOLDER / name).read_text()))
    assert urlsplit(repourl.own(project)[0]).scheme in ("http", "https", "ssh")
