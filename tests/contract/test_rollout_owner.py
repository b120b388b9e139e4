"""Whose are the pods of a Deployment that wants none? A Rollout's (add-on argo-rollouts); on recorded answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import replay
from test_argocd_transcripts import git
from test_argocd_transcripts_mistakes import STATUS, recorded  # noqa: F401 - a fixture

from platform_lib import errors, gate, rollout, sync
from platform_lib.model import App, Platform

DEPLOYMENT = "/apis/apps/v1/namespaces/sample-app/deployments/sample-app"
ROLLOUTS = "/apis/argoproj.io/v1alpha1/namespaces/sample-app/rollouts"
POD = "/api/v1/namespaces/sample-app/pods/sample-app-1"
IMAGE = "example.org/web@sha256:" + "1" * 64
START = {"status": STATUS | {"reconciledAt": "$now-5"}}


def nothing_of_its_own() -> dict[str, Any]:
    """A Deployment as the Rollout leaves it: scaled to nothing, and done in its own eyes."""
    containers = [{"name": "sample-app", "image": IMAGE}]
    return {
        "metadata": {"name": "sample-app", "namespace": "sample-app", "generation": 7},
        "spec": {"replicas": 0, "template": {"spec": {"containers": containers}}},
        "status": {"observedGeneration": 7},
    }


def canary(**status: Any) -> dict[str, Any]:
    seen = {"observedGeneration": "3", "workloadObservedGeneration": "7", "stableRS": "new", "currentPodHash": "new"}
    rollout_of = {
        "metadata": {"name": "sample-app", "namespace": "sample-app", "generation": 3},
        "spec": {
            "workloadRef": {"kind": "Deployment", "name": "sample-app"},
            "strategy": {"canary": {"steps": [{}, {}]}},
        },
        "status": seen | status,
    }
    return {"items": [rollout_of], "metadata": {"resourceVersion": "100"}}


def case(**objects: Any) -> dict[str, Any]:
    return {"start": START, "objects": {DEPLOYMENT: nothing_of_its_own(), **objects}}


def wait(place: tuple[Platform, replay.Api], timeout_s: float) -> Any:
    platform, api = place
    head = git(Path(platform.gitops_repo), "rev-parse", "main")
    api.objects[replay.PATH]["status"]["sync"]["revision"] = head
    return sync.wait_synced(platform, App(), revision=head, timeout_s=timeout_s)


@pytest.mark.parametrize("recorded", [case(**{ROLLOUTS: canary(phase="Healthy")})], indirect=True)
def test_a_promoted_rollout_counts(recorded: tuple[Platform, replay.Api]) -> None:  # noqa: F811
    assert wait(recorded, 5).sync_status == "Synced"


UNFINISHED = {
    "on its way": ({"phase": "Paused", "message": "CanaryPauseStep", "stableRS": "old"}, "Paused CanaryPauseStep"),
    "not seen yet": ({"phase": "Healthy", "workloadObservedGeneration": "6"}, "latest change not seen yet"),
    "not promoted": ({"phase": "Healthy", "stableRS": "old"}, "Rollout/sample-app owns the pods of Deployment"),
}


@pytest.mark.parametrize(
    ("recorded", "said"),
    [(case(**{ROLLOUTS: canary(**status)}), said) for status, said in UNFINISHED.values()],
    ids=UNFINISHED,
    indirect=["recorded"],
)
def test_a_canary_on_its_way_is_waited_for(recorded: tuple[Platform, replay.Api], said: str) -> None:  # noqa: F811
    with pytest.raises(errors.WaitTimeout, match=said):
        wait(recorded, 0.5)


ABORTED = {"phase": "Degraded", "message": "RolloutAborted: metric availability failed", "stableRS": "old"}


@pytest.mark.parametrize("recorded", [case(**{ROLLOUTS: canary(**ABORTED)})], indirect=True)
def test_a_canary_that_was_taken_back_fails_the_wait_at_once(recorded: tuple[Platform, replay.Api]) -> None:  # noqa: F811
    with pytest.raises(errors.SyncFailed, match="Rollout/sample-app is Degraded: RolloutAborted: metric availability"):
        wait(recorded, 20)


LABELLED = {"metadata": {"name": "sample-app-1", "labels": {"app.kubernetes.io/name": "sample-app"}}}


@pytest.mark.parametrize("recorded", [case(**{POD: LABELLED})], indirect=True)
def test_pods_of_nobody_that_can_be_seen_are_no_success(recorded: tuple[Platform, replay.Api]) -> None:  # noqa: F811
    with pytest.raises(errors.WaitTimeout, match="1 pods run all the same: somebody else owns them"):
        wait(recorded, 0.5)


@pytest.mark.parametrize("recorded", [case()], indirect=True)
def test_an_application_that_is_scaled_to_nothing_is_reached(recorded: tuple[Platform, replay.Api]) -> None:  # noqa: F811
    assert wait(recorded, 5).desired_replicas == 0


@pytest.mark.parametrize("recorded", [case(**{ROLLOUTS: canary(phase="Healthy")})], indirect=True)
def test_gate_and_observation_refuse_before_anything_changes(recorded: tuple[Platform, replay.Api]) -> None:  # noqa: F811
    platform, api = recorded
    head = git(Path(platform.gitops_repo), "rev-parse", "main")
    said = "Rollout/sample-app owns its pods"
    with pytest.raises(errors.InvalidInput, match=said):
        gate.deploy(platform, App(), image="example.org/web@sha256:" + "2" * 64, version="2.0.0")
    with pytest.raises(errors.InvalidInput, match=said):
        rollout.observe(platform, App(), action=lambda: pytest.fail("the change was made"))
    assert api.writes == [] and git(Path(platform.gitops_repo), "rev-parse", "main") == head
