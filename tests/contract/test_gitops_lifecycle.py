"""Applications come, change, refresh and go; projects limit them; the controller survives being killed."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gitopsprocess import APPS, MERGE, PROJECTS, URL, Gitops, application, config_map, running, synced

REFRESH = "argocd.argoproj.io/refresh"
CASCADE = "resources-finalizer.argocd.argoproj.io"


@pytest.fixture(scope="module")
def gitops(tmp_path_factory: pytest.TempPathFactory, schema_cache: Path) -> Iterator[Gitops]:
    with running(tmp_path_factory.mktemp("gitops"), schema_cache) as started:
        yield started


@pytest.fixture
def name() -> str:
    return f"t-{uuid.uuid4().hex[:6]}"


def maps(name: str) -> str:
    return f"/api/v1/namespaces/{name}/configmaps"


def namespaced(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def ready(gitops: Gitops, name: str, **app: Any) -> str:
    revision = gitops.push({f"{name}/ns.yaml": [namespaced(name)], f"{name}/a.yaml": [config_map("a")]})
    gitops.create(application(name, name, automated={"prune": True, "selfHeal": True}, **app))
    gitops.until(name, lambda app: synced(app, revision))
    return revision


def test_a_refresh_is_answered_by_removing_the_annotation(gitops: Gitops, name: str) -> None:
    ready(gitops, name)
    floor = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    gitops.patch(name, {"metadata": {"annotations": {REFRESH: "normal"}}})
    app = gitops.until(name, lambda app: REFRESH not in app["metadata"].get("annotations", {}))
    assert app["status"]["reconciledAt"] >= floor


def test_deleting_with_the_finalizer_takes_the_objects_along(gitops: Gitops, name: str) -> None:
    ready(gitops, name, metadata={"finalizers": [CASCADE]})
    gitops.call("DELETE", f"{APPS}/{name}")
    gitops.eventually(lambda: gitops.find(f"{APPS}/{name}") is None)
    assert gitops.find(f"{maps(name)}/a") is None
    gitops.eventually(lambda: gitops.find(f"/api/v1/namespaces/{name}") is None)


def test_deleting_without_the_finalizer_leaves_the_objects(gitops: Gitops, name: str) -> None:
    ready(gitops, name)
    gitops.call("DELETE", f"{APPS}/{name}")
    gitops.eventually(lambda: gitops.find(f"{APPS}/{name}") is None)
    assert gitops.find(f"{maps(name)}/a")


def test_the_namespace_is_made_when_asked(gitops: Gitops, name: str) -> None:
    revision = gitops.push({f"{name}/a.yaml": [config_map("a")]})
    gitops.create(application(name, name, automated={}, syncPolicy={"syncOptions": ["CreateNamespace=true"]}))
    app = gitops.until(name, lambda app: synced(app, revision))
    made = gitops.find(f"/api/v1/namespaces/{name}")
    assert "argocd.argoproj.io/tracking-id" not in made["metadata"].get("annotations", {})
    assert [row["kind"] for row in app["status"]["resources"]] == ["ConfigMap"]
    rows = app["status"]["operationState"]["syncResult"]["resources"]
    assert [(row["kind"], row["hookPhase"]) for row in rows] == [("Namespace", "Running"), ("ConfigMap", "Running")]


def test_an_application_of_applications_follows_to_the_end(gitops: Gitops, name: str) -> None:
    child = application(f"{name}-child", name, path=f"{name}/child", automated={})
    gitops.push({f"{name}/root/child.yaml": [child], f"{name}/child/a.yaml": [namespaced(name), config_map("a")]})
    gitops.create(application(name, "argocd", path=f"{name}/root", automated={}))
    gitops.eventually(lambda: gitops.find(f"{maps(name)}/a"))
    app = gitops.until(name, lambda app: app["status"]["health"]["status"] == "Healthy")
    assert app["status"]["resources"][0]["kind"] == "Application"


def test_a_missing_project_is_a_spec_error(gitops: Gitops, name: str) -> None:
    gitops.push({f"{name}/a.yaml": [config_map("a")]})
    gitops.create(application(name, name, project="nobody"))
    app = gitops.until(name, lambda app: app["status"].get("conditions"))
    assert app["status"]["conditions"][0]["type"] == "InvalidSpecError"
    assert (app["status"]["sync"]["status"], app["status"]["health"]["status"]) == ("Unknown", "Unknown")
    assert "reconciledAt" not in app["status"]
    gitops.sync(name)
    app = gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Error")
    text = 'error getting app project "nobody": appproject.argoproj.io "nobody" not found'
    assert app["status"]["operationState"]["message"] == f"Failed to load application project: {text}"


def test_a_project_limits_kinds_and_namespaces(gitops: Gitops, name: str) -> None:
    spec = {
        "sourceRepos": [URL],
        "destinations": [{"server": "*", "namespace": name}],
        "namespaceResourceWhitelist": [{"group": "", "kind": "ConfigMap"}],
    }
    body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": name}, "spec": spec}
    gitops.call("POST", PROJECTS, body)
    gitops.call("POST", "/api/v1/namespaces", namespaced(name))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    gitops.push({f"{name}/a.yaml": [config_map("a"), secret]})
    gitops.create(application(name, name, project=name, automated={}, syncPolicy={"retry": {"limit": 0}}))
    app = gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Failed")
    assert f"resource :Secret is not permitted in project {name}" in app["status"]["operationState"]["message"]
    assert gitops.find(f"{maps(name)}/a") is None
    gitops.push({f"{name}/a.yaml": [config_map("a")]})
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "Synced")


def test_a_deny_window_blocks_and_its_end_releases(gitops: Gitops, name: str) -> None:
    window = {"kind": "deny", "schedule": "* * * * *", "duration": "1h", "applications": ["*"]}
    spec: dict[str, Any] = {
        "sourceRepos": ["*"],
        "destinations": [{"server": "*", "namespace": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    }
    body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": name}}
    gitops.call("POST", PROJECTS, {**body, "spec": spec | {"syncWindows": [window]}})
    gitops.push({f"{name}/a.yaml": [namespaced(name), config_map("a")]})
    gitops.create(application(name, name, project=name, automated={}))
    app = gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    assert "operationState" not in app["status"]  # automation does not even ask
    gitops.sync(name)
    app = gitops.until(name, lambda app: app["status"]["operationState"].get("message"))
    assert app["status"]["operationState"]["message"] == "Sync operation blocked by sync window"
    assert app["status"]["operationState"]["phase"] == "Running"
    gitops.call("PATCH", f"{PROJECTS}/{name}", {"spec": {"syncWindows": None}}, content_type=MERGE)
    gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Succeeded")


def test_a_foreign_repository_is_refused_with_its_name(gitops: Gitops, name: str) -> None:
    app = application(name, name)
    app["spec"]["source"]["repoURL"] = "https://example.org/other.git"
    gitops.create(app)
    app = gitops.until(name, lambda app: app["status"].get("conditions"))
    assert "repository https://example.org/other.git is not served" in app["status"]["conditions"][0]["message"]


def test_a_skipped_application_is_left_alone(gitops: Gitops, name: str) -> None:
    gitops.push({f"{name}/a.yaml": [namespaced(name), config_map("a")]})
    skip = {"annotations": {"argocd.argoproj.io/skip-reconcile": "true"}}
    gitops.create(application(name, name, automated={}, metadata=skip))
    ready(gitops, f"{name}-other")
    assert "status" not in gitops.app(name)
    gitops.patch(name, {"metadata": {"annotations": None}})
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "Synced")


def test_ignored_fields_are_neither_drift_nor_written(gitops: Gitops, name: str) -> None:
    rule = {"group": "", "kind": "ConfigMap", "jsonPointers": ["/data/v"]}
    gitops.push({f"{name}/a.yaml": [namespaced(name), config_map("a", v="git", w="1")]})
    gitops.create(
        application(
            name,
            name,
            automated={"selfHeal": True},
            ignoreDifferences=[rule],
            syncPolicy={"syncOptions": ["RespectIgnoreDifferences=true"]},
        )
    )
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "Synced")
    gitops.call("PATCH", f"{maps(name)}/a", {"data": {"v": "scaled"}}, content_type=MERGE)
    revision = gitops.push({f"{name}/a.yaml": [namespaced(name), config_map("a", v="git", w="2")]})
    gitops.until(name, lambda app: synced(app, revision))
    assert gitops.call("GET", f"{maps(name)}/a")["data"] == {"v": "scaled", "w": "2"}


def test_an_update_of_status_alone_is_no_drift(gitops: Gitops, name: str) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [{"name": "c", "image": "x@sha256:" + "0" * 64, "ports": [{"containerPort": 80}]}]
                },
            },
        },
    }
    revision = gitops.push({f"{name}/a.yaml": [namespaced(name), deployment]})
    gitops.create(application(name, name, automated={"selfHeal": True}))
    app = gitops.until(name, lambda app: synced(app, revision))
    assert app["status"]["health"]["status"] == "Progressing"
    assert app["status"]["summary"]["images"] == ["x@sha256:" + "0" * 64]
    time.sleep(0.5)
    app = gitops.app(name)
    assert app["status"]["sync"]["status"] == "Synced"
    assert "autoHealAttemptsCount" not in app["status"]["operationState"]["operation"]["sync"]


def test_events_tell_the_story(gitops: Gitops, name: str) -> None:
    revision = ready(gitops, name)

    def reasons() -> set[tuple[str, str]]:
        events = gitops.call("GET", "/api/v1/namespaces/argocd/events")["items"]
        return {(e["reason"], e["message"]) for e in events if e["involvedObject"]["name"] == name}

    wanted = {
        ("OperationStarted", f"Initiated automated sync to '{revision}'"),
        ("OperationCompleted", f"Sync operation to {revision} succeeded"),
        ("ResourceUpdated", "Updated sync status: OutOfSync -> Synced"),
    }
    gitops.eventually(lambda: wanted <= reasons())


def test_a_killed_controller_goes_on_where_it_was(gitops: Gitops, name: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "gate", "annotations": {"argocd.argoproj.io/sync-wave": "-1"}},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": "x"}},
    }
    revision = gitops.push({f"{name}/a.yaml": [namespaced(name), service, config_map("a", wave=1)]})
    gitops.create(application(name, name, automated={}))
    app = gitops.until(name, lambda app: "Service/gate" in app["status"]["operationState"].get("message", ""))
    started = app["status"]["operationState"]["startedAt"]
    gitops.stop(signal.SIGKILL)
    gitops.start()
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}}
    gitops.call("PATCH", f"/api/v1/namespaces/{name}/services/gate/status", status, content_type=MERGE)
    app = gitops.until(name, lambda app: synced(app, revision))
    assert app["status"]["operationState"]["startedAt"] == started
    assert len(app["status"]["history"]) == 1


def test_an_api_that_comes_back_is_followed_again(gitops: Gitops, name: str) -> None:
    ready(gitops, name)
    gitops.api.kill()
    gitops.api.start()
    revision = gitops.push({f"{name}/b.yaml": [config_map("b")]})
    gitops.until(name, lambda app: synced(app, revision))
    assert gitops.find(f"{maps(name)}/b")


def test_it_stops_in_order(gitops: Gitops) -> None:
    began = time.monotonic()
    assert gitops.stop() == 0
    assert time.monotonic() - began < 2
    assert "Traceback" not in gitops.log()
    gitops.start()
