"""Are the optional parts complete, narrow and pinned, and does the catalogue tell the truth about them?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from platform_lib import admission
from platform_lib.rules import addons as rules

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "gitops" / "addons"
CATALOGUE = rules.parse((FOLDER / "catalogue.toml").read_text())
OURS = "http://git.apqx-system.svc/gitops.git"
PINNED = re.compile(r"^v?\d+\.\d+\.\d+$")
CLUSTER_WIDE = {"Namespace", "ClusterIssuer", "ClusterSecretStore", "ValidatingPolicy", "Bundle"}
UPSTREAM = (
    "argoproj.io/",
    "cert-manager.io/",
    "external-secrets.io/",
    "policies.kyverno.io/",
    "trust.cert-manager.io/",
)
"""Kinds whose schema comes with their chart; validated by hand, see docs/verified.md."""


def objects(name: str) -> list[dict[str, Any]]:
    return [body for body in yaml.safe_load_all((ROOT / CATALOGUE[name].source).read_text()) if body]


def of_kind(name: str, kind: str) -> list[dict[str, Any]]:
    return [obj for obj in objects(name) if obj["kind"] == kind]


def manifests(path: str) -> list[dict[str, Any]]:
    folder = ROOT / path
    skipped = ("application.yaml", "kustomization.yaml")
    files = [file for file in sorted(folder.glob("*.yaml")) if file.name not in skipped]
    return [body for file in files for body in yaml.safe_load_all(file.read_text()) if body]


APPLICATIONS = [(name, app) for name in CATALOGUE for app in of_kind(name, "Application")]
IDS = [f"{name}-{app['metadata']['name']}" for name, app in APPLICATIONS]


def test_every_folder_is_in_the_catalogue_and_the_other_way_round():
    assert {path.parent.name for path in FOLDER.glob("*/application.yaml")} == set(CATALOGUE)
    assert len(CATALOGUE) == 12


@pytest.mark.parametrize(("name", "app"), APPLICATIONS, ids=IDS)
def test_an_application_is_pinned_heals_and_waits_for_what_it_builds_on(name: str, app: dict[str, Any]):
    spec = app["spec"]
    source, policy = spec["source"], spec["syncPolicy"]
    assert spec["project"] == f"addon-{name}"
    assert app["metadata"]["finalizers"] == ["resources-finalizer.argocd.argoproj.io"]
    assert policy["automated"] == {"prune": True, "selfHeal": True}
    assert policy["retry"]["limit"] == -1 and policy["retry"]["refresh"] is True
    assert "ServerSideApply=true" in policy["syncOptions"]
    if "chart" in source:
        assert PINNED.match(source["targetRevision"]) and source["repoURL"].startswith("https://")
        assert "path" not in source and source["helm"]["releaseName"] == app["metadata"]["name"]
    else:
        assert (source["repoURL"], source["targetRevision"]) == (OURS, "main")
        assert manifests(source["path"]), source["path"]


@pytest.mark.parametrize(("name", "app"), APPLICATIONS, ids=IDS)
def test_custom_resources_wait_for_their_kinds_and_come_after_them(name: str, app: dict[str, Any]):
    if "path" not in app["spec"]["source"]:
        return
    custom = [obj for obj in manifests(app["spec"]["source"]["path"]) if obj["apiVersion"].startswith(UPSTREAM)]
    options = app["spec"]["syncPolicy"]["syncOptions"]
    assert bool(custom) is ("SkipDryRunOnMissingResource=true" in options)
    if custom:
        charts = [one for one in of_kind(name, "Application") if "chart" in one["spec"]["source"]]
        assert charts and rules.manifests.sync_wave(app) > min(rules.manifests.sync_wave(one) for one in charts)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_project_comes_first_and_allows_what_its_folders_hold_in_the_namespaces_they_use(name: str):
    (project,) = of_kind(name, "AppProject")
    spec = project["spec"]
    assert project["metadata"]["name"] == f"addon-{name}"
    assert rules.manifests.sync_wave(project) < min(
        rules.manifests.sync_wave(obj) for obj in objects(name) if obj["kind"] != "AppProject"
    )
    used = [app["spec"] for app in of_kind(name, "Application")]
    used += [one["spec"]["template"]["spec"] for one in of_kind(name, "ApplicationSet")]
    assert set(spec["sourceRepos"]) == {one["source"]["repoURL"] for one in used}
    places = {entry["namespace"] for entry in spec["destinations"]}
    assert places == {one["destination"]["namespace"] for one in used} and "*" not in places
    wide = {(e["group"], e["kind"]) for e in spec["clusterResourceWhitelist"]}
    narrow = {(e["group"], e["kind"]) for e in spec["namespaceResourceWhitelist"]}
    assert not any("*" in part for entry in wide | narrow for part in entry)
    for one in used:
        for obj in manifests(one["source"]["path"]) if "path" in one["source"] else []:
            key = (obj["apiVersion"].rpartition("/")[0], obj["kind"])
            assert key in (wide if obj["kind"] in CLUSTER_WIDE else narrow), key
            assert obj["metadata"].get("namespace", one["destination"]["namespace"]) in places
        if any("CreateNamespace=true" in option for option in one.get("syncPolicy", {}).get("syncOptions", [])):
            assert ("", "Namespace") in wide


@pytest.mark.parametrize("name", CATALOGUE)
def test_namespaces_that_an_add_on_makes_say_which_pods_they_take(name: str):
    for app in of_kind(name, "Application"):
        policy = app["spec"]["syncPolicy"]
        made = "CreateNamespace=true" in policy["syncOptions"]
        assert made is ("managedNamespaceMetadata" in policy), app["metadata"]["name"]
        if made:
            level = policy["managedNamespaceMetadata"]["labels"]["pod-security.kubernetes.io/enforce"]
            privileged = {"linkerd-cni", "tailscale", "chaos-mesh"}
            assert level == ("privileged" if app["spec"]["destination"]["namespace"] in privileged else "restricted")


def test_add_ons_live_in_namespaces_of_their_own_and_have_names_of_their_own():
    names = [app["metadata"]["name"] for _, app in APPLICATIONS]
    assert len(names) == len(set(names))
    base = {"root", "monitoring", "monitoring-k3d", "sample-app", "gitops"}
    assert not base & set(names)
    assert all(app["spec"]["destination"]["namespace"] not in ("default", "kube-system") for _, app in APPLICATIONS)


def test_core_kinds_pass_the_official_schema_strictly(addon_documents):
    checked = 0
    for document in addon_documents:
        if document.body["apiVersion"].startswith(UPSTREAM):
            continue
        try:
            kubernetes_validate.validate(document.body, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{document.file} {document.kind}/{document.name}: {error}")
        checked += 1
    assert checked >= 15


def test_no_secret_value_stands_in_git(addon_documents):
    assert not [d.file for d in addon_documents if d.kind == "Secret"]
    words = re.compile(r"(password|token|secret|clientSecret): *['\"]?[A-Za-z0-9+/=_-]{12,}", re.I)
    for path in FOLDER.rglob("*.yaml"):
        found = [m for m in words.findall(path.read_text()) if m]
        assert not found or path.name in ("application.yaml", "certificates.yaml", "ingress.yaml"), path


@pytest.mark.parametrize("name", [n for n in CATALOGUE if n not in ("network-policies", "multi-cluster")])
def test_every_chart_says_what_it_asks_for(name: str):
    for app in of_kind(name, "Application"):
        if "chart" in app["spec"]["source"] and app["metadata"]["name"] != "linkerd-crds":
            cores, size = rules.requests([app])
            assert 0 < cores < 1 and 16 * 2**20 <= size <= 2**30, app["metadata"]["name"]


def test_dashboards_on_disk_are_the_dashboards_that_grafana_gets():
    folder = FOLDER / "grafana"
    body = yaml.safe_load((folder / "kustomization.yaml").read_text())
    there = [f"dashboards/{path.name}" for path in sorted((folder / "dashboards").iterdir())]
    assert there and sorted(line for line in body["resources"] if "/" in line) == there
    assert all((folder / line).is_file() for line in body["resources"])
    (grafana,) = [a for a in of_kind("grafana", "Application") if "chart" in a["spec"]["source"]]
    sidecar = grafana["spec"]["source"]["helm"]["valuesObject"]["sidecar"]["dashboards"]
    for path in there:
        for config_map in yaml.safe_load_all((folder / path).read_text()):
            assert config_map["metadata"]["labels"][sidecar["label"]] == sidecar["labelValue"], path


def test_the_canary_asks_what_the_objectives_and_the_named_queries_ask():
    committed = (ROOT / admission.ANALYSIS).read_text()
    assert committed == admission.analysis_manifest(), "run apqx addon analysis --write"
    (rollout,) = [o for o in manifests("gitops/addons/argo-rollouts/sample-app") if o["kind"] == "Rollout"]
    template = yaml.safe_load(committed)
    analysis = rollout["spec"]["strategy"]["canary"]["analysis"]
    assert [t["templateName"] for t in analysis["templates"]] == [template["metadata"]["name"]]
    assert [a["name"] for a in analysis["args"]] == [a["name"] for a in template["spec"]["args"]]
    deployment = yaml.safe_load((ROOT / "gitops/workloads/sample-app/deployment.yaml").read_text())
    assert rollout["spec"]["selector"] == deployment["spec"]["selector"]
    assert rollout["spec"]["workloadRef"]["name"] == deployment["metadata"]["name"]
    assert rollout["spec"]["progressDeadlineSeconds"] == deployment["spec"]["progressDeadlineSeconds"]


def test_the_canary_scales_within_the_bounds_of_the_deployment(workload):
    (own,) = [o for o in manifests("gitops/addons/argo-rollouts/sample-app") if o["kind"] == "HorizontalPodAutoscaler"]
    base = workload["HorizontalPodAutoscaler"]["spec"]
    assert {k: v for k, v in own["spec"].items() if k != "scaleTargetRef"} == {
        k: v for k, v in base.items() if k != "scaleTargetRef"
    }


def test_nothing_of_ours_runs_without_a_policy_that_denies(documents, addon_documents):
    """Every namespace of ours with pods has a default deny once the add-on is on."""
    ours = {d.body["metadata"]["namespace"] for d in documents if d.kind == "Deployment"}
    denied = {
        d.body["metadata"]["namespace"]
        for d in addon_documents
        if d.kind == "NetworkPolicy" and d.name == "default-deny" and d.body["spec"]["podSelector"] == {}
    }
    assert {"sample-app", "monitoring"} <= ours and {"sample-app", "monitoring"} == denied


def test_the_sample_application_keeps_every_connection_it_has(documents, addon_documents):
    """Prometheus must still be let in, and be let out to it, when everything else is denied."""
    (prometheus,) = [d.body for d in addon_documents if d.kind == "NetworkPolicy" and d.name == "prometheus"]
    assert {"to": [{"namespaceSelector": {}}]} in prometheus["spec"]["egress"]
    deployments = [
        d.body for d in documents if d.kind == "Deployment" and d.body["metadata"]["namespace"] == "monitoring"
    ]
    named = [
        d.body["spec"]["podSelector"]["matchLabels"]
        for d in addon_documents
        if d.kind == "NetworkPolicy" and d.file.startswith("gitops/addons/network-policies/monitoring")
        if d.body["spec"]["podSelector"]
    ]
    for deployment in deployments:
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert any(one.items() <= labels.items() for one in named), deployment["metadata"]["name"]


def test_the_fleet_gets_the_same_application_as_this_cluster():
    (fleet,) = of_kind("multi-cluster", "ApplicationSet")
    template, own = (
        fleet["spec"]["template"]["spec"],
        yaml.safe_load((ROOT / "gitops/apps/sample-app.yaml").read_text()),
    )
    for field in ("source", "syncPolicy", "ignoreDifferences"):
        assert template[field] == own["spec"][field], field
    (project,) = of_kind("multi-cluster", "AppProject")
    base = next(yaml.safe_load_all((ROOT / "gitops/apps/project.yaml").read_text()))
    mine = list(project["spec"]["namespaceResourceWhitelist"])
    assert all(entry in base["spec"]["namespaceResourceWhitelist"] for entry in mine)
    (generator,) = fleet["spec"]["generators"]
    assert generator["clusters"]["selector"]["matchLabels"] == {"apqx.dev/fleet": "true"}
