"""What stays paused after a rollback by history, and what is switched on again? On recorded answers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import replay
from test_argocd_transcripts_mistakes import SOURCE, STATUS, recorded  # noqa: F401 - a fixture
from typer.testing import CliRunner

from platform_lib import errors, rollback
from platform_lib.cli import app as cli
from platform_lib.model import App, Platform
from platform_lib.rollback import redeploy
from platform_lib.rules.syncchecks import PAUSED_ANNOTATION

PAUSED = {PAUSED_ANNOTATION: "2026-01-01T00:00:00+00:00"}
OFF = {"syncPolicy": {"automated": {"enabled": False, "prune": True}}}
BELOW_ROOT = {"argocd.argoproj.io/tracking-id": "root:argoproj.io/Application:argocd/sample-app"}


def application(name: str, **metadata: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "argocd", "resourceVersion": "1", **metadata}
    rows = [
        {"group": "argoproj.io", "kind": "Application", "namespace": "argocd", "name": n} for n in ("sample-app", "b")
    ]
    kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application"}
    return {**kind, "metadata": meta, "spec": {"source": SOURCE, **OFF}, "status": {"resources": rows}}


def paused_family(other: dict[str, str]) -> dict[str, Any]:
    """Root and the application paused by us; a second child with those annotations."""
    return {
        "start": {"metadata": {"annotations": PAUSED | BELOW_ROOT}, "spec": OFF, "status": STATUS},
        "objects": {
            f"{replay.APPS}/root": application("root", annotations=PAUSED),
            f"{replay.APPS}/b": application("b", annotations=other),
        },
    }


def automated(api: replay.Api, name: str) -> dict[str, Any]:
    found: dict[str, Any] = api.objects[f"{replay.APPS}/{name}"]["spec"]["syncPolicy"]["automated"]
    return found


@pytest.mark.parametrize("recorded", [paused_family(PAUSED)], indirect=True)
def test_a_parent_stays_paused_while_another_of_its_applications_is(recorded: tuple[Platform, replay.Api]) -> None:  # noqa: F811
    platform, api = recorded
    assert rollback.resume(platform, App()) == ["sample-app"]
    assert automated(api, "root") == OFF["syncPolicy"]["automated"], "the parent would deploy b's bad version again"
    assert automated(api, "sample-app") == {"prune": True}
    assert rollback.resume(platform, App("b")) == ["b"], "root does not manage b by its tracking id here"


@pytest.mark.parametrize("recorded", [paused_family({})], indirect=True)
def test_the_last_one_resumes_its_parent_too(recorded: tuple[Platform, replay.Api]) -> None:  # noqa: F811
    platform, api = recorded
    assert rollback.resume(platform, App()) == ["sample-app", "root"]
    assert automated(api, "root") == {"prune": True}


ROWS = [{"id": 3, "revision": "a" * 40, "source": SOURCE}, {"id": 4, "revision": "b" * 40, "source": SOURCE}]
HELD = {"metadata": {"annotations": PAUSED}, "spec": OFF, "status": STATUS | {"history": ROWS}}


@pytest.mark.parametrize("recorded", [{"start": HELD}], indirect=True)
def test_a_second_rollback_says_that_the_first_ones_pause_lasts(recorded: tuple[Platform, replay.Api]) -> None:  # noqa: F811
    said: list[str] = []
    what = redeploy._afterwards(recorded[0], App(), [], False, False, said.append)
    assert "paused" in what and "apqx app resume sample-app" in what + said[0]
    assert redeploy._afterwards(recorded[0], App(), [], True, False, said.append) == "resumed"
    assert automated(recorded[1], "sample-app") == {"prune": True}


@pytest.mark.parametrize("recorded", [{"start": HELD}], indirect=True)
def test_a_row_is_shown_before_it_is_deployed(recorded: tuple[Platform, replay.Api]) -> None:  # noqa: F811
    before = copy.deepcopy(recorded[1].objects)
    plan = rollback.plan_to_row(recorded[0], App(), history_id=3)
    assert [step.action for step in plan.steps] == ["pause", "rollback", "wait", "keep paused"]
    assert "history id 3 (aaaaaaa)" in plan.title and recorded[1].objects == before
    with pytest.raises(errors.RollbackRefused, match="id 9, it has 3, 4"):
        rollback.plan_to_row(recorded[0], App(), history_id=9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--row", "3"], "--row - given with --method revert"),
        (["--prune"], "--prune - given with --method revert"),
        (["--then", "resume"], "--then - given with --method revert"),
        (["--row", "3", "--method", "history", "--to", "1.0"], "--row 3 - given with --to"),
        (["--row", "3", "--method", "history", "--then", "revert"], "--row 3 - given with --then revert"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(options: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, ["rollback", "sample-app", *options])
    assert isinstance(done.exception, errors.InvalidInput) and said in str(done.exception)


def test_there_is_one_command_for_each_thing() -> None:
    from platform_lib.cli import apps
    from platform_lib.cli.application import app as about

    top = {one.name or one.callback.__name__ for one in apps.commands.registered_commands if one.callback}
    below = {one.name or one.callback.__name__ for one in about.registered_commands if one.callback}
    assert {"deploy", "sync", "rollback"} <= top and {"terminate", "resume"} <= below and not top & below
