"""Why an Application does not move, read from its status alone; each situation as Argo CD leaves it behind."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from platform_lib.rules import standstill
from platform_lib.rules.manifests import ObjectKey

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
OLD, NEW = "a" * 40, "b" * 40


def application(
    *, automated: Any = None, state: Any = None, sync: str = "OutOfSync", revision: str = NEW, **more: Any
) -> dict[str, Any]:
    policy = {} if automated is None else {"automated": automated}
    status = {"sync": {"status": sync, "revision": revision}, **({"operationState": state} if state else {})}
    meta = {"name": "shop", **more.pop("metadata", {})}
    return {
        "metadata": meta,
        "spec": {"project": "team", "syncPolicy": policy},
        "status": {**status, **more.pop("status", {})},
        **more,
    }


def ended(phase: str = "Succeeded", revision: str = NEW, **more: Any) -> dict[str, Any]:
    times = {"startedAt": "2026-01-01T12:00:00Z", "finishedAt": "2026-01-01T12:00:29Z"}
    return {"phase": phase, "syncResult": {"revision": revision, "resources": more.pop("rows", [])}, **times, **more}


def running(message: str = "", revision: str = NEW, **more: Any) -> dict[str, Any]:
    return {k: v for k, v in ended("Running", revision, message=message, **more).items() if k != "finishedAt"}


RETRY = {**ended("Failed", message="boom"), "phase": "Running", "retryCount": 1}
PAUSED = {"annotations": {"apqx.dev/automation-paused": "2026-01-01T11:00:00+00:00"}}
EXTRA = {"kind": "Service", "name": "old", "status": "OutOfSync", "requiresPruning": True}
FORBIDDEN = {"type": "InvalidSpecError", "message": "application repo x is not permitted in project 'team'"}
SHARED = {"type": "SharedResourceWarning", "message": "Service/a is part of applications shop and other"}
ROW = {
    "kind": "Role",
    "name": "r",
    "status": "SyncFailed",
    "message": "resource x:Role is not permitted in project team",
}


@pytest.mark.parametrize(
    ("found", "what", "detail", "way_out"),
    [
        (application(state=ended()), "automation is off", "no automated policy", "apqx sync"),
        (
            application(automated={"enabled": False}, metadata=PAUSED),
            "automation is off",
            "paused by a rollback",
            "resume",
        ),
        (application(automated={"enabled": False}), "automation is off", "somebody set", "set it back"),
        (
            application(automated={}, state=ended("Failed", message="no")),
            "tried once and failed",
            "bbbbbbb was tried",
            "push",
        ),
        (application(automated={}, state=ended()), "self-heal is off", "cluster changed", "selfHeal"),
        (
            application(automated={"selfHeal": True}, state=ended(operation={"sync": {"autoHealAttemptsCount": 3}})),
            "self-heal backs off",
            "healed 3 times in a row; next try at 12:00:47Z",
            "apqx app diff",
        ),
        (application(automated={}, status={"resources": [EXTRA]}), "only pruning is left", "Service/old", "--prune"),
        (
            application(automated={}, operation={}, state=RETRY),
            "waits to retry",
            "attempt 2 at 12:00:39Z (in 9 s): boom",
            "terminate",
        ),
        (
            application(automated={}, operation={"sync": {}}, state=running("x", OLD)),
            "old revision in the way",
            "works on aaaaaaa while git says bbbbbbb",
            "terminate",
        ),
        (
            application(automated={}, operation={"sync": {}}, state=running("Sync operation blocked by sync window")),
            "sync window",
            "blocked",
            "wait for the window",
        ),
        (
            application(
                automated={}, operation={"sync": {}}, state=running("waiting for pruning confirmation of /Pod/x")
            ),
            "waits for approval",
            "/Pod/x",
            "deletion-approved",
        ),
        (
            application(automated={}, status={"conditions": [FORBIDDEN]}),
            "project forbids it",
            "not permitted",
            "AppProject/team",
        ),
        (
            application(automated={}, state=ended("Failed", rows=[ROW])),
            "project forbids it",
            "Role/r",
            "AppProject/team",
        ),
        (
            application(automated={}, sync="Synced", status={"conditions": [SHARED]}),
            "SharedResourceWarning",
            "other",
            "remove it from one",
        ),
        (
            application(metadata={"deletionTimestamp": "2026-01-01T11:00:00Z", "finalizers": ["f"]}),
            "being deleted",
            "f",
            "tree",
        ),
        (
            application(metadata={"annotations": {"argocd.argoproj.io/skip-reconcile": "true"}}),
            "reconciling is off",
            "skip-reconcile",
            "remove",
        ),
    ],
    ids=[
        "manual",
        "paused-by-us",
        "paused-by-others",
        "attempted-once",
        "no-self-heal",
        "back-off",
        "only-prune",
        "retry",
        "old-revision",
        "window",
        "approval",
        "repo-forbidden",
        "kind-forbidden",
        "shared",
        "deleting",
        "skipped",
    ],
)
def test_each_standstill_is_named_with_its_way_out(found: Any, what: str, detail: str, way_out: str) -> None:
    said = {one.what: one for one in standstill.findings(found, NOW)}
    assert what in said, said
    assert detail in said[what].detail and way_out in said[what].way_out


@pytest.mark.parametrize(
    "found",
    [
        application(automated={"selfHeal": True}, sync="Synced", state=ended()),
        application(automated={}, state=ended("Failed", OLD)),
        application(automated={"selfHeal": True}, state=ended(finishedAt="2026-01-01T11:00:00Z")),
        application(sync="Synced", state=ended()),
    ],
    ids=["well", "a-new-revision-is-tried", "back-off-is-over", "manual-and-in-sync"],
)
def test_what_will_go_on_by_itself_is_no_standstill(found: Any) -> None:
    assert standstill.findings(found, NOW) == []


def test_what_the_caller_knows_is_reported_too() -> None:
    found = standstill.findings(application(sync="Synced"), NOW, paused_parents=["root"], window="deny window")
    assert [(one.what, one.detail) for one in found] == [
        ("sync window", "deny window"),
        ("automation above is off", "root"),
    ]


@pytest.mark.parametrize(
    ("message", "what", "key", "more"),
    [
        ("waiting for completion of hook batch/Job/migrate", "completion of hook", ("batch", "Job", "migrate"), 0),
        (
            "waiting for healthy state of apps/Deployment/web and 2 more resources",
            "healthy state of",
            ("apps", "Deployment", "web"),
            2,
        ),
        ("waiting for deletion of hook /Pod/x and 1 more hooks", "deletion of hook", ("", "Pod", "x"), 1),
        ("waiting for deletion of /Service/old", "deletion of", ("", "Service", "old"), 0),
        ("waiting for pruning confirmation of /Pod/my-pod", "pruning confirmation of", ("", "Pod", "my-pod"), 0),
    ],
)
def test_the_progress_message_names_the_object(message: str, what: str, key: tuple[str, ...], more: int) -> None:
    assert standstill.waiting_for(message) == (what, ObjectKey(key[0], key[1], "", key[2]), more)


@pytest.mark.parametrize("message", ["", "one or more tasks are running", "successfully synced (all tasks run)"])
def test_a_message_without_an_object_names_none(message: str) -> None:
    assert standstill.waiting_for(message) is None


def test_rows_that_may_still_be_waited_for_come_hooks_first() -> None:
    rows = [
        {"group": "apps", "version": "v1", "kind": "Deployment", "name": "web", "hookPhase": "Running"},
        {"version": "v1", "kind": "ConfigMap", "name": "done", "hookPhase": "Succeeded"},
        {"group": "batch", "version": "v1", "kind": "Job", "name": "m", "hookType": "PreSync", "hookPhase": "Running"},
    ]
    found = standstill.unfinished(application(state=running(rows=rows)))
    assert [(str(key), version) for key, version, _ in found] == [
        ("batch/Job/m", "batch/v1"),
        ("apps/Deployment/web", "apps/v1"),
    ]
