"""Nothing is changed outside the allow-list, in a read-only run, or for a plan that nobody approved."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from platform_lib import cluster, deploy, drills, gate, guard, rollback, rollout, runbook, sync
from platform_lib.errors import GuardRefused
from platform_lib.model import App, Platform
from platform_lib.providers.state import write_endpoints
from platform_lib.wire import kube
from platform_lib.wire.git import repository

DIGEST = "registry.example/sample-app@sha256:" + "0" * 64


@pytest.fixture
def production(tmp_path: Path) -> Platform:
    """A platform of somebody else: its kubeconfig names a context that nobody put on the list."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "prod", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "prod-eu", "context": {"cluster": "prod", "user": "u"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    return Platform(
        "prod", "existing", tmp_path / "kubeconfig", "prod-eu", "", "http://127.0.0.1:9", "/nowhere.git", tmp_path
    )


CHANGES = {
    "deploy": lambda p: deploy.deploy(p, App(), image=DIGEST, version="1"),
    "sync": lambda p: sync.sync(p, App()),
    "refresh": lambda p: kube.connect(p).patch(kube.APPLICATIONS, "x", {}, "argocd"),
    "rollback": lambda p: rollback.rollback(p, App()),
    "rehearse": lambda p: gate.rehearse(p, App(), image=DIGEST, version="1"),
    "observe": lambda p: rollout.observe(p, App(), action=lambda: None, warmup_s=0.1),
    "gate": lambda p: gate.deploy(p, App(), image=DIGEST, version="1"),
    "drill": lambda p: drills.run_drill(p, App(), scenario="pod-loss"),
    "create": lambda p: kube.connect(p).create("v1/namespaces", {"metadata": {"name": "x"}}),
    "delete": lambda p: kube.connect(p).delete(kube.PODS, "x", "x"),
    "evict": lambda p: kube.connect(p).evict("x", "x"),
    "push": lambda p: repository(p).change(lambda _tree: "x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_context_that_is_not_on_the_list_is_refused_before_anything_is_touched(production, change) -> None:
    before = sorted(production.home.rglob("*"))
    with pytest.raises(GuardRefused, match=r"'prod-eu' - not on the allow-list \(apqx, k3d-apqx\)") as refused:
        change(production)
    assert refused.value.exit_code == 3 and "APQX_ALLOWED_CONTEXTS='[\"prod-eu\"]'" in refused.value.hint
    assert sorted(production.home.rglob("*")) == before


@pytest.mark.parametrize("change", [cluster.up, cluster.down], ids=["up", "down"])
def test_a_platform_of_ours_may_be_taken_off_the_list(change, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APQX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("APQX_ALLOWED_CONTEXTS", "[]")
    with pytest.raises(GuardRefused, match="nothing may be changed"):
        change()
    assert not (tmp_path / "home").exists()


def test_the_context_passes_once_it_is_on_the_list(production, monkeypatch) -> None:
    monkeypatch.setenv("APQX_ALLOWED_CONTEXTS", '["prod-eu"]')
    guard.check(production, "deploy")


def test_the_list_follows_the_name_of_our_own_cluster(production, monkeypatch) -> None:
    monkeypatch.setenv("APQX_CLUSTER_NAME", "staging")
    with pytest.raises(GuardRefused, match=r"\(staging, k3d-staging\)"):
        guard.check(production, "deploy")


def test_a_read_only_run_changes_nothing_and_may_look(production, monkeypatch) -> None:
    monkeypatch.setenv("APQX_ALLOWED_CONTEXTS", '["prod-eu"]')
    monkeypatch.setenv("APQX_READ_ONLY", "true")
    for change in CHANGES.values():
        with pytest.raises(GuardRefused, match="read-only"):
            change(production)


def test_an_approved_run_changes_nothing_before_its_plan_was_shown(production, monkeypatch) -> None:
    monkeypatch.setenv("APQX_ALLOWED_CONTEXTS", '["prod-eu"]')
    monkeypatch.setenv("APQX_APPROVED_PLAN", "a" * 64)
    with pytest.raises(GuardRefused, match="has not shown it"):
        guard.check(production, "deploy")
    guard.confirm("a" * 64)
    guard.check(production, "deploy")


def test_a_run_on_another_context_is_refused_before_its_folder_is_made(production, monkeypatch, tmp_path: Path) -> None:
    write_endpoints(production)
    monkeypatch.setenv("APQX_HOME", str(production.home))
    monkeypatch.setenv("APQX_RUNS_DIR", str(tmp_path / "runs"))
    with pytest.raises(GuardRefused, match=r"'prod-eu' - not on the allow-list .* runbook 02-deploy would change it"):
        runbook.run("02", {"dry_run": False})
    assert not (tmp_path / "runs").exists()
