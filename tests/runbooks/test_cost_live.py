"""Requests against real use on a real platform."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from platform_lib import App, cluster, cost, plots, start_probe
from platform_lib.errors import InvalidInput
from platform_lib.wait import until


def test_use_is_read_and_compared_with_requests(live: dict[str, str], tmp_path: Path) -> None:
    platform, app = cluster.connect(), App()
    with start_probe(platform, app, rate_rps=50):

        def measured() -> tuple[cost.Report | None, str]:
            seen = cost.report(platform, app=app, window_s=60)
            advice = seen.workloads["cpu_advice"].iloc[0]
            return (None if advice == "not enough data" else seen), str(advice)

        found = until(measured, timeout_s=90, wanted="enough readings for advice", interval_s=1.0)
    row = found.workloads.loc["sample-app/sample-app"]
    assert row["cpu_request_cores"] == 0.1 and row["memory_request_bytes"] == 128 * 2**20
    assert 0 < row["cpu_p95_cores"] < 2 and 10 * 2**20 < row["memory_peak_bytes"] < 256 * 2**20
    assert row["month_now"] == pytest.approx(row["pods"] * cost.Prices().month(0.1, 128 * 2**20))
    assert "70 % of the request" in row["autoscaler"]
    assert [check.status for check in found.ready_for_spot["sample-app/sample-app"]] == ["pass"] * 5
    more, after = found.room["sample-app/sample-app"]
    assert more > after > 0 and found.nodes["pods"].sum() >= 2
    plots.capacity(found).savefig(tmp_path / "capacity.png")
    assert "room sample-app/sample-app" in str(found)


def test_the_command_speaks_json_and_an_absent_workload_is_named(live: dict[str, str]) -> None:
    apqx = str(Path(sys.executable).with_name("apqx"))
    done = subprocess.run([apqx, "cost", "--window-s", "60", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["workloads"]["sample-app/sample-app"]["pods"] >= 2
    with pytest.raises(InvalidInput, match="Deployment nobody/nobody - absent"):
        cost.report(cluster.connect(), app=App(name="nobody", namespace="nobody"), window_s=60)
