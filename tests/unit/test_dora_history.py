"""Delivery metrics from records alone, on a machine without the platform."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from platform_lib import dora, journal
from platform_lib.cli.dora import commands
from platform_lib.errors import InvalidInput, NoData

BAD, GOOD = "b" * 40, "a" * 40


def record(utc: str, source: str, kind: str, cause: str = "", **data: object) -> dict:
    return {"utc": f"2026-11-02T09:{utc}Z", "source": source, "kind": kind, "subject": "web", "run_id": "",
            "cause": cause, "data": data}  # fmt: skip


RECORDS = [
    record("00:00", "git", "commit", commit=GOOD, message="Deploy web 1"),
    record("00:05", "argocd", "operation", phase="Succeeded", revision=GOOD),
    record("01:00", "git", "commit", "deploy 2", commit=BAD),
    record("01:01", "git", "commit", commit=BAD, message="Deploy web 2\n\nImage: x"),
    record("01:02", "argocd", "operation", phase="Failed", revision=BAD),
    record("01:07", "argocd", "operation", phase="Succeeded", revision=BAD),
    record("02:00", "git", "commit", commit="c" * 40, message=f"Roll back\n\nThis reverts commit {BAD}."),
    record("02:03", "argocd", "operation", phase="Succeeded", revision="c" * 40),
    record("02:09", "rollback", "outcome", "c" * 40, recover_s=9.0),
]


@pytest.fixture
def records(tmp_path: Path) -> pd.DataFrame:
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in RECORDS))
    return journal.read(path)


def test_records_alone_tell_which_deployment_failed_and_when_it_was_mended(records: pd.DataFrame) -> None:
    found = dora.from_records(records, "web").frame()
    assert list(found["kind"]) == ["change", "change", "rollback"]
    assert list(found["failed"]) == [False, True, False]
    assert found["recovery_s"].iloc[1] == 62.0, "until the rollback ran on every pod, not until it was synced"


def test_a_failed_operation_is_no_deployment_and_another_service_is_not_counted(records: pd.DataFrame) -> None:
    assert len(dora.from_records(records, "web").deployments) == 3
    assert len(dora.from_records(records, "other").deployments) == 0


def test_of_two_records_of_one_commit_the_one_with_the_message_stays(records: pd.DataFrame) -> None:
    commits = dora.from_records(records, "web").commits
    assert list(commits["message"])[1] == "Deploy web 2\n\nImage: x" and len(commits) == 3


def test_joining_a_history_with_itself_changes_nothing(records: pd.DataFrame) -> None:
    once = dora.from_records(records, "web")
    again = once.merged(once)
    pd.testing.assert_frame_equal(once.commits, again.commits)
    pd.testing.assert_frame_equal(once.deployments, again.deployments)


def test_what_is_saved_is_what_is_read(records: pd.DataFrame, tmp_path: Path) -> None:
    history = dora.from_records(records, "web")
    dora.save(history, tmp_path / "kept", app="web")
    again = dora.load(tmp_path / "kept", app="web")
    pd.testing.assert_frame_equal(history.frame(), again.frame())
    assert str(dora.measure(again, "web")) == str(dora.measure(history, "web"))


def test_without_a_deployment_there_are_no_figures_but_a_next_step(records: pd.DataFrame) -> None:
    with pytest.raises(NoData, match="0 deployments, wanted at least one") as caught:
        dora.measure(dora.from_records(records, "other"), "other")
    assert "apqx deploy" in caught.value.hint


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="absent"):
        dora.load(tmp_path)


def test_the_example_says_what_was_done_when_it_was_recorded() -> None:
    history = dora.load()
    kinds = history.frame()["kind"].value_counts().to_dict()
    assert kinds == {"change": 35, "rollback": 6, "hotfix": 1}
    found = dora.measure(history, "sample-app")
    assert found.estimate("change fail rate").value == pytest.approx(7 / 36)
    assert found.trend.status == "not_enough_data"
    assert list(dora.frame(found).columns) == ["value", "low", "high", "unit", "n", "how"]


def test_the_command_reads_a_folder_and_refuses_a_window_that_is_none() -> None:
    run = CliRunner().invoke
    shown = run(commands, ["--from", "examples/dora"])
    assert shown.exit_code == 0 and "change fail rate" in shown.output and "19.4%" in shown.output
    made = json.loads(run(commands, ["--from", "examples/dora", "--json"]).output)
    assert [each["name"] for each in made["estimates"]][2] == "deployment frequency"
    late = run(commands, ["--from", "examples/dora", "--since", "2026-11-23T23:00:00"])
    assert "2026-11-23 23:00:00" in late.output
    assert "Roll back sample-app" in run(commands, ["--from", "examples/dora", "--deployments"]).output
    assert isinstance(run(commands, ["--from", "examples/dora", "--since", "soon"]).exception, InvalidInput)
