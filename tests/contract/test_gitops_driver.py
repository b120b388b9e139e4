"""The library's driver against the embedded GitOps controller, through the cluster and through argocd-server alike."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import argoserver
import pytest
from apiprocess import write_kubeconfig
from gitopsprocess import APPS, MERGE, PROJECTS, URL, Gitops, application, config_map, running

from platform_lib import errors, rollback, sync
from platform_lib.model import App, Platform
from platform_lib.rules import application as rules
from platform_lib.wire import argocd

TOKEN = "canary-token-of-the-rest-api"
HOOK = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "before", "annotations": {"argocd.argoproj.io/hook": "PreSync"}},
    "spec": {
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x@sha256:" + "0" * 64}]}}
    },
}


@pytest.fixture(scope="module")
def gitops(tmp_path_factory: pytest.TempPathFactory, schema_cache: Path) -> Iterator[Gitops]:
    with running(tmp_path_factory.mktemp("driver"), schema_cache) as started:
        yield started


@pytest.fixture(scope="module")
def rest(gitops: Gitops) -> Iterator[tuple[str, argoserver.Server]]:
    server = argoserver.Server(gitops.api, TOKEN)
    with argoserver.serving(server) as url:
        yield url, server


@dataclass
class Place:
    """Where a test works: its application, its platform, and what was said."""

    gitops: Gitops
    platform: Platform
    app: App
    lines: list[str] = field(default_factory=list)

    def push(self, **files: Any) -> str:
        return self.gitops.push({f"{self.app.name}/{name}.yaml": content for name, content in files.items()})

    def create(self, **spec: Any) -> None:
        self.gitops.create(application(self.app.name, self.app.name, **spec))
        self.gitops.until(self.app.name, lambda app: app["status"]["sync"]["status"] != "Unknown")

    @property
    def options(self) -> dict[str, Any]:
        return {"timeout_s": 20.0, "progress": self.lines.append}

    def said(self) -> str:
        return "\n".join(self.lines)

    def value(self, name: str = "a") -> str:
        found = self.gitops.call("GET", f"/api/v1/namespaces/{self.app.name}/configmaps/{name}")
        return str(found["data"]["v"])


def platform_of(gitops: Gitops, home: Path) -> Platform:
    config = gitops.api.config
    path = write_kubeconfig(config, home)
    return Platform("c", "k3d", path, "apqx", "", "", str(config.git_dir), home, gitops_url=URL)


@pytest.fixture(params=["kubernetes", "rest"])
def place(
    request: pytest.FixtureRequest,
    gitops: Gitops,
    rest: tuple[str, argoserver.Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    """A place reached through the cluster, and the same without a kubeconfig."""
    monkeypatch.setenv("APQX_HOME", str(tmp_path))
    monkeypatch.setenv("ARGO_TEST_REFERENCE", TOKEN)
    platform = platform_of(gitops, tmp_path)
    if request.param == "rest":
        platform.kubeconfig.unlink()
        ca = gitops.api.config.ca_file
        platform = replace(platform, argocd_url=rest[0], argocd_token="env:ARGO_TEST_REFERENCE", argocd_ca=ca)
    name = f"t-{uuid.uuid4().hex[:6]}"
    gitops.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield Place(gitops, platform, App(name, name, path=name))
    gitops.api.call("PATCH", f"{APPS}/{name}", {"metadata": {"finalizers": None}}, content_type=MERGE)
    gitops.api.call("DELETE", f"{APPS}/{name}")


def test_a_sync_is_waited_for_and_its_operation_is_ours(place: Place) -> None:
    revision = place.push(a=[config_map("a", v="1")])
    place.create(syncPolicy={"syncOptions": ["CreateNamespace=true"], "retry": {"limit": 1}})
    outcome = sync.sync(place.platform, place.app, **place.options)
    seen = place.gitops.app(place.app.name)
    assert outcome.figures["commit"] == revision and rules.operation_id(seen) == outcome.figures["operation"]
    operation = seen["status"]["operationState"]["operation"]
    assert operation["sync"]["syncOptions"] == ["CreateNamespace=true"] and operation["retry"] == {"limit": 1}
    assert place.value() == "1"
    assert sync.state(place.platform, place.app).sync_status == "Synced"


def test_the_newest_commit_supersedes_the_retries_of_a_broken_one(place: Place) -> None:
    place.push(a=[config_map("a", v="1")])
    place.create(automated={}, syncPolicy={"retry": {"limit": 5, "backoff": {"duration": "60s"}}})
    place.gitops.until(place.app.name, lambda app: app["status"]["sync"]["status"] == "Synced")
    place.push(b=[config_map("b", api="example.org/v1", kind="Nonsense")])
    place.gitops.until(place.app.name, lambda app: app["status"]["operationState"].get("retryCount") == 1)
    good = place.push(a=[config_map("a", v="2")], b=None)
    found = sync.reach(place.platform, place.app, revision=good, **place.options)
    assert found is not None and (found.revision, place.value()) == (good, "2")
    assert "superseding the retries of" in place.said()


def test_without_supersede_the_retries_keep_it_waiting(place: Place) -> None:
    place.push(a=[config_map("a", v="1")])
    place.create(automated={}, syncPolicy={"retry": {"limit": 5, "backoff": {"duration": "60s"}}})
    place.gitops.until(place.app.name, lambda app: app["status"]["sync"]["status"] == "Synced")
    place.push(b=[config_map("b", api="example.org/v1", kind="Nonsense")])
    place.gitops.until(place.app.name, lambda app: app["status"]["operationState"].get("retryCount") == 1)
    good = place.push(a=[config_map("a", v="2")], b=None)
    with pytest.raises(errors.WaitTimeout, match="retry 1 at"):
        sync.reach(place.platform, place.app, revision=good, timeout_s=2.0, supersede=False)
    with pytest.raises(errors.Locked, match="another operation is Running"):
        sync.sync(place.platform, place.app, timeout_s=2.0, supersede=False)
    assert sync.stop(place.platform, place.app, **place.options) is True


def test_a_row_comes_back_with_automation_paused_until_it_is_resumed(place: Place) -> None:
    old = place.push(a=[config_map("a", v="1")])
    place.create(automated={"prune": True})
    place.gitops.until(place.app.name, lambda app: app["status"]["sync"]["status"] == "Synced")
    place.gitops.until(place.app.name, lambda app: "operation" not in app)
    new = place.push(a=[config_map("a", v="2")])
    sync.reach(place.platform, place.app, revision=new, **place.options)
    outcome = rollback.to_row(place.platform, place.app, **place.options)
    assert outcome.figures["to_commit"] == old and place.value() == "1"
    assert "sync hooks do not run" in outcome.message and "automation paused for" in place.said()
    seen = place.gitops.app(place.app.name)
    assert seen["spec"]["syncPolicy"]["automated"] == {"enabled": False, "prune": True}
    assert [row["revision"] for row in seen["status"]["history"]] == [old, new, old]
    assert seen["status"]["operationState"]["operation"]["sync"]["syncStrategy"] == {"apply": {}}
    assert rollback.resume(place.platform, place.app) == [place.app.name]
    place.gitops.until(place.app.name, lambda app: app["status"]["sync"]["status"] == "Synced" and app["status"])
    place.gitops.eventually(lambda: place.value() == "2")
    assert place.gitops.app(place.app.name)["spec"]["syncPolicy"]["automated"] == {"prune": True}


def test_a_stuck_hook_is_stopped_and_leaves_nothing_running(place: Place) -> None:
    place.push(a=[config_map("a", v="1"), HOOK])
    place.create()
    with pytest.raises(errors.WaitTimeout, match="waiting for completion of hook batch/Job/before"):
        sync.sync(place.platform, place.app, timeout_s=2.0)
    assert sync.stop(place.platform, place.app, **place.options) is True
    seen = place.gitops.app(place.app.name)
    assert seen["status"]["operationState"]["message"] == "Operation terminated" and "operation" not in seen
    assert sync.stop(place.platform, place.app, **place.options) is False


def test_a_comparison_is_asked_for_and_waited_for(place: Place) -> None:
    place.push(a=[config_map("a", v="1")])
    place.create()
    revision = place.push(a=[config_map("a", v="2")])
    assert sync.compare(place.platform, place.app, **place.options).revision == revision
    place.push(b="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [\n")
    with pytest.raises(errors.SyncFailed, match=r'cannot be compared: ComparisonError.*Failed to unmarshal "b.yaml"'):
        sync.compare(place.platform, place.app, **place.options)


def test_what_git_no_longer_has_is_named_and_pruned_only_when_told(place: Place) -> None:
    place.push(a=[config_map("a", v="1")], b=[config_map("b")])
    place.create()
    sync.sync(place.platform, place.app, **place.options)
    place.push(b=None)
    with pytest.raises(errors.SyncFailed, match="1 resources require pruning: ConfigMap/b"):
        sync.sync(place.platform, place.app, **place.options)
    sync.sync(place.platform, place.app, prune=True, **place.options)
    assert place.gitops.find(f"/api/v1/namespaces/{place.app.name}/configmaps/b") is None


def test_the_deployment_is_held_to_the_image_of_the_commit(place: Place) -> None:
    image = "example.org/web@sha256:" + "3" * 64
    labels = {"app.kubernetes.io/name": place.app.name, "app.kubernetes.io/version": "1.0.0"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": place.app.name, "labels": labels}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    place.push(deployment=[deployment])
    place.create()
    sync.sync(place.platform, place.app, **place.options)
    found = sync.deployment(place.platform, place.app)
    assert found is not None and found["spec"]["replicas"] == 0
    assert f"Deployment/{place.app.name}: 0 of 0 updated" in place.said()
    assert sync.state(place.platform, place.app).images == (image,)


def test_an_absent_application_is_looked_for_elsewhere(place: Place) -> None:
    with pytest.raises(errors.NotFound, match=r"absent in namespace argocd.*gitops/bootstrap"):
        argocd.read(place.platform, App("nobody"))
    body = application(place.app.name, place.app.name, metadata={"namespace": place.app.name})
    place.gitops.call("POST", APPS.replace("/argocd/", f"/{place.app.name}/"), body)
    with pytest.raises(errors.NotFound) as caught:
        sync.sync(place.platform, place.app, **place.options)
    assert f"found in {place.app.name}" in str(caught.value)
    assert f'[apps.{place.app.name}] argocd_namespace = "{place.app.name}"' in caught.value.hint
    there = replace(place.app, argocd_namespace=place.app.name)
    assert argocd.read(place.platform, there)["metadata"]["namespace"] == place.app.name


def test_a_closed_window_is_named_with_the_time_it_opens(place: Place) -> None:
    window = {
        "kind": "deny",
        "schedule": "0 0 * * *",
        "duration": "24h",
        "applications": ["*"],
        "description": "freeze",
    }
    spec = {
        "sourceRepos": ["*"],
        "destinations": [{"server": "*", "namespace": "*"}],
        "syncWindows": [window, {"kind": "allow", "schedule": "0 3 1 1 *", "duration": "1h", "applications": ["*"]}],
    }
    body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": place.app.name}}
    place.gitops.call("POST", PROJECTS, {**body, "spec": spec})
    place.push(a=[config_map("a", v="1")])
    place.create(project=place.app.name)
    before = place.gitops.app(place.app.name)
    with pytest.raises(errors.SyncRefused, match=r"deny window '0 0 \* \* \*' for 24h \(UTC\): freeze; .*open"):
        sync.sync(place.platform, place.app, **place.options)
    after = place.gitops.app(place.app.name)
    assert "operation" not in after and after["spec"] == before["spec"]


@pytest.mark.parametrize("place", ["rest"], indirect=True)
def test_without_rights_to_workloads_the_application_alone_is_judged_and_that_is_said(
    place: Place, rest: tuple[str, argoserver.Server]
) -> None:
    place.push(a=[config_map("a", v="1")])
    place.create()
    rest[1].denied.add("tree")
    try:
        sync.sync(place.platform, place.app, **place.options)
    finally:
        rest[1].denied.clear()
    assert "judged without deployments: the token may not read them" in place.said()


@pytest.mark.parametrize("place", ["rest"], indirect=True)
def test_a_read_only_run_changes_nothing_through_argocd_server(
    place: Place, rest: tuple[str, argoserver.Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.push(a=[config_map("a", v="1")])
    place.create(automated={})
    place.gitops.until(place.app.name, lambda app: app["status"]["sync"]["status"] == "Synced")
    place.gitops.until(place.app.name, lambda app: "operation" not in app)
    monkeypatch.setenv("APQX_READ_ONLY", "true")
    rest[1].asked.clear()
    with pytest.raises(errors.GuardRefused, match="read-only"):
        argocd.request_sync(place.platform, place.app)
    with pytest.raises(errors.GuardRefused, match="read-only"):
        argocd.request_refresh(place.platform, place.app)
    with pytest.raises(errors.GuardRefused, match="read-only"):
        argocd.pause_automation(place.platform, place.app)
    assert {line.split(" ")[0] for line in rest[1].asked} == {"GET"}
    assert "operation" not in place.gitops.app(place.app.name)


@pytest.mark.parametrize("place", ["rest"], indirect=True)
def test_a_bad_token_and_an_unknown_authority_are_told_apart(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGO_TEST_REFERENCE", "expired-canary-token")
    with pytest.raises(errors.Forbidden, match=r"401 Unauthenticated.*generate-token") as caught:
        argocd.read(place.platform, place.app)
    assert "canary" not in str(caught.value)
    monkeypatch.delenv("ARGO_TEST_REFERENCE")
    with pytest.raises(errors.InvalidInput, match="argocd_token 'env:ARGO_TEST_REFERENCE' - not found"):
        argocd.read(place.platform, place.app)
    monkeypatch.setenv("ARGO_TEST_REFERENCE", TOKEN)
    with pytest.raises(errors.Unreachable, match="name its authority with argocd_ca"):
        argocd.read(replace(place.platform, argocd_ca=None), place.app)
