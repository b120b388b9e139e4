"""What people push and press by mistake, on a real platform: said clearly, and the running version stays up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platform_lib import App, cluster, deploy, image, rollback, runbook, start_probe, sync
from platform_lib.errors import GitError, InvalidInput, PlatformError, SyncFailed
from platform_lib.providers import state
from platform_lib.settings import settings
from platform_lib.wait import until
from platform_lib.wire import kube

pytestmark = [pytest.mark.platform, pytest.mark.slow]
APP = App()
FOLDER = "gitops/workloads/sample-app"
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\ndata: {a: b}\n"


def wait(wanted: str, probe: Any, timeout_s: float = 40.0) -> Any:
    return until(probe, timeout_s=timeout_s, wanted=wanted, interval_s=0.1)


@contextlib.contextmanager
def pushed(live: dict[str, str], tmp_path: Path, name: str, text: str) -> Iterator[str]:
    """A file pushed into the application's folder by somebody's own clone; removed again afterwards."""
    clone = tmp_path / "clone"

    def git(*arguments: str, where: Path = clone) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-C", str(where), *arguments],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    git("clone", "-q", str(Path(live["APQX_HOME"]) / "git" / "gitops.git"), str(clone), where=tmp_path)
    (clone / FOLDER / name).write_text(text)
    git("add", "-A")
    git("commit", "-qm", f"add {name}")
    git("push", "-q", "origin", "HEAD:main")
    try:
        yield git("rev-parse", "HEAD")
    finally:
        git("rm", "-qf", f"{FOLDER}/{name}")
        git("commit", "-qm", f"remove {name}")
        git("push", "-q", "origin", "HEAD:main")
        sync.refresh(cluster.connect(), APP)
        wait("steady again", steady)


def steady() -> tuple[bool | None, str]:
    seen = sync.state(cluster.connect(), APP)
    text = f"{seen.sync_status} {seen.health_status} {seen.conditions}"
    good = (seen.sync_status, seen.health_status) == ("Synced", "Healthy") and not seen.conditions
    return (True if good else None), text


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x\n", "broken.yaml"),
        ("unknown.yaml", "apiVersion: example.org/v1\nkind: Unicorn\nmetadata: {name: x}\n", "Unicorn"),
        ("twice.yaml", f"{CONFIG_MAP}---\n{CONFIG_MAP}", "extra"),
        ("elsewhere.yaml", CONFIG_MAP.replace("extra", "extra, namespace: nowhere"), "nowhere"),
    ],
    ids=["invalid-yaml", "unknown-kind", "duplicate", "missing-namespace"],
)
def test_a_bad_manifest_is_named_and_the_running_version_stays(
    live: dict[str, str], tmp_path: Path, name: str, text: str, said: str
) -> None:
    platform = cluster.connect()
    images = sync.state(platform, APP).images

    def told() -> tuple[str | None, str]:
        application = kube.connect(platform).get(kube.APPLICATIONS, APP.name, platform.argocd_namespace)
        status = application.get("status", {})
        conditions = " ".join(item["message"] for item in status.get("conditions") or ())
        text = conditions + " " + json.dumps(status.get("operationState", {}).get("syncResult", {}))
        text += " " + status.get("operationState", {}).get("message", "")
        return (text if said in text else None), text[-300:]

    with start_probe(platform, APP, rate_rps=20) as probe, pushed(live, tmp_path, name, text):
        sync.refresh(platform, APP)
        wait(f"the Application to name {said}", told)
    assert probe.result().failed == 0
    assert sync.state(platform, APP).images == images


def test_an_image_that_does_not_exist_keeps_the_old_version_serving(live: dict[str, str]) -> None:
    platform = cluster.connect()
    reference = f"ghcr.io/apqx/sample-app@sha256:{'0' * 64}"
    with start_probe(platform, APP, rate_rps=20) as probe:
        with pytest.raises(SyncFailed, match=r"ErrImagePull|ImagePullBackOff|manifest unknown"):
            deploy.deploy(platform, APP, image=reference, version="6.0.0", timeout_s=40)
        rollback.rollback(platform, APP)
    assert probe.result().failed == 0
    wait("steady again", steady)


def test_a_version_that_never_becomes_ready_stops_and_is_named(live: dict[str, str]) -> None:
    platform = cluster.connect()
    built = image.build(version="6.1.0")
    with start_probe(platform, APP, rate_rps=20) as probe:
        with pytest.raises(PlatformError) as failed:
            env = deploy.fault_env("never_ready", 1)
            deploy.deploy(platform, APP, image=built.reference, version="6.1.0", env=env, timeout_s=12)
        rollback.rollback(platform, APP)
    assert "1 of 2 updated" in str(failed.value) or "ready" in str(failed.value).lower()
    assert probe.result().failed == 0
    wait("steady again", steady)


def test_a_refused_push_says_so_and_changes_nothing(live: dict[str, str]) -> None:
    platform = cluster.connect()
    before = sync.state(platform, APP)
    hook = Path(live["APQX_HOME"]) / "git" / "gitops.git" / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    try:
        built = image.build(version="6.2.0")
        with pytest.raises(GitError, match="protected"):
            deploy.deploy(platform, APP, image=built.reference, version="6.2.0", timeout_s=20)
    finally:
        hook.unlink()
    after = sync.state(platform, APP)
    assert (after.revision, after.images) == (before.revision, before.images)


def test_a_rollout_goes_on_without_prometheus(live: dict[str, str]) -> None:
    pid = state.processes(state.Layout(settings().home))["prometheus"]["pid"]
    os.kill(pid, signal.SIGKILL)
    result = runbook.run("02", {"dry_run": False, "version": "6.3.0"})
    assert result.ok, result.error


def test_ctrl_c_in_a_drill_undoes_the_fault_and_keeps_the_evidence(live: dict[str, str]) -> None:
    code = textwrap.dedent("""
        import sys
        from platform_lib import runbook
        say = lambda line: print(line, flush=True)
        values = {"dry_run": False, "scenario": "node-loss", "rate_rps": 20.0}
        sys.exit(runbook.run("05", values, progress=say).exit_code)
    """)
    runner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    for line in runner.stdout:
        if "fault:" in line:
            break
    wait("the node to be stopped", lambda: ((True if stopped() else None), str(stopped())))
    runner.send_signal(signal.SIGINT)
    runner.stdout.read()
    assert runner.wait(60) == 1
    assert stopped() == []
    assert cluster.verify(cluster.connect(), timeout_s=60).state == "up"
    latest = runbook.runs(1)[0]
    assert latest["status"] == "interrupted" and latest["error"]["type"] == "KeyboardInterrupt"
    saved = json.loads((Path(latest["folder"]) / "output.ipynb").read_text())
    assert any("fault:" in "".join(out.get("text", "")) for cell in saved["cells"] for out in cell.get("outputs", []))


def stopped() -> list[str]:
    found = state.processes(state.Layout(settings().home))
    return [name for name, entry in found.items() if entry.get("state") == "stopped"]


def test_an_unknown_scenario_is_refused_before_a_kernel_starts(live: dict[str, str]) -> None:
    before = len(runbook.runs())
    with pytest.raises(InvalidInput, match="scenario"):
        runbook.run("05", {"scenario": "meteor"})
    assert len(runbook.runs()) == before


def test_no_secret_is_in_any_notebook_report_journal_or_log(live: dict[str, str]) -> None:
    home, found = Path(live["APQX_HOME"]), settings().runs_dir
    tokens = {path.name: path.read_bytes().strip() for path in (home / "cluster" / "tokens").iterdir()}
    assert len(tokens) >= 4
    searched = 0
    for folder in (found, home / "cluster" / "logs"):
        for path in folder.rglob("*"):
            if path.is_file():
                searched += 1
                content = path.read_bytes()
                assert not [name for name, token in tokens.items() if token in content], path
                assert b"PRIVATE KEY" not in content, path
    assert searched > 20
