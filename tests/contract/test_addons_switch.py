"""An add-on is switched on and off for real: a commit, the root Application, a GitOps controller, a cascade."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from apiprocess import write_kubeconfig
from gitopsprocess import Gitops, running

from platform_lib import addons
from platform_lib.errors import GuardRefused, InvalidInput, NotFound, WaitTimeout
from platform_lib.model import Platform

ROOT = Path(__file__).resolve().parents[2]
POLICIES = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/default-deny"
SWITCH = "gitops/apps/addon-network-policies.yaml"


@pytest.fixture(scope="module")
def gitops(tmp_path_factory: pytest.TempPathFactory, schema_cache: Path) -> Iterator[Gitops]:
    with running(tmp_path_factory.mktemp("addons"), schema_cache) as found:
        for name in ("argocd", "sample-app", "monitoring"):
            if found.find(f"/api/v1/namespaces/{name}") is None:
                body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                found.call("POST", "/api/v1/namespaces", body)
        found.push({"gitops/apps/project.yaml": (ROOT / "gitops/apps/project.yaml").read_text()})
        yield found


@pytest.fixture
def platform(gitops: Gitops, tmp_path: Path) -> Platform:
    config = gitops.api.config
    path = write_kubeconfig(config, tmp_path)
    return Platform("c", "embedded", path, "apqx", "", "", str(config.git_dir), tmp_path)


@pytest.fixture
def root(gitops: Gitops) -> None:
    if gitops.find("/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/root") is None:
        gitops.create(yaml.safe_load((ROOT / "gitops/bootstrap/embedded/root.yaml").read_text()))
    gitops.until("root", lambda app: app["status"]["sync"]["status"] == "Synced")


def files(gitops: Gitops) -> set[str]:
    gitops.git("pull", "-q", "origin", "main")
    return set(gitops.git("ls-tree", "-r", "--name-only", "HEAD").splitlines())


def test_without_a_root_nothing_would_happen_and_nothing_is_committed(gitops: Gitops, platform: Platform) -> None:
    with pytest.raises(NotFound, match="Application root - absent in namespace argocd"):
        addons.enable(platform, addon="network-policies")
    assert SWITCH not in files(gitops)


def test_on_means_a_commit_and_objects_and_off_means_none_of_them(root, gitops: Gitops, platform: Platform) -> None:
    said: list[str] = []
    plan = addons.plan_enable(platform, addon="network-policies")
    assert [step.action for step in plan.steps] == ["commit", "push", "refresh", "wait"]
    assert SWITCH not in files(gitops), "a plan changes nothing"

    outcome = addons.enable(platform, addon="network-policies", timeout_s=60.0, progress=said.append)
    assert outcome.ok and outcome.figures["changed"] and outcome.figures["applications"] == 2
    assert SWITCH in files(gitops)
    for namespace in ("sample-app", "monitoring"):
        assert gitops.find(POLICIES.format(namespace))["spec"]["policyTypes"] == ["Ingress", "Egress"]
    (seen,) = [one for one in addons.look(platform) if one.addon.name == "network-policies"]
    assert seen.enabled and all("Synced" in text and "Healthy" in text for _, text in seen.applications)
    assert any("network-policies-sample-app" in line for line in said), "a wait says what it waits for"

    again = addons.enable(platform, addon="network-policies", timeout_s=60.0)
    assert not again.figures["changed"] and "already" in again.message
    assert addons.plan_enable(platform, addon="network-policies").steps == ()

    gone = addons.disable(platform, addon="network-policies", timeout_s=60.0)
    assert gone.ok and SWITCH not in files(gitops)
    assert [gitops.find(POLICIES.format(name)) for name in ("sample-app", "monitoring")] == [None, None]
    assert gitops.find("/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/network-policies-monitoring") is None
    gitops.eventually(
        lambda: gitops.find("/apis/argoproj.io/v1alpha1/namespaces/argocd/appprojects/addon-network-policies") is None
    )
    assert addons.plan_disable(platform, addon="network-policies").steps == ()
    assert not addons.disable(platform, addon="network-policies").figures["changed"]


def test_what_the_repository_changed_of_an_add_on_is_kept(root, gitops: Gitops, platform: Platform) -> None:
    """The repository is the truth: its own copy of an add-on wins over the project's."""
    files(gitops)
    own = (ROOT / "gitops/addons/network-policies/sample-app/default-deny.yaml").read_text()
    folder = gitops.work / "gitops/addons"
    shutil.copytree(ROOT / "gitops/addons/network-policies", folder / "network-policies", dirs_exist_ok=True)
    changed = own.replace("name: default-deny", "name: default-deny\n  annotations: {owner: me}")
    gitops.push({"gitops/addons/network-policies/sample-app/default-deny.yaml": changed})
    addons.enable(platform, addon="network-policies", timeout_s=60.0)
    assert gitops.find(POLICIES.format("sample-app"))["metadata"]["annotations"]["owner"] == "me"
    addons.disable(platform, addon="network-policies", timeout_s=60.0)


def test_what_the_embedded_platform_cannot_run_is_refused_with_what_it_offers(
    root, gitops: Gitops, platform: Platform
) -> None:
    before = files(gitops)
    with pytest.raises(GuardRefused, match="runs no containers and fetches no charts") as caught:
        addons.enable(platform, addon="kyverno")
    assert "apqx addon check" in str(caught.value)
    with pytest.raises(InvalidInput, match="add-on 'nginx' - unknown, expected one of cert-manager"):
        addons.plan_enable(platform, addon="nginx")
    assert files(gitops) == before


def test_a_secret_that_git_never_holds_is_asked_for_before_the_commit(root, gitops: Gitops, platform: Platform) -> None:
    from dataclasses import replace

    cluster = replace(platform, provider="existing")
    with pytest.raises(GuardRefused, match="Secret tailscale/operator-oauth with client_id, client_secret is absent"):
        addons.plan_enable(cluster, addon="tailscale")
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tailscale"}}
    gitops.call("POST", "/api/v1/namespaces", body)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "operator-oauth"}}
    url = "/api/v1/namespaces/tailscale/secrets"
    gitops.call("POST", url, secret | {"stringData": {"client_id": "a"}})
    with pytest.raises(GuardRefused, match="operator-oauth"):
        addons.plan_enable(cluster, addon="tailscale")
    gitops.call("PUT", f"{url}/operator-oauth", secret | {"stringData": {"client_id": "a", "client_secret": "b"}})
    assert addons.plan_enable(cluster, addon="tailscale").steps


def test_an_add_on_that_another_needs_comes_first_and_goes_last(root, gitops: Gitops, platform: Platform) -> None:
    from dataclasses import replace

    cluster = replace(platform, provider="existing")
    with pytest.raises(GuardRefused, match="add-on cert-manager is off, it is needed; apqx addon enable cert-manager"):
        addons.enable(cluster, addon="linkerd")
    for name in ("cert-manager", "linkerd"):
        addons.enable(cluster, addon=name, wait=False)
    with pytest.raises(GuardRefused, match="add-on linkerd needs it"):
        addons.disable(cluster, addon="cert-manager")
    # No chart can be fetched here: the wait ends by its deadline and says what it saw.
    with pytest.raises(WaitTimeout, match=r"add-on linkerd up not reached .* last seen trust-manager: "):
        addons.enable(cluster, addon="linkerd", timeout_s=1.5)
    # What a chart that never came would have brought (kinds of cert-manager) cannot be deleted here: not waited for.
    for name in ("linkerd", "cert-manager"):
        addons.disable(cluster, addon=name, wait=False)
    assert not any("addon-" in name for name in files(gitops))
