"""The gate on a real platform: a good version stays, each kind of bad one is found, named, taken back and proven."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from platform_lib import App, cluster, deploy, gate, image, journal, sync
from platform_lib.errors import GateFailed, GateUndecided, InvalidInput
from platform_lib.rules import manifests
from platform_lib.rules.verdict import Limits
from platform_lib.wait import until
from platform_lib.wire.git import repository

pytestmark = [pytest.mark.platform, pytest.mark.slow]
APP = App()
CLEAN = dict.fromkeys(deploy.fault_env("error_ratio", 0))
LIMITS = Limits(ready_within_s=6.0, min_latency_samples=30)


def gated(version: str, **release: Any) -> gate.GateRecord:
    release = {"image": image.build(version=version).reference, "env": CLEAN} | release
    held_to = {"rate_rps": 50.0, "warmup_s": 2.0, "settle_s": 7.0, "timeout_s": 60.0, "limits": LIMITS}
    return gate.deploy(cluster.connect(), APP, version=version, **(held_to | release))


def served() -> set[str]:
    return set(deploy.served_versions(cluster.connect(), APP, requests=10))


def steady() -> None:
    def probe() -> tuple[bool | None, str]:
        seen = sync.state(cluster.connect(), APP)
        good = (seen.sync_status, seen.health_status) == ("Synced", "Healthy")
        return (True if good and seen.ready_replicas == seen.desired_replicas else None), str(seen)

    until(probe, timeout_s=60, wanted="steady state")


def test_a_good_version_stays(live: dict[str, str], tmp_path: Any) -> None:
    with journal.use(journal.Journal(tmp_path / "journal.jsonl")):
        # Wide latency limits: a test machine with two busy cores delays any version; lost requests count all the same.
        wide = Limits(slow_ms=1900.0, latency_margin_ms=1900.0, min_latency_samples=30, lost_objective=0.05)
        seen = gated("8.0.0", limits=wide)
    assert seen.verdict.status != "fail", seen.verdict
    assert not seen.rolled_back and seen.recovery is None
    assert served() == {"8.0.0"}
    assert [check.name for check in seen.verdict.checks][:3] == ["pods", "deployment", "argocd"]
    records = journal.read(tmp_path / "journal.jsonl")
    kinds = set(records[records["source"] == "gate"]["kind"])
    assert {"change", "rolled_out", "judged", "verdict", "outcome"} <= kinds


BAD = {
    "error-ratio": ({"env": CLEAN | deploy.fault_env("error_ratio", 0.5)}, "requests failed"),
    "latency": ({"env": CLEAN | deploy.fault_env("latency_ms", 400)}, "slow"),
    "never-ready": ({"env": CLEAN | deploy.fault_env("never_ready", 1)}, "unready"),
    "crash-loop": ({"env": CLEAN | deploy.fault_env("crash_after_s", 1)}, ""),
    "bad-digest": ({"image": f"ghcr.io/apqx/sample-app@sha256:{'0' * 64}"}, "Pull"),
    "invalid-manifest": ({"env": {"A=B": "x"}}, "is invalid"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_version_is_named_taken_back_and_the_recovery_proven(live: dict[str, str], name: str) -> None:
    steady()
    before, (release, said) = served(), BAD[name]
    seen = gated(f"8.1.0-{name}", **release)
    assert seen.verdict.status == "fail", seen.verdict
    assert said in seen.verdict.reason, seen.verdict.reason
    assert seen.rolled_back and seen.recovery is not None and seen.recovery.ok, seen.recovery
    assert {seen.old_version} == before == served()
    figures = seen.outcome.figures
    for time in ("detect_s", "decide_s", "recover_s", "verify_s"):
        assert figures[time] >= 0
    assert figures["proof_requests"] >= 300
    with pytest.raises(GateFailed, match="rolled back to") as failed:
        seen.require_pass()
    assert failed.value.exit_code == 1 and failed.value.verdict is seen.verdict


def test_too_few_requests_decide_nothing_and_say_what_would_be_enough(live: dict[str, str]) -> None:
    steady()
    seen = gated("8.2.0", rate_rps=10.0, settle_s=1.0)
    assert seen.verdict.status == "not_enough_data", seen.verdict
    assert "enough would be" in seen.verdict.reason and not seen.rolled_back
    assert served() == {"8.2.0"}
    with pytest.raises(GateUndecided, match=r"8\.2\.0 still runs") as undecided:
        seen.require_pass()
    assert undecided.value.exit_code == 5


def test_the_version_that_runs_is_refused_before_anything_changes(live: dict[str, str]) -> None:
    steady()
    platform = cluster.connect()
    running, head = manifests.version_of(sync.deployment(platform, APP) or {}), repository(platform).head()
    with pytest.raises(InvalidInput, match="runs already"):
        gated(running)
    assert repository(platform).head() == head


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cut_off_gate_says_where_git_stands_and_leaves_the_old_version(live: dict[str, str], number: int) -> None:
    steady()
    before, platform = served(), cluster.connect()
    version = f"8.3.{int(number)}"
    code = textwrap.dedent(f"""
        import sys
        sys.argv = ["apqx", "deploy", "{version}", "--gate", "--rate-rps", "20", "--warmup-s", "1", "--settle-s", "60"]
        from platform_lib.cli import main
        main()
    """)
    running = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    for line in running.stderr:
        if "needs 300 requests" in line:  # the first look at the new version: git names it by now
            break
    os.kill(running.pid, number)
    said = running.stderr.read()
    assert running.wait(60) == 1, said
    assert f"{version} is reverted to" in said, said
    assert {repository(platform).log(APP, limit=1)[0].version} == before
    until(lambda: (served() == before or None, str(served())), timeout_s=60, wanted="the old version")
