"""Are the manifests valid, and do they agree with each other and with the application?"""

from __future__ import annotations

import re
import subprocess
import sys

import kubernetes_validate
import pytest
from sample_app import create_app
from sample_app.config import Settings, load

from platform_lib.model import App

DIGEST = r"sha256:(?!0{64})[0-9a-f]{64}"


def labels_match(selector, labels):
    return selector.items() <= labels.items()


def test_every_manifest_passes_the_official_schema_strictly(documents):
    checked = 0
    for document in documents:
        if document.body["apiVersion"].startswith("argoproj.io/"):
            continue  # a custom resource; its rules are in test_gitops_applications.py
        try:
            kubernetes_validate.validate(document.body, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{document.file} {document.kind}/{document.name}: {error}")
        checked += 1
    assert checked >= 15


def test_yaml_style_is_clean(project):
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "gitops", ".yamllint.yaml"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_no_object_is_declared_twice(documents):
    # The two bootstrap folders are alternatives: a platform applies one of them.
    keys = [
        (d.body["apiVersion"].split("/")[0], d.kind, d.body["metadata"].get("namespace"), d.name)
        for d in documents
        if not d.file.startswith("gitops/bootstrap/k3d/root")
    ]
    assert len(keys) == len(set(keys))


def test_the_workload_has_everything_the_architecture_lists(workload):
    assert workload.keys() == {
        "Namespace",
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "NetworkPolicy",
        "Deployment",
        "Service",
        "Ingress",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    }


def test_all_objects_of_the_workload_are_in_its_namespace(workload):
    for kind, body in workload.items():
        if kind != "Namespace":
            assert body["metadata"]["namespace"] == workload["Namespace"]["metadata"]["name"], kind


def test_every_selector_selects_the_pods(workload, pod):
    labels = pod["metadata"]["labels"]
    spread = pod["spec"]["topologySpreadConstraints"][0]
    for selector in (
        workload["Deployment"]["spec"]["selector"]["matchLabels"],
        workload["Service"]["spec"]["selector"],
        workload["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        workload["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
    ):
        assert selector
        assert labels_match(selector, labels)
        assert "app.kubernetes.io/version" not in selector, "a selector must survive the next version"


def test_rolling_update_never_goes_below_the_wanted_count(workload):
    spec = workload["Deployment"]["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_the_image_is_named_by_digest_only_and_the_application_is_told_the_same(container):
    assert re.fullmatch(rf"ghcr\.io/apqx/sample-app@{DIGEST}", container["image"])
    env = {e["name"]: e.get("value") for e in container["env"]}
    assert container["image"].endswith(env["IMAGE_DIGEST"])


def test_the_version_label_stands_in_the_pod_template(pod, project):
    version = (project / "app" / "sample_app" / "VERSION").read_text().strip()
    assert pod["metadata"]["labels"]["app.kubernetes.io/version"] == version


def test_ports_agree_from_the_dockerfile_to_the_ingress(project, workload, pod, container):
    (port,) = container["ports"]
    (service,) = workload["Service"]["spec"]["ports"]
    (rule,) = workload["Ingress"]["spec"]["rules"]
    env = {e["name"]: e.get("value") for e in container["env"]}
    exposed = re.findall(r"^EXPOSE (\d+)$", (project / "Dockerfile").read_text(), re.M)
    assert exposed == [str(port["containerPort"])] == [env["PORT"]]
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == env["PORT"]
    assert service["targetPort"] == port["name"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert (backend["name"], backend["port"]["number"]) == ("sample-app", service["port"])
    assert workload["NetworkPolicy"]["spec"]["ingress"][0]["ports"][0]["port"] == port["name"]


def test_probe_and_scrape_paths_exist_in_the_application(pod, container):
    routes = {rule.rule for rule in create_app(Settings(version="1")).url_map.iter_rules()}
    probes = [container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert [probe["path"] for probe in probes] == ["/health", "/health", "/ready"]
    assert {probe["path"] for probe in probes} | {pod["metadata"]["annotations"]["prometheus.io/path"]} <= routes
    assert {probe["port"] for probe in probes} == {container["ports"][0]["name"]}
    assert pod["metadata"]["annotations"]["prometheus.io/scrape"] == "true"


def test_the_environment_is_one_the_application_accepts(container):
    given = {e["name"]: e.get("value", "127.42.0.10") for e in container["env"]}
    settings = load(given)
    assert not any(name.startswith("FAULT_") for name in given), "no fault is part of the desired state"
    assert settings.image_digest


def test_probes_allow_a_slow_start_and_react_within_seconds(container):
    startup, readiness = container["startupProbe"], container["readinessProbe"]
    assert startup["failureThreshold"] == 30
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 30
    assert readiness["periodSeconds"] * readiness["failureThreshold"] <= 4


def test_the_grace_period_covers_prestop_drain_and_requests_in_flight(pod, container):
    settings = load({})
    needed = container["lifecycle"]["preStop"]["sleep"]["seconds"] + settings.drain_s + settings.graceful_s
    assert needed < pod["spec"]["terminationGracePeriodSeconds"]


def test_the_pod_meets_the_restricted_standard(workload, pod, container):
    spec, context = pod["spec"], pod["spec"]["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == 1000
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert own["readOnlyRootFilesystem"] is True
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert {key for volume in spec["volumes"] for key in volume} - {"name"} <= {"emptyDir", "configMap", "secret"}
    labels = workload["Namespace"]["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")} == {"restricted"}


def test_writable_places_are_bounded(pod, container):
    assert {m["mountPath"] for m in container["volumeMounts"]} == {"/tmp"}
    assert all(volume["emptyDir"]["sizeLimit"] for volume in pod["spec"]["volumes"])


def test_resources_are_those_of_the_architecture(container):
    assert container["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": "500m", "memory": "256Mi"},
    }


def test_the_role_is_the_least_one_and_bound_to_the_pods_account_only(workload, pod):
    granted = {
        (group, resource, verb)
        for rule in workload["Role"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == {
        ("", "pods", "get"),
        ("", "pods", "list"),
        ("", "services", "get"),
        ("", "services", "list"),
        ("", "configmaps", "get"),
    }
    assert all("resourceNames" not in rule for rule in workload["Role"]["rules"])
    binding, account = workload["RoleBinding"], workload["ServiceAccount"]["metadata"]["name"]
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": workload["Role"]["metadata"]["name"],
    }
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "sample-app"}]
    assert pod["spec"]["serviceAccountName"] == account != "default"
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_the_autoscaler_scales_the_deployment_as_the_architecture_says(workload):
    spec = workload["HorizontalPodAutoscaler"]["spec"]
    target = workload["Deployment"]
    assert spec["scaleTargetRef"] == {
        "apiVersion": target["apiVersion"],
        "kind": "Deployment",
        "name": target["metadata"]["name"],
    }
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    wanted = {m["resource"]["name"]: m["resource"]["target"]["averageUtilization"] for m in spec["metrics"]}
    assert wanted == {"cpu": 70, "memory": 80}


def test_a_drain_can_always_take_one_pod(workload):
    budget = workload["PodDisruptionBudget"]["spec"]
    assert budget["minAvailable"] == 1
    assert budget["minAvailable"] < workload["HorizontalPodAutoscaler"]["spec"]["minReplicas"]


def test_spread_prefers_and_never_blocks(pod):
    (spread,) = pod["spec"]["topologySpreadConstraints"]
    assert (spread["maxSkew"], spread["topologyKey"]) == (1, "kubernetes.io/hostname")
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"


def test_the_network_policy_names_both_directions_and_opens_one(workload):
    spec = workload["NetworkPolicy"]["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert spec["egress"] == []
    sources = [
        (
            source["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
            source["podSelector"]["matchLabels"]["app.kubernetes.io/name"],
        )
        for source in spec["ingress"][0]["from"]
    ]
    assert sources == [("kube-system", "traefik"), ("monitoring", "prometheus")]


def test_the_library_and_the_manifests_use_the_same_names(workload):
    app = App()
    assert workload["Deployment"]["metadata"]["name"] == app.name
    assert workload["Namespace"]["metadata"]["name"] == app.namespace
    assert workload["Ingress"]["spec"]["rules"][0]["host"] == app.host
    assert workload["Ingress"]["spec"]["ingressClassName"] == "traefik"


def test_a_deploy_changes_digest_version_and_reported_digest_and_nothing_else(project):
    from platform_lib.wire.manifest_edit import set_release

    before = (project / App().deployment_file).read_text()
    after = set_release(before, image=f"ghcr.io/apqx/sample-app@sha256:{'ab' * 32}", version="1.0.1")
    old, new = before.splitlines(), after.splitlines()
    assert len(old) == len(new)
    changed = [(a.strip(), b.strip()) for a, b in zip(old, new, strict=True) if a != b]
    assert [b for _, b in changed] == [
        "app.kubernetes.io/version: 1.0.1",
        f"image: ghcr.io/apqx/sample-app@sha256:{'ab' * 32}",
        f"value: sha256:{'ab' * 32}",
    ]
