"""What is measured, part by part; each returns figures, units in the names. All of it through the public library."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks import api, frames, gate_live, place, probe
from benchmarks import gate as simulated
from benchmarks import journal as record
from platform_lib import App, Platform, cluster, deploy, drills, gate, image, metrics, rollout, sync
from platform_lib.providers import state
from platform_lib.settings import settings
from platform_lib.wait import until

APP = App()
ROLLOUTS = 10
RATE_RPS = 200.0


def ready() -> Platform:
    """Return a platform in its steady state with two pods; brings it up if needed."""
    cluster.up()
    platform = cluster.connect()

    def steady() -> tuple[bool | None, str]:
        seen = sync.state(platform, APP)
        text = f"{seen.sync_status}, {seen.health_status}, {seen.ready_replicas} of {seen.desired_replicas}"
        good = (seen.sync_status, seen.health_status) == ("Synced", "Healthy")
        return (True if good and seen.ready_replicas == seen.desired_replicas else None), text

    until(steady, timeout_s=90, wanted="steady state")
    return platform


def build(platform: Platform, version: str) -> str:
    """Return the reference of a new image."""
    current = settings()
    return image.build_image(current.project_dir / "app", platform.home / "images", version=version).reference


def first_200() -> dict[str, Any]:
    """From nothing (no repository, no image) to the first answer; median of three."""
    runs = []
    for _ in range(3):
        cluster.down(purge=True)
        runs.append(cluster.up())
    times = [run.figures["time_to_first_200_s"] for run in runs]
    middle = runs[times.index(median(times))]
    return {"time_to_first_200_s": median(times), "all_s": times, "stages_s": dict(middle.stages)}


def rollouts() -> dict[str, Any]:
    """Ten rollouts in a row under constant load."""
    platform = ready()
    rows = []
    for number in range(ROLLOUTS):
        version = f"2.{number}.0"
        reference = build(platform, version)
        record = rollout.observe(
            platform,
            APP,
            action=lambda reference=reference, version=version: deploy.deploy(
                platform, APP, image=reference, version=version
            ),
            rate_rps=RATE_RPS,
            warmup_s=2.0,
            settle_s=2.0,
        )
        row = {key: record.outcome.figures[key] for key in ("rollout_s", "requests_sent", "requests_failed")}
        rows.append(row | {"probe_rate_rps": record.outcome.figures["probe_rate_rps"], "errors": record.probe.errors})
        print(f"  rollout {number + 1}: {rows[-1]}", flush=True)
    return {
        "rollouts": len(rows),
        "rollout_s_median": round(median(row["rollout_s"] for row in rows), 2),
        "rollout_s_max": round(max(row["rollout_s"] for row in rows), 2),
        "probe_rate_rps_min": min(row["probe_rate_rps"] for row in rows),
        "requests_sent": sum(row["requests_sent"] for row in rows),
        "requests_failed": sum(row["requests_failed"] for row in rows),
        "each": rows,
    }


def rollback_() -> dict[str, Any]:
    """A version that fails half of its requests is deployed, found out and taken back."""
    platform = ready()
    version = "3.0.0-faulty"
    env = deploy.fault_env("error_ratio", 0.5)
    record = gate.rehearse(platform, APP, image=build(platform, version), version=version, env=env, rate_rps=RATE_RPS)
    record.require_recovered()
    wanted = ("detect_s", "decide_s", "recover_s", "rollback_s", "commit_to_detect_s", "requests_failed")
    return {name: record.outcome.figures[name] for name in wanted}


def drill(scenario: str) -> dict[str, Any]:
    """One disaster drill."""
    platform = ready()
    record = drills.run_drill(platform, APP, scenario=scenario, confirm=platform.name, rate_rps=RATE_RPS)
    names = ("rto_s", "rpo_s", "service_rto_s", "detect_s", "requests_sent", "requests_lost", "sentinels_pushed",
             "sentinels_lost")  # fmt: skip
    figures = record.outcome.figures
    return {"verdict": record.verdict.status} | {name: figures[name] for name in names if name in figures}


def api_() -> dict[str, Any]:
    """Rates and latencies of the API."""
    return api.measure(ready())


def memory() -> dict[str, Any]:
    """Proportional set size of every process: shared pages are divided by those who share them."""
    cluster.down(purge=True)
    platform = ready()
    metrics.value(platform, "up")
    found: dict[str, float] = {}
    recorded = {entry["pid"]: name for name, entry in state.processes(state.Layout(platform.home)).items()}
    for pid, name in recorded.items():
        found[name] = _pss_mb(pid)
    inner = {child.pid for pid in recorded for child in psutil.Process(pid).children(recursive=True)}
    pods = inner - set(recorded)
    found["pods"] = sum(_pss_mb(pid) for pid in pods)
    rounded = {name: round(mb, 1) for name, mb in found.items()}
    return {"total_mb": round(sum(found.values()), 1), "components_mb": rounded, "pod_processes": len(pods)}


def _pss_mb(pid: int) -> float:
    """Return the proportional set size of one process in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(f"no Pss for {pid}")


def demo() -> dict[str, Any]:
    """Wall time of ``apqx demo`` from nothing, after installation."""
    cluster.down(purge=True)
    folder = Path(os.environ["APQX_HOME"]).parent / "demo"
    folder.mkdir()
    variables = dict(os.environ) | place.environment(folder, network=160 + os.getpid() % 60)
    program = str(Path(sys.executable).with_name("apqx"))
    began = time.monotonic()
    try:
        done = subprocess.run([program, "demo"], env=variables, capture_output=True, text=True, check=False)
        wall_s = time.monotonic() - began
    finally:
        subprocess.run([program, "down", "--purge"], env=variables, capture_output=True, check=True)
    print(done.stdout[-2000:])
    return {"wall_s": round(wall_s, 1), "exit_code": done.returncode}


PARTS = {
    "first_200": first_200,
    "memory": memory,
    "rollout": rollouts,
    "rollback": rollback_,
    "gate": simulated.simulate,
    "gate_live": lambda: gate_live.measure(ready()),
    "probe": lambda: probe.measure(ready()),
    "pod_loss": lambda: drill("pod-loss"),
    "node_loss": lambda: drill("node-loss"),
    "cluster_loss": lambda: drill("cluster-loss"),
    "api": api_,
    "frames": frames.measure,
    "journal": record.measure,
    "demo": demo,
}
"""In the order in which they run; memory early, before load has widened anything."""
