"""Mistakes around Argo CD on recorded answers: each a clear error, and nothing was written before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import replay
from test_argocd_transcripts import IMAGES, URL, git

from platform_lib import deploy, errors, rollback, sync
from platform_lib.model import App, Platform

SOURCE = {"repoURL": URL, "path": App().path, "targetRevision": "main"}
PROJECT_PATH = "/apis/argoproj.io/v1alpha1/namespaces/argocd/appprojects/default"
CONTROLLER_PATH = "/apis/apps/v1/namespaces/argocd/statefulsets/argocd-application-controller"
OPEN = {"sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}]}
KINDS = {"clusterResourceWhitelist": [{"group": "*", "kind": "*"}]}
STATUS = {"sync": {"status": "Synced", "revision": "a" * 40}, "health": {"status": "Healthy"}}
MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: sample-app}
spec:
  template:
    metadata:
      labels:
        app.kubernetes.io/version: 1.0.0
    spec:
      containers:
        - name: sample-app
          image: example.org/web@sha256:%s
"""


def project(**spec: Any) -> dict[str, Any]:
    return {PROJECT_PATH: {"metadata": {"name": "default"}, "spec": OPEN | KINDS | spec}}


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> Iterator[tuple[Platform, replay.Api]]:
    """A platform whose API gives the recorded answers of a case, with a repository that can be pushed to."""
    monkeypatch.setenv("APQX_HOME", str(tmp_path / "home"))
    bare, tree = tmp_path / "gitops.git", tmp_path / "tree"
    (tree / App().path).mkdir(parents=True)
    (tree / App().deployment_file).write_text(MANIFEST % ("1" * 64))
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(bare))
    git(tmp_path, "init", "-q", "-b", "main", str(tree))
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "Start")
    git(tree, "push", "-q", str(bare), "main")
    values = {"old": "o", "new": "n", "image_old": "", "image_new": "", "source": SOURCE, "sources": [], "names": {}}
    api = replay.Api({"steps": [], **request.param}, values)
    with replay.serving(api) as url:
        path = replay.write_kubeconfig(url, tmp_path)
        yield Platform("c", "k3d", path, "apqx", "", "", str(bare), tmp_path / "home"), api


def do(what: str, platform: Platform) -> None:
    if what == "deploy":
        deploy.deploy(platform, App(), image=IMAGES["new"], version="2.0.0", timeout_s=2.0)
    elif what == "rollback":
        rollback.rollback(platform, App(), timeout_s=2.0)
    else:
        sync.sync(platform, App(), timeout_s=2.0)


SKIPPED = {"metadata": {"annotations": {"argocd.argoproj.io/skip-reconcile": "true"}}, "status": STATUS}
FREEZE = {
    "kind": "deny",
    "schedule": "0 0 * * *",
    "duration": "24h",
    "applications": ["sample-*"],
    "description": "year end",
}
WEEKLY = {"kind": "allow", "schedule": "0 3 1 1 *", "duration": "1h", "namespaces": ["*"]}
TWO = [SOURCE, {"repoURL": "https://example.org/values.git", "path": "."}]
INVALID = {"type": "InvalidSpecError", "message": "application repo u is not permitted in project 'default'"}
ALL = ("sync", "deploy", "rollback")
CASES: dict[str, tuple[dict[str, Any], tuple[str, ...], list[str]]] = {
    "told to leave it alone": ({"start": SKIPPED}, ALL, ["skip-reconcile is true", "kubectl annotate application"]),
    "controller scaled to zero": (
        {"start": {"status": STATUS}, "objects": {CONTROLLER_PATH: {"kind": "StatefulSet", "spec": {"replicas": 0}}}},
        ALL,
        ["StatefulSet/argocd-application-controller is scaled to 0", "--replicas=1"],
    ),
    "automation switched off by somebody else": (
        {"start": {"spec": {"syncPolicy": {"automated": {"enabled": False}}}, "status": STATUS}},
        ("deploy",),
        ["automation was switched off by somebody else", "ask who did"],
    ),
    "window closed": (
        {"start": {"status": STATUS}, "objects": project(syncWindows=[FREEZE])},
        ALL,
        ["deny window '0 0 * * *' for 24h (UTC): year end", "does not open within a year", "manualSync"],
    ),
    "window not open yet": (
        {"start": {"status": STATUS}, "objects": project(syncWindows=[WEEKLY])},
        ALL,
        ["allow window '0 3 1 1 *' for 1h (UTC)", "-01-01 03:00 UTC"],
    ),
    "repository forbidden": (
        {"start": {"status": STATUS}, "objects": project(sourceRepos=["https://example.org/*"])},
        ALL,
        [f"repository {URL} is not permitted in project default", "correct the Application or its AppProject"],
    ),
    "destination forbidden": (
        {"start": {"status": STATUS}, "objects": project(destinations=[{"server": "*", "namespace": "other-*"}])},
        ALL,
        ["namespace 'sample-app', is not permitted in project default"],
    ),
    "kind forbidden": (
        {
            "start": {"status": STATUS | {"resources": [{"kind": "Namespace", "name": "n", "status": "Synced"}]}},
            "objects": project(clusterResourceWhitelist=[]),
        },
        ALL,
        ["kind Namespace is not permitted in project default"],
    ),
    "the controller says so itself": (
        {"start": {"status": STATUS | {"conditions": [INVALID]}}},
        ALL,
        ["InvalidSpecError: application repo u is not permitted in project 'default'"],
    ),
    "several sources": (
        {"start": {"spec": {"source": None, "sources": TWO}, "status": STATUS}},
        ("deploy", "rollback"),
        [f"has 2 sources ({URL}, https://example.org/values.git)", "--method history"],
    ),
    "being deleted": (
        {"start": {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": STATUS}},
        ALL,
        ["is being deleted since 2026-01-01T00:00:00Z", "wait until it is gone"],
    ),
}


@pytest.mark.parametrize(
    ("recorded", "what", "words"),
    [
        pytest.param(script, what, words, id=f"{name}, {what}")
        for name, (script, whats, words) in CASES.items()
        for what in whats
    ],
    indirect=["recorded"],
)
def test_it_is_refused_before_anything_is_written(
    recorded: tuple[Platform, replay.Api], what: str, words: list[str]
) -> None:
    platform, api = recorded
    head = git(Path(platform.gitops_repo), "rev-parse", "main")
    with pytest.raises(errors.SyncRefused) as caught:
        do(what, platform)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.exit_code == errors.EXIT_REFUSED
    assert api.writes == [] and git(Path(platform.gitops_repo), "rev-parse", "main") == head


@pytest.mark.parametrize("recorded", [{"start": {"spec": {"source": None, "sources": TWO}}}], indirect=True)
def test_one_commit_for_several_sources_is_refused(recorded: tuple[Platform, replay.Api]) -> None:
    with pytest.raises(errors.InvalidInput, match="has several sources, one commit was given"):
        sync.sync(recorded[0], App(), revision="main")
    assert recorded[1].writes == []


@pytest.mark.parametrize("recorded", [{"start": {"status": {"history": [{"id": 3, "revision": "a"}]}}}], indirect=True)
@pytest.mark.parametrize(("row", "said"), [(9, "does not have deployment with id 9, it has 3"), (None, "has 1 rows")])
def test_an_unknown_row_is_refused_before_automation_is_paused(
    recorded: tuple[Platform, replay.Api], row: int | None, said: str
) -> None:
    with pytest.raises(errors.RollbackRefused, match=said):
        rollback.to_row(recorded[0], App(), history_id=row)
    assert recorded[1].writes == []


@pytest.mark.parametrize("recorded", [{"objects": {}}], indirect=True)
def test_an_application_of_another_name_in_argo_cd_is_found_by_it(recorded: tuple[Platform, replay.Api]) -> None:
    platform, _ = recorded
    assert sync.state(platform, replace(App(), name="web", application="sample-app")).app == "web"
    with pytest.raises(errors.NotFound, match="Application web - absent"):
        sync.state(platform, replace(App(), name="web"))
