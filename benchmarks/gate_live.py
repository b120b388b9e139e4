"""Does the gate catch each kind of bad deploy, every time, and leave good ones alone? Counted on a real platform.

``python -m benchmarks.gate_live --runs 10`` brings a private platform up and does ten runs of each scenario and
ten good deploys. A bad deploy counts as caught when the verdict is ``fail``, the version from before serves again
and users' own requests prove it; a good one is a false alarm when its verdict is ``fail``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.place import private
from platform_lib import App, Platform, cluster, deploy, gate, image
from platform_lib.errors import PlatformError
from platform_lib.settings import settings

APP = App()
NO_FAULT = dict.fromkeys(deploy.fault_env("error_ratio", 0))
ABSENT = f"ghcr.io/apqx/sample-app@sha256:{'0' * 64}"
SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "good": {"env": NO_FAULT},
    "error-ratio": {"env": deploy.fault_env("error_ratio", 0.2)},
    "latency": {"env": deploy.fault_env("latency_ms", 200)},
    "never-ready": {"env": deploy.fault_env("never_ready", 1)},
    "crash-loop": {"env": deploy.fault_env("crash_after_s", 1)},
    "bad-digest": {"image": ABSENT},
    "invalid-manifest": {"env": {"A=B": "no name of a variable"}},
}
"""What is wrong with the version; a fifth of its requests fail, each takes 200 ms longer, ..."""
_TIMES = ("detect_s", "decide_s", "recover_s", "rollback_s", "requests_failed")


def measure(platform: Platform, *, runs: int = 10, rate_rps: float = 100.0) -> dict[str, Any]:
    """Return the counts and the median times per scenario."""
    found: dict[str, Any] = {}
    for name, fault in SCENARIOS.items():
        each = [_once(platform, name, number, fault, rate_rps) for number in range(runs)]
        wrong = [row["said"] for row in each if not row["right"]]
        key = "passed" if name == "good" else "caught"
        found[name] = {key: f"{runs - len(wrong)} of {runs}"} | _medians(each) | {"wrong": wrong}
        if name == "good":
            found[name]["false_alarms"] = sum(row["status"] == "fail" for row in each)
        print(f"  {name:<17} {found[name]}  load {os.getloadavg()[0]:.1f}", flush=True)
    return found


def _once(platform: Platform, name: str, number: int, fault: Mapping[str, Any], rate_rps: float) -> dict[str, Any]:
    """Deploy once through the gate; an error of the gate is a wrong answer too."""
    version = f"7.{number}.0-{name}"
    built = image.build_image(settings().project_dir / "app", platform.home / "images", version=version)
    release = {"image": built.reference, **fault}
    try:
        seen = gate.deploy(
            platform, APP, version=version, rate_rps=rate_rps, warmup_s=2.0, settle_s=5.0, timeout_s=60.0, **release
        )
    except PlatformError as error:
        return {"right": False, "status": "error", "said": f"{type(error).__name__}: {error}", "figures": {}}
    recovered = seen.recovery is not None and seen.recovery.ok
    right = seen.verdict.ok if name == "good" else seen.verdict.status == "fail" and recovered
    said = f"{seen.verdict.status}: {seen.outcome.message}"
    return {"right": right, "status": seen.verdict.status, "said": said, "figures": seen.outcome.figures}


def _medians(each: list[dict[str, Any]]) -> dict[str, float]:
    """Return the median of each time that was measured."""
    found = {}
    for name in _TIMES:
        values = [float(row["figures"][name]) for row in each if row["figures"].get(name) is not None]
        if values:
            found[f"{name}_median"] = round(median(values), 2)
    return found


def main() -> int:
    """Count on a private platform; 1 when an answer was wrong."""
    parser = argparse.ArgumentParser(prog="benchmarks.gate_live", description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    with private():
        cluster.up()
        found = measure(cluster.connect(), runs=runs)
    print(json.dumps(found, indent=1))
    return int(any(row["wrong"] for row in found.values()))


if __name__ == "__main__":
    sys.exit(main())
