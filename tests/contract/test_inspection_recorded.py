"""What does inspection need besides Argo CD, and by which name does it ask? On recorded answers."""

from __future__ import annotations

from typing import Any

import pytest
import replay
from test_argocd_transcripts import Run, remote, run  # noqa: F401 - fixtures
from test_argocd_transcripts_mistakes import STATUS, recorded  # noqa: F401 - a fixture

from platform_lib import errors, inspection
from platform_lib.inspection import ending, waiting
from platform_lib.model import App, Platform


def away(_platform: Platform) -> Any:
    raise errors.Unreachable("platform c - no kubeconfig where one was expected", url="kubeconfig")


@pytest.mark.parametrize("recorded", [{"start": {"status": STATUS}}], indirect=True)
def test_nothing_to_end_asks_nobody_but_argo_cd(
    recorded: tuple[Platform, replay.Api],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "connect", away)
    assert inspection.plan_terminate(recorded[0], App()).steps == ()
    assert "had no operation to end" in inspection.terminate(recorded[0], App()).message
    with pytest.raises(errors.Unreachable):
        inspection.terminate(recorded[0], App(), clean_hooks=True)


@pytest.mark.parametrize("recorded", [{"start": {"status": STATUS}}], indirect=True)
def test_what_a_wait_saw_is_told_also_where_nobody_can_look_further(
    recorded: tuple[Platform, replay.Api],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = errors.SyncFailed("web - operation Failed: no", app="web")
    monkeypatch.setattr("platform_lib.inspection.blockers.connect", away)
    assert waiting._with_reason(recorded[0], App(), seen) is seen


@pytest.mark.parametrize("recorded", [{"start": {"status": STATUS}}], indirect=True)
def test_a_tree_is_found_by_the_name_of_the_application(recorded: tuple[Platform, replay.Api]) -> None:  # noqa: F811
    assert inspection.tree(recorded[0], App("web", application="sample-app")).object == "Application/sample-app"


@pytest.mark.parametrize("run", ["terminate-flips-back"], indirect=True)
def test_an_operation_that_a_stale_write_turned_back_is_ended_all_the_same(run: Run) -> None:  # noqa: F811
    outcome = inspection.terminate(run.platform, App(), timeout_s=10.0, progress=run.lines.append)
    assert outcome.figures["terminated"] and not run.api.error
    assert any("again: a stale write turned it back" in line for line in run.lines), run.lines
