"""The journal holds what the Chaos Toolkit's report generator reads, with its types."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from platform_lib.drills import chaostoolkit, scenario
from platform_lib.model import Check

STATUSES = {"completed", "failed", "aborted", "interrupted"}


def journal(tmp_path: Path, *, met: bool = True, broken: bool = False) -> dict:
    record = chaostoolkit.Record(scenario.load("pod-loss"), {"pod": "a"}, platform="apqx", app="sample-app")
    check = Check("health", "pass" if met else "fail", "Healthy", "Healthy", "")
    record.steady("before", (check,))
    with record.activity("inject"):
        pass
    if broken:
        with pytest.raises(ValueError), record.activity("restore"):
            raise ValueError("no")
    with record.activity("undo", rollback=True):
        pass
    record.steady("during", (check,))
    record.steady("after", (check,))
    path = chaostoolkit.write(record.document(deviated=not met, figures={"rto_s": 1.0}), tmp_path)
    assert path.name == "journal.json"
    return json.loads(path.read_text())


def test_the_fields_of_a_report_are_there(tmp_path: Path) -> None:
    found = journal(tmp_path)
    assert all(part.isdigit() for part in found["chaoslib-version"].split("."))
    assert found["status"] in STATUSES and found["deviated"] is False and found["duration"] > 0
    assert datetime.fromisoformat(found["start"]) < datetime.fromisoformat(found["end"])
    assert found["platform"] and found["node"]
    experiment = found["experiment"]
    assert experiment["title"] and experiment["description"] and experiment["tags"] and experiment["contributions"]
    assert experiment["steady-state-hypothesis"]["title"]
    assert [one["type"] for one in experiment["method"]] == ["action"]


def test_each_activity_of_run_and_rollbacks_is_complete(tmp_path: Path) -> None:
    found = journal(tmp_path)
    for entry in (*found["run"], *found["rollbacks"]):
        assert entry["status"] == "succeeded" and entry["duration"] >= 0
        assert datetime.fromisoformat(entry["start"]) <= datetime.fromisoformat(entry["end"])
        provider = entry["activity"]["provider"]
        assert provider["type"] == "python" and provider["module"] and provider["func"]
        assert provider["arguments"]["target"] == {"pod": "a"} and "output" in entry


@pytest.mark.parametrize("met", [True, False])
def test_the_steady_state_is_told_before_during_and_after(tmp_path: Path, met: bool) -> None:
    found = journal(tmp_path, met=met)
    states = found["steady_states"]
    assert found["deviated"] is not met
    for state in (states["before"], *states["during"], states["after"]):
        assert state["steady_state_met"] is met
        (probe,) = state["probes"]
        assert probe["tolerance_met"] is met and probe["activity"]["type"] == "probe"
        assert probe["activity"]["tolerance"] is True and probe["activity"]["name"]


def test_an_activity_that_failed_keeps_its_error(tmp_path: Path) -> None:
    failed = journal(tmp_path, broken=True)["run"][-1]
    assert failed["status"] == "failed" and "ValueError: no" in "".join(failed["exception"])
