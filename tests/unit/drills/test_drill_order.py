"""The order of a drill and what it promises whatever goes wrong, with a fault in memory."""

import json

import pytest
from drill_world import World

from platform_lib.drills import catalogue, run_drill, score, undo
from platform_lib.drills.measure import SPANS
from platform_lib.errors import (
    DrillAborted,
    DrillSkipped,
    GuardRefused,
    InvalidInput,
    Locked,
    PlatformError,
    UndoFailed,
)
from platform_lib.model import App, Platform


def kept(platform: Platform) -> score.Result:
    return score.results(platform.home)[-1]


def chaos_journal(platform: Platform) -> dict:
    return json.loads((platform.home / "drills" / "journals" / kept(platform).id / "journal.json").read_text())


def test_a_recovered_fault_passes_and_the_undo_was_on_disk_before_it_struck(world: World, platform: Platform) -> None:
    record = run_drill(platform, App(), scenario="first")
    assert record.verdict.status == "pass", record.verdict
    assert world.pending_at["prepare"] == world.pending_at["inject"] == world.pending_at["undo"] == 1
    assert undo.pending(platform.home) == []
    named = [call.split()[0] for call in world.calls]
    assert named.index("prepare") < named.index("inject") < named.index("recovered") < named.index("undo")
    assert kept(platform).status == "pass" and chaos_journal(platform)["status"] == "completed"


def test_the_parts_of_the_rto_add_up_and_none_is_zero(world: World, platform: Platform) -> None:
    figures = run_drill(platform, App(), scenario="first").outcome.figures
    parts = [figures[name] for name in SPANS if figures[name] is not None]
    assert all(part > 0 for part in parts) and len(parts) >= 2
    assert sum(parts) == pytest.approx(figures["rto_s"], abs=1e-6)
    assert figures["requests_lost"] > 0 and figures["detected_by"] == "probe"


def test_a_fault_that_never_recovers_fails_and_is_undone(world: World, platform: Platform) -> None:
    world.looks_until_over = float("inf")
    record = run_drill(platform, App(), scenario="first")
    assert record.verdict.status == "fail" and "not over" in record.verdict.reason
    assert record.outcome.figures["rto_s"] is None
    assert "undo" in world.calls and undo.pending(platform.home) == []
    with pytest.raises(DrillAborted, match="not over"):
        record.require_recovered()
    journal = chaos_journal(platform)
    assert journal["deviated"] is True and [one["status"] for one in journal["rollbacks"]] == ["succeeded"]


def test_a_fault_that_does_not_strike_proves_nothing(world: World, platform: Platform) -> None:
    world.strikes = False
    record = run_drill(platform, App(), scenario="first")
    assert record.verdict.status == "inconclusive" and "fault struck" in record.verdict.reason
    assert kept(platform).proved.startswith("Nothing")


def test_a_platform_that_is_not_steady_again_fails(world: World, platform: Platform, monkeypatch) -> None:
    from platform_lib.drills import conduct

    def never(*_):
        world.steady = False
        return conduct.steady.examine()

    monkeypatch.setattr(conduct.steady, "again", never)
    record = run_drill(platform, App(), scenario="first")
    assert record.verdict.status == "fail" and "steady again" in record.verdict.reason


@pytest.mark.parametrize("where", ["prepare", "inject"])
def test_an_error_on_the_way_is_undone_and_kept(world: World, platform: Platform, where: str) -> None:
    world.breaks_in = where
    with pytest.raises(PlatformError, match=f"{where} broke"):
        run_drill(platform, App(), scenario="first")
    assert "undo" in world.calls and undo.pending(platform.home) == []
    assert kept(platform).status == "aborted"


def test_ctrl_c_undoes_the_fault_and_says_interrupted(world: World, platform: Platform) -> None:
    world.breaks_in, world.error = "recovered", KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        run_drill(platform, App(), scenario="first")
    assert "undo" in world.calls and undo.pending(platform.home) == []
    assert kept(platform).status == "interrupted" and chaos_journal(platform)["status"] == "interrupted"
    assert kept(platform).figures["rto_s"] is None and len(kept(platform).bins) > 0, (
        "what was measured until then counts"
    )


def test_a_breached_safeguard_stops_the_drill_and_undoes_the_fault(world: World, platform: Platform) -> None:
    world.looks_until_over, world.breach = float("inf"), "safeguard other-apps: monitoring not healthy"
    with pytest.raises(DrillAborted, match="monitoring not healthy") as raised:
        run_drill(platform, App(), scenario="first")
    assert raised.value.undone is True and undo.pending(platform.home) == []
    assert kept(platform).status == "aborted" and chaos_journal(platform)["status"] == "aborted"


def test_without_a_steady_state_nothing_is_touched(world: World, platform: Platform) -> None:
    world.steady = False
    with pytest.raises(DrillAborted, match="no steady state"):
        run_drill(platform, App(), scenario="first")
    assert world.calls == [] and undo.pending(platform.home) == []


def test_a_failed_undo_stays_pending_blocks_the_next_drill_and_can_be_repeated(
    world: World, platform: Platform
) -> None:
    world.breaks_in = "undo"
    with pytest.raises(UndoFailed, match="undo broke") as raised:
        run_drill(platform, App(), scenario="first")
    assert raised.value.exit_code == 4
    (left,) = undo.pending(platform.home)
    assert left.target == {"thing": "a", "prepared": True}, "preparing adds to what the undo needs"
    with pytest.raises(Locked, match=left.id) as refused:
        run_drill(platform, App(), scenario="second")
    assert f"apqx drill undo {left.id}" in refused.value.hint
    with pytest.raises(UndoFailed):
        undo.undo(platform.home)
    world.breaks_in = ""
    assert [one.id for one in undo.undo(platform.home, left.id)] == [left.id]
    assert f"undo {left.target}" in world.calls and undo.pending(platform.home) == []
    assert undo.undo(platform.home) == []


def test_what_the_platform_cannot_do_is_skipped_and_weighs_nothing(world: World, platform: Platform) -> None:
    world.unsupported = "no such thing here"
    with pytest.raises(DrillSkipped, match="no such thing here"):
        run_drill(platform, App(), scenario="first")
    found = catalogue.run_all(platform, App())
    assert [one.status for one in found] == ["skipped", "skipped"] and world.calls == []
    scored = score.score(found)
    assert scored.value is None and "2 skipped" in scored.words()
    assert {line.skipped for line in scored.lines} == {"no such thing here"}


def test_one_failure_does_not_hide_the_rest_and_lowers_the_score_by_its_weight(
    world: World, platform: Platform
) -> None:
    world.looks_until_over = float("inf")

    def progress(line: str) -> None:
        if line.startswith("[2/2]"):
            world.looks_until_over, world.looks, world.down_since, world.down_until = 2, iter(range(99)), None, None

    found = catalogue.run_all(platform, App(), progress=progress)
    assert [(one.scenario, one.status) for one in found] == [("first", "fail"), ("second", "pass")]
    assert score.score(score.results(platform.home)).value == pytest.approx(2 / 10)
    assert {one.batch for one in found} == {found[0].batch}


def test_repeating_gives_median_and_range(world: World, platform: Platform) -> None:
    def progress(line: str) -> None:
        if line.startswith("["):
            world.looks, world.down_since, world.down_until = iter(range(100)), None, None

    wanted = catalogue.Order(repeat=2)
    found = catalogue.run_all(platform, App(), scenarios=["first"], wanted=wanted, progress=progress)
    assert [one.status for one in found] == ["pass", "pass"]
    median, low, high = score.spreads(found)["rto_s"]
    assert 0 < low <= median <= high


def test_a_destroying_scenario_asks_for_the_name(world: World, platform: Platform) -> None:
    from platform_lib.drills import scenario

    path = scenario.FOLDER / "first.toml"
    path.write_text("destroys_cluster = true\n" + path.read_text())
    with pytest.raises(GuardRefused, match="confirm"):
        run_drill(platform, App(), scenario="first", confirm="other")
    found = catalogue.run_all(platform, App())
    assert [(one.scenario, one.status) for one in found] == [("second", "pass"), ("first", "skipped")]


def test_a_wrong_file_is_refused_before_anything_is_touched(world: World, platform: Platform) -> None:
    from platform_lib.drills import scenario

    (scenario.FOLDER / "second.toml").write_text('title = "x"\n')
    with pytest.raises(InvalidInput, match=r"second.toml - why is missing"):
        catalogue.run_all(platform, App())
    assert world.calls == []
