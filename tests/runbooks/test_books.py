"""Every runbook, run by the real runner on a real platform; what a person would look at afterwards."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from platform_lib import App, cluster, runbook, sync
from platform_lib.evidence import verify_manifest
from platform_lib.parameters import MODELS
from platform_lib.wire import kube

pytestmark = [pytest.mark.platform, pytest.mark.slow]
QUICK = {"rate_rps": 60.0}


def act(name: str, **parameters: Any) -> runbook.RunResult:
    result = runbook.run(name, {"dry_run": False, **parameters})
    assert verify_manifest(result.folder) == []
    return result


def passed(result: runbook.RunResult) -> dict[str, Any]:
    assert result.ok, f"{result.error} see {result.folder}"
    page = result.report.read_text()
    assert not re.search(r"(src|href)=[\"']https?://", page), "a report must open without a network"
    saved: dict[str, Any] = json.loads((result.folder / "result.json").read_text())
    assert saved["status"] == "passed" and saved["key_figure"]
    return saved["figures"]


def head(live: dict[str, str]) -> str:
    repository = Path(live["APQX_HOME"]) / "git" / "gitops.git"
    done = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "main"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def specs() -> dict[str, Any]:
    connection = kube.connect(cluster.connect())
    found = {}
    for gvr in (kube.DEPLOYMENTS, "v1/services", "networking.k8s.io/v1/ingresses", kube.APPLICATIONS):
        for obj in connection.list(gvr)[0]:
            spec = {key: value for key, value in obj["spec"].items() if key != "replicas"}
            found[gvr, obj["metadata"]["name"]] = spec
    return found


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_dry_run_plans_and_changes_nothing(live: dict[str, str], name: str) -> None:
    before = head(live), specs()
    result = runbook.run(name)
    assert result.ok, result.error
    assert (head(live), specs()) == before
    saved = json.loads((result.folder / "result.json").read_text())
    assert saved["message"].startswith("dry run") and "planned_steps" in saved["figures"]


def test_setup_on_a_running_platform_changes_nothing(live: dict[str, str]) -> None:
    before = head(live)
    passed(act("01"))
    assert head(live) == before


def test_deploy_brings_exactly_this_commit_and_version(live: dict[str, str]) -> None:
    before = head(live)
    figures = passed(act("02", version="5.0.0"))
    assert figures["commit"] == head(live) != before
    seen = sync.state(cluster.connect(), App())
    assert (seen.sync_status, seen.health_status, seen.revision) == ("Synced", "Healthy", head(live))
    assert {pod.version for pod in seen.pods if pod.phase == "Running"} == {"5.0.0"}


def test_a_rollout_under_load_is_measured_and_judged(live: dict[str, str]) -> None:
    result = act("03", version="5.1.0", warmup_s=4.0, settle_s=6.0, **QUICK)
    figures = passed(result)
    assert figures["requests_sent"] >= 500 and figures["rollout_s"] > 0
    assert (result.folder / "figures" / "rollout.png").stat().st_size > 10_000
    assert "data:image/png" in result.report.read_text()


def test_a_bad_version_is_detected_rolled_back_and_recovered(live: dict[str, str]) -> None:
    before = sync.state(cluster.connect(), App())
    figures = passed(act("04", version="5.2.0-faulty", rate_rps=100.0))
    assert figures["detect_s"] > 0 and figures["decide_s"] > 0 and figures["recover_s"] > 0
    assert figures["requests_failed"] > 0 and "5.2.0-faulty" in figures["detected_by"]
    after = sync.state(cluster.connect(), App())
    assert after.images == before.images and after.revision == figures["commit"] != before.revision


@pytest.mark.parametrize("scenario", ["pod-loss", "drift", "node-loss"])
def test_a_drill_recovers_and_says_how_long_it_took(live: dict[str, str], scenario: str) -> None:
    figures = passed(act("05", scenario=scenario, **QUICK))
    assert figures["rto_s"] > 0 and figures["requests_sent"] > 100
    assert cluster.verify(cluster.connect()).state == "up"
    assert (scenario != "drift") or figures["requests_lost"] > 0, "without a Service, requests must have failed"


def test_a_lost_cluster_is_rebuilt_from_git(live: dict[str, str]) -> None:
    before = head(live)
    lost = sync.state(cluster.connect(), App())
    figures = passed(act("05", scenario="cluster-loss", confirm="apqx", **QUICK))
    assert figures["requests_lost"] > 0 and figures["service_rto_s"] > 0 and figures["outage_lower_s"] > 0
    after = sync.state(cluster.connect(), App())
    assert after.images == lost.images
    assert head(live) == before or after.revision == head(live)


@pytest.mark.parametrize(("name", "parameters"), [("05", {"scenario": "cluster-loss"}), ("06", {"confirm": "other"})])
def test_what_destroys_asks_for_the_name_of_the_cluster(live: dict[str, str], name: str, parameters: dict) -> None:
    result = act(name, **parameters)
    assert result.exit_code == 3 and result.error is not None and result.error["type"] == "GuardRefused"
    assert cluster.status().state == "up"


def test_teardown_leaves_nothing_and_setup_brings_everything_back(live: dict[str, str]) -> None:
    before = head(live)
    passed(act("06", confirm="apqx"))
    cluster.verify_gone()
    assert cluster.status().state == "down"
    assert passed(act("01"))["time_to_first_200_s"] > 0
    assert head(live) == before
