"""What a drill promises on a live platform: the undo survives the death of the workbench, faults are real."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from platform_lib import cluster, drills, runbook
from platform_lib.drills import score, undo
from platform_lib.errors import Locked
from platform_lib.model import App
from platform_lib.providers import state
from platform_lib.settings import settings
from platform_lib.wait import until

APP = App()
DRILL = textwrap.dedent("""
    from platform_lib import cluster, drills
    from platform_lib.model import App
    say = lambda line: print(line, flush=True)
    drills.run_drill(cluster.connect(), App(), scenario="node-loss", rate_rps=20, progress=say)
""")


def apqx(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from platform_lib.cli import main; main()", *words], capture_output=True, text=True
    )


def stopped() -> list[str]:
    found = state.processes(state.Layout(settings().home))
    return [name for name, entry in found.items() if entry.get("state") == "stopped"]


def struck(scenario: str = DRILL) -> subprocess.Popen[str]:
    """A workbench in the middle of a node-loss drill."""
    runner = subprocess.Popen([sys.executable, "-c", scenario], stdout=subprocess.PIPE, text=True)
    until(lambda: ((True if stopped() else None), str(stopped())), timeout_s=60, wanted="a stopped node")
    return runner


def steady() -> None:
    assert cluster.verify(cluster.connect(), timeout_s=60).state == "up"


def test_a_killed_workbench_leaves_a_fault_that_any_other_process_can_undo(live: dict[str, str]) -> None:
    runner = struck()
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait(30)
    (left,) = undo.pending(settings().home)
    assert left.scenario == "node-loss" and left.target["node"] in stopped()[0] and not left.running
    for shown in (apqx("drill", "list"), apqx("status")):
        assert left.id in shown.stdout and "apqx drill undo" in shown.stdout
    refused = apqx("drill", "run", "pod-loss")
    assert refused.returncode == 3 and left.id in refused.stderr
    undone = apqx("drill", "undo")
    assert undone.returncode == 0 and left.id in undone.stdout, undone.stderr
    assert stopped() == [] and undo.pending(settings().home) == []
    assert "nothing was pending" in apqx("drill", "undo").stdout
    steady()


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_cancelled_job_undoes_its_fault_before_it_ends(live: dict[str, str], number: int) -> None:
    runner = struck()
    with pytest.raises(Locked, match="runs it"):
        undo.undo(settings().home)
    runner.send_signal(number)
    assert runner.wait(60) != 0
    assert stopped() == [] and undo.pending(settings().home) == []
    assert score.results(settings().home)[-1].status == "interrupted"
    steady()


def test_a_drill_without_eyes_knows_that_it_is_blind(live: dict[str, str]) -> None:
    """Prometheus is the fault: the drill must say so, from when to when; a client notices nothing."""
    record = drills.run_drill(cluster.connect(), APP, scenario="metrics-down", rate_rps=50)
    assert record.verdict.ok, record.verdict
    assert record.outcome.figures["blind_s"]["prometheus"] > 0 and record.probe.failed == 0
    assert any(check.name == "blindness of prometheus noticed" for check in record.verdict.checks)


def test_a_verdict_that_needs_a_blind_source_is_inconclusive(live: dict[str, str], tmp_path: Path) -> None:
    """The same fault, with a scenario that asks Prometheus to have noticed and does not expect it blind."""
    path = tmp_path / "blind.toml"
    path.write_text(
        textwrap.dedent("""
            title = "Nobody expects Prometheus to be away"
            why = "A verdict must not rest on eyes that were shut."
            [fault]
            action = "stop_metrics"
            [expect]
            text = "Prometheus notices."
            detected_by = ["prometheus"]
        """)
    )
    record = drills.run_drill(cluster.connect(), APP, scenario=str(path), rate_rps=20)
    assert record.verdict.status == "inconclusive" and "blind" in record.verdict.reason, record.verdict


def test_a_safeguard_stops_a_drill_that_breaks_more_than_it_should(live: dict[str, str], tmp_path: Path) -> None:
    """With metrics as a safeguard, taking Prometheus away is a breach: undone and said."""
    path = tmp_path / "guarded.toml"
    path.write_text(
        textwrap.dedent("""
            title = "Prometheus goes although it is guarded"
            why = "What a drill has no business with must not break."
            safeguards = ["metrics"]
            [fault]
            action = "stop_metrics"
            [expect]
            text = "It never gets there."
            [limits]
            hold_s = 60
        """)
    )
    done = apqx("drill", "run", str(path), "--rate-rps", "20", "--json")
    (result,) = json.loads(done.stdout)["results"]
    assert done.returncode == 1 and result["status"] == "aborted" and "safeguard metrics" in result["reason"]
    assert stopped() == [] and undo.pending(settings().home) == []
    steady()


def test_the_runbook_keeps_a_journal_for_other_tools(live: dict[str, str]) -> None:
    result = runbook.run("05", {"dry_run": False, "scenario": "drift", "rate_rps": 50.0})
    journal = json.loads((result.folder / "journal.json").read_text())
    assert journal["status"] == "completed" and journal["steady_states"]["after"]["steady_state_met"] is True
    page = Path(live["APQX_RUNS_DIR"]) / "drills.html"
    done = apqx("drill", "score")
    assert done.returncode == 0 and page.is_file() and "drift" in page.read_text()


def test_the_commands_are_listed() -> None:
    assert {"list", "run", "undo", "all", "score"} <= set(apqx("drill", "--help").stdout.split())
