"""Runs on a real platform that are killed, approved, locked out or told a secret."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from conftest import PARAMETERS, notebook

from platform_lib import App, cluster, deploy, drills, image, lock, parameters, runbook, sync
from platform_lib.errors import GuardRefused, Locked
from platform_lib.evidence import verify_manifest
from platform_lib.providers.state import write_endpoints
from platform_lib.references import SecretRef
from platform_lib.settings import settings
from platform_lib.wait import until
from platform_lib.wire import kube
from platform_lib.wire.git import repository

pytestmark = [pytest.mark.platform, pytest.mark.slow]
APP = App()
CANARY = "canary-4f1d7c0e9ab35286-live"


def steady() -> tuple[bool | None, str]:
    try:
        seen = sync.state(cluster.connect(), APP)
    except Exception as error:
        return None, str(error)
    good = (seen.sync_status, seen.health_status) == ("Synced", "Healthy")
    whole = len(seen.pods) == seen.ready_replicas == seen.desired_replicas > 0
    return (True if good and whole else None), f"{seen.sync_status} {seen.health_status}, {len(seen.pods)} pods"


@pytest.fixture(autouse=True)
def settled(live: dict[str, str]) -> None:
    until(steady, timeout_s=90, wanted="steady application")


def commits() -> list[str]:
    return [row.message.splitlines()[0] for row in repository(cluster.connect()).log(APP, limit=20)]


def kill_when(book: str, values: dict[str, Any], said: str) -> Path:
    """Run a book in another process and kill it, kernel and all, when it reports ``said``."""
    before = set(settings().runs_dir.glob("*"))
    code = (
        "import sys\nfrom platform_lib import runbook\n"
        f"runbook.run({book!r}, {values!r}, progress=lambda line: print(line, flush=True))"
    )
    runner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    lines = []
    for line in runner.stdout:
        lines.append(line)
        if said in line:
            break
    family = [psutil.Process(runner.pid), *psutil.Process(runner.pid).children(recursive=True)]
    kernels = [p for p in family[1:] if "ipykernel_launcher" in " ".join(p.cmdline())]
    assert kernels, "".join(lines)
    for process in (family[0], *kernels):
        os.kill(process.pid, signal.SIGKILL)
    runner.wait()
    runner.stdout.close()
    psutil.wait_procs(kernels, timeout=15)
    (folder,) = set(settings().runs_dir.glob("*-*-*")) - before
    return folder


def test_a_deploy_killed_after_its_commit_is_resumed_without_a_second_one(live: dict[str, str]) -> None:
    folder = kill_when("02", {"dry_run": False, "version": "8.0.0"}, "Progressing")
    result = runbook.resume(folder.name)
    assert result.ok, result.error
    assert sum("8.0.0" in line for line in commits()) == 1
    assert [step["event"] for step in result.steps] == ["cut off", "finished"]
    assert verify_manifest(folder) == [] and deploy.served_versions(cluster.connect(), APP) == {"8.0.0": 20}


def test_a_run_is_not_resumed_over_what_somebody_else_deployed_since(live: dict[str, str]) -> None:
    folder = kill_when("02", {"dry_run": False, "version": "8.1.0"}, "Progressing")
    platform = cluster.connect()
    built = image.build(version="8.1.1")
    deploy.deploy(platform, APP, image=built.reference, version="8.1.1", author="eve <eve@localhost>")
    head = repository(platform).head()
    result = runbook.resume(folder.name)
    assert (result.status, result.exit_code) == ("failed", 3)
    assert result.error is not None and "by eve: Deploy sample-app 8.1.1" in result.error["message"]
    assert repository(platform).head() == head


def test_a_measurement_that_was_killed_is_taken_back_and_made_again(live: dict[str, str]) -> None:
    was = deploy.served_versions(cluster.connect(), APP)
    values = {"dry_run": False, "version": "8.2.0", "rate_rps": 80.0, "warmup_s": 2.0, "settle_s": 5.0}
    folder = kill_when("03", values, "probing for another")
    result = runbook.resume(folder.name)
    assert result.ok, result.error
    assert [step["event"] for step in result.steps] == ["cut off", "undone", "finished"]
    told = commits()
    assert "Take back a run of sample-app" in told[1] and "8.2.0" in told[0] and "8.2.0" in told[2]
    assert result.figures["requests_failed"] == 0 and "8.2.0" not in was


def test_a_drill_that_was_killed_is_undone_before_it_is_run_again(live: dict[str, str]) -> None:
    folder = kill_when("05", {"dry_run": False, "scenario": "drift", "rate_rps": 40.0}, "fault")
    home = settings().home
    left = sorted(path.name for path in (home / "drills" / "pending").glob("*.json"))
    result = runbook.resume(folder.name)
    assert result.ok, result.error
    assert [step["event"] for step in result.steps] == ["cut off", *["undone"] * len(left), "finished"]
    assert left and not list((home / "drills" / "pending").glob("*.json"))
    assert drills.load("drift").name in result.key_figure


def test_an_approved_plan_is_run_and_another_one_is_not(live: dict[str, str]) -> None:
    first = runbook.run("02", {"version": "8.3.0"}, plan=True)
    other = runbook.run("02", {"version": "8.3.1"}, plan=True)
    head = repository(cluster.connect()).head()
    assert first.ok and first.plan_sha256 != other.plan_sha256
    with pytest.raises(GuardRefused, match=r"version='9', approved '8.3.0'"):
        runbook.run("02", {"version": "9"}, approve=first.plan_sha256)
    assert repository(cluster.connect()).head() == head
    done = runbook.run("", approve=first.plan_sha256[:12])
    assert done.ok and deploy.served_versions(cluster.connect(), APP) == {"8.3.0": 20}
    assert done.approval is not None and done.approval["by"] == lock.identity()
    late = runbook.run("", approve=other.plan_sha256)
    assert late.exit_code == 3 and late.error is not None
    assert "no longer what would be done: plan.steps 1.why was" in late.error["message"]
    assert deploy.served_versions(cluster.connect(), APP) == {"8.3.0": 20}


def test_two_machines_do_not_change_one_platform_at_once(live: dict[str, str], tmp_path: Path) -> None:
    """The other machine has a state folder of its own; all it shares with us is the cluster."""
    from dataclasses import replace

    here = cluster.connect()
    there = replace(here, home=tmp_path)
    write_endpoints(there)
    head = repository(here).head()
    with lock.exclusive(here.home, purpose="runbook 05-dr-drill"):
        with pytest.raises(Locked, match=r"Lease apqx-changes - held by .* for runbook 05-dr-drill since"):
            sync.sync(there, APP)
        code = "from platform_lib import App, cluster, sync\nsync.sync(cluster.connect(), App())"
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert f"pid {os.getpid()} for runbook 05-dr-drill" in second.stderr
    assert repository(here).head() == head
    assert sync.sync(there, APP).ok


class WithSecret(parameters.Teardown):
    """A book that takes a secret."""

    token: SecretRef = SecretRef("")


def test_a_secret_of_the_cluster_that_a_run_uses_and_prints_is_in_no_output(
    live: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = cluster.connect()
    data = {"key": base64.b64encode(CANARY.encode()).decode()}
    kube.connect(platform).create("v1/secrets", {"metadata": {"name": "canary"}, "data": data}, "default")
    cells = (
        "from platform_lib import cluster, journal",
        "from platform_lib.references import SecretRef\nplatform = cluster.connect()",
        "secret = SecretRef(token).resolve(platform).get_secret_value()\nprint(secret, SecretRef(token))",
        "journal.current().append('drill', 'fault', 'x', note=secret)\nprint(platform.kubeconfig.read_text())",
    )
    book = notebook(
        ("markdown", "# Book\n\nFor tests.", []),
        ("code", PARAMETERS + '\ntoken: str = ""  # d', ["parameters"]),
        *[("code", source, []) for source in cells],
    )
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "06-teardown.ipynb").write_text(json.dumps(book))
    monkeypatch.setenv("APQX_PROJECT_DIR", str(tmp_path))
    monkeypatch.setitem(parameters.MODELS, "06-teardown", WithSecret)
    result = runbook.run("06", {"token": "k8s:default/canary/key"})
    assert result.ok, result.error
    printed = (result.folder / "output.ipynb").read_text()
    assert "(redacted)" in printed and "k8s:default/canary/key" in printed
    words = {CANARY.encode(), data["key"].encode()}
    for user in yaml.safe_load(platform.kubeconfig.read_text())["users"]:
        words |= {user["user"][name].encode() for name in ("token", "client-key-data") if name in user["user"]}
    assert len(words) > 2
    files = [p for top in (result.folder, platform.home / "journal") for p in top.rglob("*") if p.is_file()]
    assert [str(p) for p in files if any(word in p.read_bytes() for word in words)] == []
