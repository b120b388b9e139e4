"""Provider existing and its doctor against an API server that evaluates RBAC: as administrator, and with little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiprocess import ApiServer

from platform_lib import cluster, doctor
from platform_lib.doctor import needs
from platform_lib.errors import GuardRefused, InvalidInput
from platform_lib.providers import state
from platform_lib.settings import settings
from platform_lib.wire import kube

RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def config(api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a kubeconfig with context ``theirs`` for a token, and make it the one in force."""

    def write(token: str) -> Path:
        found = {"server": api_server.config.api_url, "certificate-authority": str(api_server.config.ca_file)}
        document = {
            "clusters": [{"name": "c", "cluster": found}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "theirs", "context": {"cluster": "c", "user": "me"}}],
            "current-context": "theirs",
        }
        path = tmp_path / "config"
        path.write_text(yaml.safe_dump(document))
        monkeypatch.setenv("APQX_KUBECONFIG", str(path))
        monkeypatch.setenv("APQX_HOME", str(tmp_path / "home"))
        return path

    return write


@pytest.fixture
def admin(api_server: ApiServer, config: Callable[[str], Path]) -> Path:
    return config(api_server.config.token("admin"))


@pytest.fixture
def application(api_server: ApiServer) -> Iterator[str]:
    """An Application as somebody else wrote it, in their own Argo CD namespace."""
    body = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "shop"},
        "spec": {
            "project": "default",
            "source": {"repoURL": "https://git.example.com/team/desired.git", "path": "shop", "targetRevision": "live"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
        },
    }
    path = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"
    api_server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "argocd"}})
    answer = api_server.call("POST", path, body)
    assert answer.status == 201, answer.body
    yield "shop"
    api_server.call("DELETE", f"{path}/shop")


def apqx(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "apqx"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=60)


# -- up, status, down ----------------------------------------------------------------------------------------


def test_up_looks_and_keeps_the_endpoints_and_nothing_else(admin: Path, application: str, tmp_path: Path) -> None:
    lines: list[str] = []
    done = cluster.up(provider="existing", context="theirs", progress=lines.append)
    assert done.ok and "for looking only" in done.message and done.figures["changed"]
    platform = cluster.connect()
    assert (platform.gitops_repo, platform.gitops_branch) == ("https://git.example.com/team/desired.git", "live")
    assert platform.kubeconfig == admin and not platform.writable
    assert state.Layout(tmp_path / "home").endpoints.stat().st_mode & 0o777 == 0o600
    assert any(line.startswith("Prometheus: ") and "APQX_PROMETHEUS_URL" in line for line in lines)
    assert not cluster.up(provider="existing", context="theirs").figures["changed"]


def test_a_change_is_refused_until_both_the_list_and_write_say_yes(
    admin: Path, application: str, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        kube.connect(cluster.connect()).create("v1/configmaps", {"metadata": {"name": "written"}}, "default")

    cluster.up(provider="existing", context="theirs")
    with pytest.raises(GuardRefused, match="not on the allow-list"):
        change()
    monkeypatch.setenv("APQX_ALLOWED_CONTEXTS", '["theirs"]')
    with pytest.raises(GuardRefused, match=r"looking only.*--context theirs --write"):
        change()
    cluster.up(provider="existing", context="theirs", write=True)
    change()
    assert api_server.call("GET", "/api/v1/namespaces/default/configmaps/written").status == 200
    api_server.call("DELETE", "/api/v1/namespaces/default/configmaps/written")


def test_down_forgets_and_leaves_the_cluster_alone(
    admin: Path, application: str, api_server: ApiServer, tmp_path: Path
) -> None:
    cluster.up(provider="existing", context="theirs")
    assert cluster.plan_down().steps[0].why == "the cluster itself is not touched"
    before = api_server.call("GET", "/apis/argoproj.io/v1alpha1/applications").json["items"]
    done = cluster.down()
    assert "are forgotten" in done.message and not state.Layout(tmp_path / "home").endpoints.exists()
    assert api_server.call("GET", "/apis/argoproj.io/v1alpha1/applications").json["items"] == before
    assert admin.exists(), "the user's own kubeconfig stays"


def test_status_speaks_of_the_applications_that_are_known_here(
    admin: Path, application: str, tmp_path: Path, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"
    spec = api_server.call("GET", f"{path}/shop").json["spec"]
    assert api_server.call("POST", path, {"metadata": {"name": "of-another-team"}, "spec": spec}).status == 201
    try:
        cluster.up(provider="existing", context="theirs")
        assert {name for name, _ in cluster.status().apps} >= {"shop", "of-another-team"}, (
            "none is known: all are shown"
        )
        monkeypatch.chdir(tmp_path)
        (tmp_path / "apqx.toml").write_text("[apps.shop]\n")
        assert [name for name, _ in cluster.status().apps] == ["shop"]
    finally:
        api_server.call("DELETE", f"{path}/of-another-team")


def test_a_second_context_does_not_replace_the_first_in_silence(admin: Path, application: str) -> None:
    cluster.up(provider="existing", context="theirs")
    document = yaml.safe_load(admin.read_text())
    document["contexts"].append({"name": "other", "context": {"cluster": "c", "user": "me"}})
    admin.write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidInput, match="connected to context 'theirs', not to 'other'"):
        cluster.up(provider="existing", context="other")


def test_what_an_existing_cluster_cannot_do_is_said(admin: Path) -> None:
    with pytest.raises(InvalidInput, match="install redis - unknown, expected some of: argocd"):
        cluster.up(provider="existing", context="theirs", install=("redis",))
    with pytest.raises(InvalidInput, match="expected provider existing"):
        cluster.up(provider="embedded", context="theirs")
    planned = apqx("up", "--provider", "existing", "--context", "theirs", "--dry-run")
    assert planned.returncode == 0 and "platform.json" in planned.stdout
    refused = apqx("up", "--provider", "existing", "--context", "thers")
    assert refused.returncode == 2 and "did you mean --context theirs?" in refused.stderr + refused.stdout


# -- doctor ------------------------------------------------------------------------------------------------------


def finding(seen: doctor.Diagnosis, name: str) -> doctor.Finding:
    return next(one for one in seen.findings if one.name == name)


def test_an_administrator_may_everything_and_the_missing_parts_say_what_they_cost(
    admin: Path, application: str, api_server: ApiServer
) -> None:
    seen = doctor.diagnose(context="theirs")
    assert seen.denied == () and finding(seen, "Kubernetes API").found.startswith("v1.")
    assert all(one.state == "ok" for one in seen.findings if one.name.startswith("may: "))
    controller = finding(seen, "Argo CD")
    assert controller.state == "missing" and "argocd-application-controller" in controller.found and not seen.ok
    assert finding(seen, "Prometheus").state == "degraded" and "SLOs" in finding(seen, "Prometheus").cost
    assert finding(seen, "cert-manager").state == "optional"


def test_doctor_prints_a_table_or_json_and_exits_with_1(admin: Path, application: str) -> None:
    shown = apqx("doctor", "--context", "theirs")
    assert shown.returncode == 1 and "what that costs" in shown.stdout and "Argo CD" in shown.stdout
    asked = apqx("doctor", "--context", "theirs", "--json")
    document = json.loads(asked.stdout)
    assert asked.returncode == 1 and {"name", "state", "found", "cost", "hint"} == set(document["findings"][0])


def test_a_cluster_that_is_not_there_is_the_only_finding(admin: Path) -> None:
    document = yaml.safe_load(admin.read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    admin.write_text(yaml.safe_dump(document))
    seen = doctor.diagnose(context="theirs")
    assert [one.name for one in seen.findings] == ["Kubernetes API"] and "refused" in seen.findings[0].found


@pytest.fixture
def small(api_server: ApiServer, config: Callable[[str], Path]) -> Iterator[str]:
    """A ServiceAccount without any permission, and the kubeconfig of it."""
    for space in ("sample-app", "argocd"):
        api_server.call("POST", "/api/v1/namespaces", {"metadata": {"name": space}})
    api_server.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "small"}})
    token = api_server.call("POST", "/api/v1/namespaces/default/serviceaccounts/small/token", {"spec": {}})
    assert token.status == 201, token.body
    config(token.json["status"]["token"])
    yield "small"
    spaces = [f"/namespaces/{space}/" for space in ("sample-app", "argocd", "kube-system")]
    granted = [f"{space}{kind}/apqx" for space in spaces for kind in ("roles", "rolebindings")]
    for path in ("/clusterroles/apqx", "/clusterrolebindings/apqx", *granted):
        api_server.call("DELETE", RBAC + path)
    api_server.call("DELETE", "/api/v1/namespaces/default/serviceaccounts/small")


def grant(api_server: ApiServer, text: str) -> None:
    """Do what the comment of the printed roles says: apply them and bind them."""
    subject = {"kind": "ServiceAccount", "name": "small", "namespace": "default"}
    for role in yaml.safe_load_all(text):
        space = role["metadata"].get("namespace")
        below = f"{RBAC}/namespaces/{space}" if space else RBAC
        prefix = "" if space else "cluster"
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"], "name": role["metadata"]["name"]}
        for plural, body in (
            (f"{prefix}roles", role),
            (f"{prefix}rolebindings", {"metadata": role["metadata"], "roleRef": reference, "subjects": [subject]}),
        ):
            answer = api_server.call("POST", f"{below}/{plural}", body)
            assert answer.status == 201, answer.body


def test_the_printed_roles_are_what_was_missing_and_no_more(
    small: str, api_server: ApiServer, application: str
) -> None:
    before = doctor.diagnose(context="theirs")
    assert finding(before, "may: deploy").state == "missing" and finding(before, "may: logs").state == "degraded"
    assert "patch applications.argoproj.io (namespace argocd)" in before.denied
    text = apqx("doctor", "--context", "theirs", "--rbac").stdout
    grant(api_server, text)
    after = doctor.diagnose(context="theirs")
    assert after.denied == (), after.denied
    assert not any("forbidden" in one.found for one in after.findings)
    asked = {(need.verb, need.group, need.resource.partition("/")[0]) for need in needs.needs()}
    granted = {
        (verb, group, resource.partition("/")[0])
        for role in yaml.safe_load_all(text)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted <= asked and "*" not in text.replace("#", "")


def test_somebody_small_can_connect_with_the_roles_for_looking(
    small: str, api_server: ApiServer, application: str
) -> None:
    text = doctor.rbac_text(doctor.diagnose(context="theirs"), read_only=True)
    verbs: set[Any] = {verb for role in yaml.safe_load_all(text) for rule in role["rules"] for verb in rule["verbs"]}
    assert verbs <= {"get", "list", "watch"}
    grant(api_server, text)
    assert cluster.up(provider="existing", context="theirs").ok
    assert cluster.status().apps and settings().home.exists()
