"""An Application and its repository: what a client sees when it drives the GitOps controller."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from gitopsprocess import APPS, MERGE, Gitops, application, config_map, running, synced


@pytest.fixture(scope="module")
def gitops(tmp_path_factory: pytest.TempPathFactory, schema_cache: Path) -> Iterator[Gitops]:
    with running(tmp_path_factory.mktemp("gitops"), schema_cache) as started:
        yield started


@pytest.fixture
def name(gitops: Gitops) -> Iterator[str]:
    """A name for an Application, its folder and its namespace (which exists)."""
    name = f"t-{uuid.uuid4().hex[:6]}"
    gitops.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    if gitops.find(f"{APPS}/{name}"):
        gitops.api.call("PATCH", f"{APPS}/{name}", {"metadata": {"finalizers": None}}, content_type=MERGE)
        gitops.api.call("DELETE", f"{APPS}/{name}")


def maps(name: str) -> str:
    return f"/api/v1/namespaces/{name}/configmaps"


def test_a_push_reaches_the_cluster_by_itself(gitops: Gitops, name: str) -> None:
    first = gitops.push({f"{name}/a.yaml": [config_map("a", v="1")]})
    gitops.create(application(name, name, automated={}))
    app = gitops.until(name, lambda app: synced(app, first))
    assert app["status"]["health"]["status"] == "Healthy"
    assert app["status"]["resources"] == [
        {"kind": "ConfigMap", "name": "a", "namespace": name, "status": "Synced", "version": "v1"}
    ]
    second = gitops.push({f"{name}/a.yaml": [config_map("a", v="2")]})
    began = time.monotonic()
    gitops.eventually(lambda: gitops.call("GET", f"{maps(name)}/a")["data"]["v"] == "2")
    assert time.monotonic() - began < 5
    app = gitops.until(name, lambda app: synced(app, second))
    assert [row["revision"] for row in app["status"]["history"]] == [first, second]
    assert [row["id"] for row in app["status"]["history"]] == [0, 1]
    assert app["status"]["history"][1]["initiatedBy"] == {"automated": True}
    (row,) = app["status"]["operationState"]["syncResult"]["resources"]
    assert (row["status"], row["hookPhase"], row["syncPhase"]) == ("Synced", "Running", "Sync")
    assert app["status"]["operationState"]["message"] == "successfully synced (all tasks run)"


def test_without_automation_nothing_happens_until_asked(gitops: Gitops, name: str) -> None:
    revision = gitops.push({f"{name}/a.yaml": [config_map("a")]})
    gitops.create(application(name, name))
    app = gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    assert app["status"]["health"]["status"] == "Missing"
    assert "operationState" not in app["status"]
    gitops.sync(name)
    app = gitops.until(name, lambda app: synced(app, revision))
    state = app["status"]["operationState"]
    assert state["syncResult"]["revision"] == revision
    assert state["operation"]["initiatedBy"] == {"username": "test"}


def test_removed_objects_stay_until_pruning_is_asked_for(gitops: Gitops, name: str) -> None:
    gitops.push({f"{name}/a.yaml": [config_map("a")], f"{name}/b.yaml": [config_map("b")]})
    gitops.create(application(name, name))
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    gitops.sync(name)
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "Synced")
    gitops.push({f"{name}/b.yaml": None})
    app = gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    assert [row["name"] for row in app["status"]["resources"] if row.get("requiresPruning")] == ["b"]
    gitops.sync(name)
    app = gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Succeeded")
    rows = {row["name"]: row for row in app["status"]["operationState"]["syncResult"]["resources"]}
    assert (rows["b"]["status"], rows["b"]["message"]) == ("PruneSkipped", "ignored (requires pruning)")
    assert gitops.find(f"{maps(name)}/b")
    gitops.until(name, lambda app: "operation" not in app)
    gitops.sync(name, prune=True)
    app = gitops.until(name, lambda app: app["status"]["sync"]["status"] == "Synced" and "operation" not in app)
    rows = {row["name"]: row for row in app["status"]["operationState"]["syncResult"]["resources"]}
    assert (rows["b"]["status"], rows["b"]["message"]) == ("Pruned", "pruned")
    assert gitops.find(f"{maps(name)}/b") is None


def test_automation_never_wipes_everything_out(gitops: Gitops, name: str) -> None:
    revision = gitops.push({f"{name}/a.yaml": [config_map("a")]})
    gitops.create(application(name, name, automated={"prune": True}))
    gitops.until(name, lambda app: synced(app, revision))
    empty = gitops.push({f"{name}/a.yaml": None, f"{name}/notes.txt": "no manifest\n"})
    app = gitops.until(name, lambda app: app["status"].get("conditions"))
    (condition,) = app["status"]["conditions"]
    assert condition["type"] == "SyncError"
    assert condition["message"] == f"Skipping sync attempt to [{empty}]: auto-sync will wipe out all resources"
    assert gitops.find(f"{maps(name)}/a")


def test_drift_is_healed_without_a_history_row(gitops: Gitops, name: str) -> None:
    revision = gitops.push({f"{name}/a.yaml": [config_map("a", v="git")], f"{name}/b.yaml": [config_map("b")]})
    gitops.create(application(name, name, automated={"selfHeal": True}))
    gitops.until(name, lambda app: synced(app, revision))
    gitops.call("PATCH", f"{maps(name)}/a?fieldManager=kubectl-edit", {"data": {"v": "hand"}}, content_type=MERGE)
    gitops.eventually(lambda: gitops.call("GET", f"{maps(name)}/a")["data"]["v"] == "git")
    app = gitops.until(name, lambda app: synced(app, revision))
    sync = app["status"]["operationState"]["operation"]["sync"]
    assert sync["autoHealAttemptsCount"] == 1
    assert sync["resources"] == [{"kind": "ConfigMap", "name": "a"}]
    assert len(app["status"]["history"]) == 1


def test_drift_is_only_reported_without_self_heal(gitops: Gitops, name: str) -> None:
    revision = gitops.push({f"{name}/a.yaml": [config_map("a", v="git")]})
    gitops.create(application(name, name, automated={}))
    gitops.until(name, lambda app: synced(app, revision))
    gitops.call("DELETE", f"{maps(name)}/a")
    app = gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    assert app["status"]["health"]["status"] == "Missing"
    assert gitops.find(f"{maps(name)}/a") is None


def test_waves_apply_in_order_and_wait(gitops: Gitops, name: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "first", "annotations": {"argocd.argoproj.io/sync-wave": "-1"}},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": "x"}},
    }
    gitops.push({f"{name}/a.yaml": [config_map("second", wave=1), service]})
    gitops.create(application(name, name))
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    gitops.sync(name)
    app = gitops.until(
        name, lambda app: "healthy state of /Service/first" in app["status"]["operationState"]["message"]
    )
    assert app["status"]["operationState"]["phase"] == "Running"
    assert gitops.find(f"{maps(name)}/second") is None
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}}
    gitops.call("PATCH", f"/api/v1/namespaces/{name}/services/first/status", status, content_type=MERGE)
    gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Succeeded")
    assert gitops.find(f"{maps(name)}/second")


def test_a_manifest_that_cannot_be_read_is_reported_and_nothing_changes(gitops: Gitops, name: str) -> None:
    good = gitops.push({f"{name}/a.yaml": [config_map("a", v="1")]})
    gitops.create(application(name, name, automated={"prune": True, "selfHeal": True}))
    gitops.until(name, lambda app: synced(app, good))
    gitops.push({f"{name}/b.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [\n"})
    app = gitops.until(name, lambda app: app["status"].get("conditions"))
    assert app["status"]["sync"]["status"] == "Unknown"
    (condition,) = app["status"]["conditions"]
    assert condition["type"] == "ComparisonError"
    assert condition["message"].startswith("Failed to load target state: ")
    assert 'Failed to unmarshal "b.yaml"' in condition["message"]
    assert gitops.call("GET", f"{maps(name)}/a")["data"]["v"] == "1"
    fixed = gitops.push({f"{name}/b.yaml": [config_map("b")]})
    app = gitops.until(name, lambda app: synced(app, fixed))
    assert "conditions" not in app["status"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (config_map("b", api="example.org/v1", kind="Nonsense"), "one or more synchronization tasks are not valid"),
        (config_map("b") | {"metadata": {"name": "b", "namespace": "no-such-namespace"}}, "(dry run)"),
        (config_map("b") | {"data": {"v": 5}}, "(dry run)"),
        (config_map("Not_A_Name"), "(dry run)"),
    ],
    ids=["unknown kind", "missing namespace", "wrong type", "wrong name"],
)
def test_a_bad_object_stops_everything_before_anything_is_applied(
    gitops: Gitops, name: str, bad: dict[str, Any], said: str
) -> None:
    good = gitops.push({f"{name}/a.yaml": [config_map("a", v="1")]})
    gitops.create(application(name, name, automated={}, syncPolicy={"retry": {"limit": 0}}))
    gitops.until(name, lambda app: synced(app, good))
    revision = gitops.push({f"{name}/a.yaml": [config_map("a", v="2")], f"{name}/b.yaml": [bad]})
    app = gitops.until(name, lambda app: app["status"].get("conditions"))
    state = app["status"]["operationState"]
    assert (state["phase"], app.get("operation")) == ("Failed", None)
    assert said in state["message"]
    assert app["status"]["conditions"][0]["message"].startswith(f"Failed last sync attempt to [{revision}]: ")
    assert gitops.call("GET", f"{maps(name)}/a")["data"]["v"] == "1"
    assert [row["status"] for row in state["syncResult"]["resources"]] == ["SyncFailed"]


def test_repeated_objects_are_warned_about_and_the_last_wins(gitops: Gitops, name: str) -> None:
    gitops.push({f"{name}/a.yaml": [config_map("a", v="1")], f"{name}/b.yaml": [config_map("a", v="2")]})
    gitops.create(application(name, name, automated={}))
    gitops.eventually(lambda: (gitops.find(f"{maps(name)}/a") or {}).get("data") == {"v": "2"})
    app = gitops.until(name, lambda app: app["status"].get("conditions"))
    (condition,) = app["status"]["conditions"]
    assert condition["type"] == "RepeatedResourceWarning"
    assert condition["message"] == f"Resource /ConfigMap/{name}/a appeared 2 times among application resources."


def test_a_failed_sync_is_retried_as_often_as_asked(gitops: Gitops, name: str) -> None:
    gitops.push({f"{name}/a.yaml": [config_map("a") | {"data": {"v": 5}}]})
    gitops.create(application(name, name))
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    gitops.sync(name, retry={"limit": 1, "backoff": {"duration": "1s", "factor": 1}})
    app = gitops.until(name, lambda app: app["status"]["operationState"].get("retryCount") == 1)
    state = app["status"]["operationState"]
    assert state["phase"] == "Running"
    assert "finishedAt" in state
    assert ". Retrying attempt #1 at " in state["message"]
    app = gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Failed")
    assert app["status"]["operationState"]["message"].endswith(" (retried 1 times).")
    assert "operation" not in app


def test_a_running_sync_can_be_terminated(gitops: Gitops, name: str) -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "before", "annotations": {"argocd.argoproj.io/hook": "PreSync"}},
        "spec": {
            "template": {
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x@sha256:" + "0" * 64}]}
            }
        },
    }
    gitops.push({f"{name}/a.yaml": [config_map("a"), job]})
    gitops.create(application(name, name))
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    gitops.sync(name)
    waiting = "waiting for completion of hook batch/Job/before"
    gitops.until(name, lambda app: app["status"]["operationState"]["message"] == waiting)
    hook = gitops.call("GET", f"/apis/batch/v1/namespaces/{name}/jobs/before")
    assert "argocd.argoproj.io/hook-finalizer" in hook["metadata"]["finalizers"]
    gitops.guarded(name, {"status": {"operationState": {"phase": "Terminating"}}})
    app = gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Failed")
    assert app["status"]["operationState"]["message"] == "Operation terminated"
    (row,) = app["status"]["operationState"]["syncResult"]["resources"]
    assert (row["hookPhase"], row["message"], row["hookType"]) == ("Failed", "Terminated", "PreSync")
    gitops.eventually(lambda: gitops.find(f"/apis/batch/v1/namespaces/{name}/jobs/before") is None)
    assert gitops.find(f"{maps(name)}/a") is None


def test_rollback_is_a_sync_to_an_old_row_and_leaves_the_spec(gitops: Gitops, name: str) -> None:
    old = gitops.push({f"{name}/a.yaml": [config_map("a", v="old")]})
    gitops.create(application(name, name))
    for _ in range(2):
        gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync" and "operation" not in app)
        gitops.sync(name)
        gitops.until(name, lambda app: app["status"]["sync"]["status"] == "Synced" and "operation" not in app)
        new = gitops.push({f"{name}/a.yaml": [config_map("a", v="new")]})
    row = gitops.app(name)["status"]["history"][0]
    assert row["revision"] == old
    gitops.until(name, lambda app: app["status"]["sync"]["revision"] == new)
    gitops.sync(name, revision=row["revision"], source=row["source"], syncStrategy={"apply": {}})
    app = gitops.until(name, lambda app: len(app["status"]["history"]) == 3 and "operation" not in app)
    assert app["status"]["history"][2]["revision"] == old
    assert gitops.call("GET", f"{maps(name)}/a")["data"]["v"] == "old"
    app = gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    assert app["status"]["sync"]["revision"] == new


def test_a_dry_run_records_and_changes_nothing(gitops: Gitops, name: str) -> None:
    gitops.push({f"{name}/a.yaml": [config_map("a"), config_map("b", wave=1)]})
    gitops.create(application(name, name))
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    gitops.sync(name, dryRun=True)
    app = gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Succeeded")
    assert len(app["status"]["operationState"]["syncResult"]["resources"]) == 2
    assert "history" not in app["status"]
    assert gitops.find(f"{maps(name)}/a") is None


def test_a_partial_sync_touches_only_what_is_named(gitops: Gitops, name: str) -> None:
    gitops.push({f"{name}/a.yaml": [config_map("a"), config_map("b")]})
    gitops.create(application(name, name))
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    gitops.sync(name, resources=[{"kind": "ConfigMap", "name": "b"}])
    app = gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Succeeded")
    assert "history" not in app["status"]
    assert gitops.find(f"{maps(name)}/a") is None
    assert gitops.find(f"{maps(name)}/b")


def hook(name: str, phase: str, policy: str = "", **data: str) -> dict[str, Any]:
    found = config_map(name, **data)
    found["metadata"]["annotations"] = {"argocd.argoproj.io/hook": phase} | (
        {"argocd.argoproj.io/hook-delete-policy": policy} if policy else {}
    )
    return found


def test_hooks_run_around_the_sync_and_do_not_count_as_drift(gitops: Gitops, name: str) -> None:
    before, after = hook("before", "PreSync"), hook("after", "PostSync", "HookSucceeded")
    before["metadata"]["generateName"] = before["metadata"].pop("name")
    revision = gitops.push({f"{name}/a.yaml": [config_map("a"), before, after, hook("never", "Skip")]})
    gitops.create(application(name, name))
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    gitops.sync(name)
    app = gitops.until(name, lambda app: synced(app, revision))
    rows = app["status"]["operationState"]["syncResult"]["resources"]
    assert [(row["syncPhase"], row.get("hookType"), row["hookPhase"]) for row in rows] == [
        ("PreSync", "PreSync", "Succeeded"),
        ("Sync", None, "Succeeded"),
        ("PostSync", "PostSync", "Succeeded"),
    ]
    assert rows[0]["name"].startswith(f"before{revision[:7]}-presync-")
    left = {item["metadata"]["name"]: item for item in gitops.call("GET", maps(name))["items"]}
    assert set(left) == {"a", rows[0]["name"], "kube-root-ca.crt"} - ({"kube-root-ca.crt"} - set(left))
    assert "finalizers" not in left[rows[0]["name"]]["metadata"]


def test_a_hook_is_made_anew_for_each_sync(gitops: Gitops, name: str) -> None:
    gitops.push({f"{name}/a.yaml": [config_map("a"), hook("before", "PreSync")]})
    gitops.create(application(name, name))
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    uids = set()
    for _ in range(2):
        gitops.until(name, lambda app: "operation" not in app)
        gitops.sync(name)
        gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Succeeded")
        uids.add(gitops.call("GET", f"{maps(name)}/before")["metadata"]["uid"])
    assert len(uids) == 2


def test_a_failed_apply_runs_the_sync_fail_hooks(gitops: Gitops, name: str) -> None:
    gitops.push({f"{name}/a.yaml": [config_map("a", v="1") | {"immutable": True}]})
    gitops.create(application(name, name))
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    gitops.sync(name)
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "Synced" and "operation" not in app)
    late = config_map("b", wave=1)
    late["metadata"]["namespace"] = f"{name}-late"
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{name}-late"}}
    bad = late | {"data": {"v": 5}}  # the rehearsal cannot see it: its namespace comes with this very sync
    gitops.push({f"{name}/b.yaml": [made, bad, hook("alarm", "SyncFail")]})
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    gitops.sync(name)
    app = gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Failed")
    message = app["status"]["operationState"]["message"]
    assert message.startswith("one or more synchronization tasks completed unsuccessfully, reason: ")
    assert gitops.find(f"{maps(name)}/alarm")


def test_force_replaces_what_cannot_be_changed(gitops: Gitops, name: str) -> None:
    deployment: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "one"}},
            "template": {
                "metadata": {"labels": {"app": "one"}},
                "spec": {"containers": [{"name": "c", "image": "x@sha256:" + "0" * 64}]},
            },
        },
    }
    gitops.push({f"{name}/a.yaml": [deployment]})
    gitops.create(application(name, name))
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    gitops.sync(name)
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "Synced" and "operation" not in app)
    path = f"/apis/apps/v1/namespaces/{name}/deployments/web"
    before = gitops.call("GET", path)["metadata"]["uid"]
    deployment["spec"]["selector"] = {"matchLabels": {"app": "two"}}
    deployment["spec"]["template"]["metadata"]["labels"] = {"app": "two"}
    gitops.push({f"{name}/a.yaml": [deployment]})
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    gitops.sync(name)
    app = gitops.until(
        name, lambda app: app["status"]["operationState"]["phase"] == "Failed" and "operation" not in app
    )
    assert "field is immutable" in app["status"]["operationState"]["message"]
    gitops.sync(name, syncStrategy={"hook": {"force": True}})
    gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Succeeded")
    assert gitops.call("GET", path)["metadata"]["uid"] != before


def test_prune_false_keeps_an_object_and_the_drift(gitops: Gitops, name: str) -> None:
    kept = config_map("kept")
    kept["metadata"]["annotations"] = {"argocd.argoproj.io/sync-options": "Prune=false"}
    gitops.push({f"{name}/a.yaml": [config_map("a")], f"{name}/k.yaml": [kept]})
    gitops.create(application(name, name, automated={"prune": True}))
    gitops.until(name, lambda app: app["status"]["sync"]["status"] == "Synced")
    revision = gitops.push({f"{name}/k.yaml": None})
    app = gitops.until(name, lambda app: app["status"]["operationState"]["syncResult"]["revision"] == revision)
    app = gitops.until(name, lambda app: app["status"]["operationState"]["phase"] == "Succeeded")
    rows = {row["name"]: row["message"] for row in app["status"]["operationState"]["syncResult"]["resources"]}
    assert rows["kept"] == "ignored (no prune)"
    app = gitops.until(name, lambda app: "operation" not in app)
    assert app["status"]["sync"]["status"] == "OutOfSync"


def test_a_watcher_sees_the_life_of_an_operation(gitops: Gitops, name: str) -> None:
    revision = gitops.push({f"{name}/a.yaml": [config_map("a"), config_map("b", wave=1)]})
    gitops.create(application(name, name))
    app = gitops.until(name, lambda app: app["status"]["sync"]["status"] == "OutOfSync")
    version = app["metadata"]["resourceVersion"]
    gitops.sync(name)
    gitops.until(name, lambda app: synced(app, revision))
    query = f"watch=true&resourceVersion={version}&fieldSelector=metadata.name={name}&timeoutSeconds=1"
    answer = gitops.api.call("GET", f"{APPS}?{query}")
    seen = [shape(orjson.loads(line)["object"]) for line in answer.body.splitlines()]
    assert [step for index, step in enumerate(seen) if index == 0 or seen[index - 1] != step] == [
        ("requested", "", "", 0, "OutOfSync"),
        ("requested", "Running", "", 0, "OutOfSync"),
        ("requested", "Running", "waiting for healthy state of /ConfigMap/b", 0, "OutOfSync"),
        ("requested", "Running", "waiting for healthy state of /ConfigMap/b", 1, "OutOfSync"),
        ("", "Succeeded", "successfully synced (all tasks run)", 1, "OutOfSync"),
        ("", "Succeeded", "successfully synced (all tasks run)", 1, "Synced"),
    ]


def shape(app: dict[str, Any]) -> tuple[str, str, str, int, str]:
    """What of an Application tells the stages of an operation apart."""
    status = app["status"]
    state = status.get("operationState", {})
    requested = "requested" if "operation" in app else ""
    history = len(status.get("history", []))
    return requested, state.get("phase", ""), state.get("message", ""), history, status["sync"]["status"]
