"""Does the record of a real platform hold what happened to it, each thing once, whatever became of the collector?"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from platform_lib import App, Platform, cluster, deploy, image, journal
from platform_lib.cli import app as commands
from platform_lib.providers import state
from platform_lib.settings import settings
from platform_lib.wait import now, until
from platform_lib.wire import kube

pytestmark = [pytest.mark.platform, pytest.mark.slow]
APP = App()


def wait(wanted: str, reached: Callable[[], Any]) -> Any:
    return until(lambda: (reached() or None, "not yet"), timeout_s=60, wanted=wanted, interval_s=0.3)


def rows(platform: Platform, since: datetime, source: str, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = journal.frame(platform, start=since, source=source, kind=kind).to_dict("records")
    return found


def collector(platform: Platform) -> int:
    return int(state.processes(state.Layout(platform.home))["collector"]["pid"])


def of_the_app(platform: Platform) -> psutil.Process:
    """The main process of one container of the application: the newest, outermost with its command line."""

    def is_app(process: psutil.Process | None) -> bool:
        return process is not None and process.cmdline()[-2:] == ["-m", "sample_app"]

    roots = [entry["pid"] for entry in state.processes(state.Layout(platform.home)).values() if state.alive(entry)]
    below = [child for root in roots for child in psutil.Process(root).children(recursive=True)]
    mains = [child for child in below if is_app(child) and not is_app(child.parent())]
    return max(mains, key=psutil.Process.create_time)  # an older one may be leaving: it is not restarted


def test_what_happens_is_on_record_once_also_after_the_collector_was_killed(live: dict[str, str]) -> None:
    platform, version = cluster.connect(), "1.9.1"
    since = now() - timedelta(seconds=2)  # git dates a commit to the whole second before it
    current = settings()
    built = image.build_image(current.project_dir / "app", platform.home / "images", version=version)
    before = wait("a collector", lambda: state.alive(state.processes(state.Layout(platform.home))["collector"]) and
                  collector(platform))  # fmt: skip
    os.kill(before, signal.SIGKILL)
    commit = deploy.deploy(platform, APP, image=built.reference, version=version).figures["commit"]
    wait("a new collector", lambda: collector(platform) != before)
    of_the_app(platform).kill()
    client = kube.connect(platform)
    (deployment,) = (d for d in client.list(kube.DEPLOYMENTS, APP.namespace)[0] if d["metadata"]["name"] == APP.name)
    wanted = deployment["spec"]["replicas"] + 1
    client.patch(kube.DEPLOYMENTS, APP.name, {"spec": {"replicas": wanted}}, APP.namespace)

    wait("the commit with its files", lambda: [
        r for r in rows(platform, since, "git", "commit") if r["uid"] == commit and r["data"].get("files")
    ])  # fmt: skip
    wait("the operation", lambda: [
        r for r in rows(platform, since, "argocd", "operation")
        if r["data"]["revision"] == commit and r["data"]["phase"] == "Succeeded" and r["subject"] == APP.name
    ])  # fmt: skip
    wait("the restart", lambda: rows(platform, since, "kubernetes", "restart"))
    wait("the scaling", lambda: [
        r for r in rows(platform, since, "kubernetes", "scale") if r["data"]["to"] == wanted
    ])  # fmt: skip
    wait("the events", lambda: rows(platform, since, "kubernetes", "event"))
    raw = [journal.decoded(line) for path in (platform.home / "journal").glob("*.jsonl") for line in path.open()]
    told = [(r["source"], r["uid"]) for r in raw if r and r["source"] in ("kubernetes", "argocd", "prometheus")]
    assert len(told) == len(set(told)), sorted(fact for fact in told if told.count(fact) > 1)
    shown = CliRunner().invoke(commands, ["journal", "show", "--source", "git", "--kind", "commit", "--json"])
    assert shown.exit_code == 0 and commit in shown.output


def test_the_record_belongs_to_its_owner_alone(live: dict[str, str]) -> None:
    folder = Path(live["APQX_HOME"]) / "journal"
    assert (folder.parent.stat().st_mode | folder.stat().st_mode) & 0o022 == 0
