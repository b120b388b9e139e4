"""An approval covers one plan: book, parameters, platform and steps; whatever differs is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from platform_lib import approval, guard, steps
from platform_lib.errors import GuardRefused, InvalidInput
from platform_lib.model import Plan, Step

PLAN = Plan("deploy 1.1", (Step("commit", "a.yaml", "1.0 to 1.1"), Step("wait", "Deployment/a", "ready")), {"v": "1.1"})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run folder, this process being its kernel."""
    monkeypatch.setattr(guard, "_confirmed", set())

    def make(name: str, approved: str = "", **parameters: object) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        begun = {"runbook": "02-deploy", "book_sha256": "b", "platform": "apqx", "context": "apqx"}
        (folder / "inputs.json").write_text(json.dumps(begun))
        (folder / "params.json").write_text(json.dumps({"dry_run": not approved, "version": "1.1"} | parameters))
        if approved:
            found = approval.find(tmp_path, approved)
            (folder / approval.APPROVAL).write_text(json.dumps({"approved": found}))
        monkeypatch.setenv("APQX_RUN_DIR", str(folder))
        monkeypatch.setenv("APQX_APPROVED_PLAN", approved)
        return folder

    return make


def planned(folder: Path, plan: Plan = PLAN) -> str:
    approval.show(plan)
    return str(json.loads((folder / "plan.json").read_text())["sha256"])


def test_the_same_plan_has_the_same_hash_and_is_let_through(run) -> None:
    approved = planned(run("dry"))
    assert planned(run("real", approved)) == approved
    assert guard._confirmed == {approved}


@pytest.mark.parametrize(
    ("changes", "plan", "named"),
    [
        ({"version": "1.2"}, PLAN, "parameters.version was 1.1, is 1.2"),
        (
            {},
            Plan(PLAN.title, PLAN.steps[:1], PLAN.inputs),
            "plan.steps was 2 steps (commit, wait), is 1 steps (commit)",
        ),
        (
            {},
            Plan(PLAN.title, (Step("commit", "a.yaml", "1.2 to 1.1"), PLAN.steps[1]), PLAN.inputs),
            "plan.steps 1.why was 1.0 to 1.1, is 1.2 to 1.1",
        ),
    ],
)
def test_another_plan_is_refused_and_the_difference_is_named(run, changes, plan, named: str) -> None:
    approved = planned(run("dry"))
    run("real", approved, **changes)
    with pytest.raises(GuardRefused) as refused:
        approval.show(plan)
    assert named in str(refused.value) and refused.value.exit_code == 3
    assert guard._confirmed == set()


def test_a_resumed_run_may_find_a_part_done_and_nothing_new(run) -> None:
    approved = planned(run("dry"))
    folder = run("real", approved)
    (folder / steps.LEDGER).write_text(json.dumps({"step": "deploy", "place": 1, "event": "started"}) + "\n")
    approval.show(Plan(PLAN.title, PLAN.steps[1:], PLAN.inputs))
    with pytest.raises(GuardRefused):
        approval.show(Plan(PLAN.title, (*PLAN.steps, Step("delete", "all", "")), PLAN.inputs))


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "0" * 64])
def test_a_hash_of_no_plan_is_refused(run, tmp_path: Path, text: str) -> None:
    planned(run("dry"))
    with pytest.raises(InvalidInput):
        approval.find(tmp_path, text)


def test_a_plan_that_was_altered_is_not_what_was_approved(run, tmp_path: Path) -> None:
    folder = run("dry")
    approved = planned(folder)
    made = json.loads((folder / "plan.json").read_text())
    made["parameters"]["version"] = "6.6.6"
    (folder / "plan.json").write_text(json.dumps(made))
    with pytest.raises(InvalidInput, match="was altered"):
        approval.find(tmp_path, approved)
