"""Runs that meet a fault half-way: a bad build, a dead Prometheus, a dead ingress, a second run beside them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from platform_lib import App, cluster, rollback, runbook, start_probe, sync
from platform_lib.errors import Locked
from platform_lib.evidence import verify_manifest
from platform_lib.providers import of, state
from platform_lib.settings import settings
from platform_lib.wait import until

pytestmark = [pytest.mark.platform, pytest.mark.slow]
APP = App()
QUICK = {"dry_run": False, "rate_rps": 60.0, "warmup_s": 3.0, "settle_s": 6.0}
CANARY = "canary-4f1d7c0e9ab35286"
ROOT = Path(__file__).resolve().parents[2]


def steady() -> tuple[bool | None, str]:
    seen = sync.state(cluster.connect(), APP)
    counts = f"{seen.ready_replicas} of {seen.desired_replicas} ready, {len(seen.pods)} pods"
    text = f"{seen.sync_status} {seen.health_status} {counts}"
    good = (seen.sync_status, seen.health_status) == ("Synced", "Healthy")
    whole = len(seen.pods) == seen.ready_replicas == seen.desired_replicas > 0  # pods on their way out count too
    return (True if good and whole else None), text


@pytest.fixture(autouse=True)
def settled(live: dict[str, str]) -> None:
    """Each test starts from a platform that runs what git says."""
    until(steady, timeout_s=90, wanted="steady application", interval_s=0.1)


@pytest.fixture
def bad_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A project whose application was really changed for the worse: the book builds it like any other."""

    def change(old: str, new: str) -> None:
        for name in ("app", "gitops", "runbooks"):
            shutil.copytree(ROOT / name, tmp_path / name)
        source = tmp_path / "app" / "sample_app" / "config.py"
        text = source.read_text()
        assert text.count(old) == 1
        source.write_text(text.replace(old, new))
        monkeypatch.setenv("APQX_PROJECT_DIR", str(tmp_path))

    return change


def evidence(result: runbook.RunResult) -> dict[str, Any]:
    assert verify_manifest(result.folder) == []
    saved: dict[str, Any] = json.loads((result.folder / "result.json").read_text())
    return saved


def test_a_version_that_answers_with_errors_fails_the_gate_of_its_rollout(live: dict[str, str], bad_build) -> None:
    bad_build('_number(env, "FAULT_ERROR_RATIO", 0, 0, 1)', '_number(env, "FAULT_ERROR_RATIO", 0.5, 0, 1)')
    result = runbook.run("03", {**QUICK, "version": "7.0.0"})
    try:
        saved = evidence(result)
        assert (saved["status"], saved["exit_code"], saved["error"]["type"]) == ("failed", 1, "GateFailed")
        assert "7.0.0" in saved["error"]["message"]
        assert "GateFailed" in result.report.read_text()
    finally:
        rollback.rollback(cluster.connect(), APP)


def test_a_version_that_never_gets_ready_is_held_back_and_its_pods_are_named(live: dict[str, str], bad_build) -> None:
    bad_build('never_ready=_switch(env, "FAULT_NEVER_READY")', "never_ready=True")
    platform = cluster.connect()
    before = sync.state(platform, APP)
    with start_probe(platform, APP, rate_rps=20) as probe:
        result = runbook.run("03", {**QUICK, "version": "7.1.0", "timeout_s": 15.0})
        serving = {pod.name for pod in sync.state(platform, APP).pods if pod.ready}
        rollback.rollback(platform, APP)
    saved = evidence(result)
    assert (saved["exit_code"], saved["error"]["type"]) == (1, "GateFailed")
    assert serving == {pod.name for pod in before.pods if pod.ready}, "the old pods all stay"
    assert "sample-app-" in saved["error"]["message"] and "ready" in saved["error"]["message"].lower()
    assert probe.result().failed == 0


def test_a_rollout_without_prometheus_is_judged_by_the_probe(live: dict[str, str]) -> None:
    provider = of(cluster.connect())
    provider.stop_component("prometheus")
    try:
        result = runbook.run("03", {**QUICK, "version": "7.2.0"})
    finally:
        provider.start_component("prometheus")
    assert result.ok, result.error
    figures = evidence(result)["figures"]
    assert figures["requests_sent"] > 0 and figures["requests_failed"] == 0


def test_an_ingress_killed_in_a_run_is_back_and_the_run_says_what_it_cost(live: dict[str, str]) -> None:
    struck = threading.Event()

    def strike(line: str) -> None:
        if "probing" in line and not struck.is_set():
            struck.set()
            os.kill(state.processes(state.Layout(settings().home))["traefik"]["pid"], signal.SIGKILL)

    result = runbook.run("03", {**QUICK, "version": "7.3.0"}, progress=strike)
    assert struck.is_set()
    saved = evidence(result)
    assert saved["status"] == "passed" or saved["error"]["type"] == "GateFailed", saved["error"]
    journal = [json.loads(line) for line in (result.folder / "journal.jsonl").read_text().splitlines()]
    (verdict,) = [record["data"] for record in journal if record["kind"] == "verdict"]
    assert verdict["figures"]["requests_failed"] > 0 and verdict["reason"]
    assert cluster.verify(cluster.connect(), timeout_s=60).state == "up"


def test_a_second_changing_run_beside_the_first_is_refused_and_a_look_is_not(live: dict[str, str]) -> None:
    seen: list[object] = []

    def look(line: str) -> None:
        if "fault:" in line:
            with pytest.raises(Locked, match=rf"pid {os.getpid()} for runbook 05-dr-drill") as refused:
                runbook.run("02", {"dry_run": False, "version": "7.4.0"})
            seen.append(refused.value.exit_code)

    head = sync.state(cluster.connect(), APP).revision
    result = runbook.run("05", {"dry_run": False, "scenario": "pod-loss", "rate_rps": 40.0}, progress=look)
    assert result.ok, result.error
    assert seen == [3]
    assert sync.state(cluster.connect(), APP).revision == head


def test_a_secret_of_the_cluster_or_the_shell_is_in_no_file_of_a_run(
    live: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", CANARY)
    assert runbook.run("02", {"dry_run": False, "version": "7.5.0"}).ok
    home = settings().home
    files = [*(home / "cluster" / "tokens").iterdir(), *(home / "cluster").rglob("*.key")]
    words = {CANARY.encode()}
    for path in files:
        words |= {w for w in path.read_bytes().split() if len(w) >= 20 and not w.startswith(b"-----")}
    assert len(words) > 4
    looked_at = [p for top in (settings().runs_dir, home / "cluster" / "logs") for p in top.rglob("*") if p.is_file()]
    assert [str(p) for p in looked_at for content in [p.read_bytes()] if any(w in content for w in words)] == []
    assert {"output.ipynb", "report.html", "journal.jsonl"} <= {p.name for p in looked_at}


def test_a_run_leaves_no_running_kernel(live: dict[str, str]) -> None:
    assert runbook.run("05").ok
    # A platform that a kernel took down leaves its ended guardian to us, its parent; it has no command line.
    children = [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    assert [p.pid for p in children if "ipykernel_launcher" in " ".join(p.cmdline())] == []
