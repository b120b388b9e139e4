"""A finished step is skipped only while everything it rests on is the same; a cut-off one is done again."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_lib import steps
from platform_lib.errors import GuardRefused


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Begin an attempt of one run: what is in the folder now belongs to earlier ones."""
    monkeypatch.setenv("APQX_RUN_DIR", str(tmp_path))

    def begin(**changes):
        steps._ledger.cache_clear()
        done: list[str] = []
        told: list[str] = []

        def act() -> str:
            done.append("act")
            if changes.get("dies"):
                raise KeyboardInterrupt
            return changes.get("result", "result")

        rules = steps.Rules(
            facts=lambda: {"head": changes.get("head", "h0")},
            still=changes.get("still"),
            undo=(lambda facts: done.append(f"undo to {facts['head']}")) if changes.get("measures") else None,
            admit=changes.get("admit"),
        )
        inputs = {"version": changes.get("version", "1")}
        got = steps.once("deploy", inputs=inputs, act=act, rules=rules, said=told.append)
        return got, done, " ".join(told)

    return begin


def events(folder: Path) -> list[str]:
    return [line["event"] for line in steps.read(folder)]


def test_a_finished_step_is_skipped_and_gives_its_result(attempt, tmp_path: Path) -> None:
    assert attempt(result={"a": 1}) == ({"a": 1}, ["act"], "")
    got, done, told = attempt(still=lambda facts: "" if facts == {"head": "h0"} else "moved")
    assert (got, done) == ({"a": 1}, [])
    assert "skipped, finished at" in told and "its check passes again" in told
    assert events(tmp_path) == ["started", "finished", "skipped"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": "2"}, "its inputs changed: version '1' to '2'"),
        ({"still": lambda _facts: "git names something else"}, "its check fails: git names something else"),
    ],
)
def test_a_changed_input_or_a_failing_check_forces_the_step_again(attempt, changes, why: str) -> None:
    attempt()
    _, done, told = attempt(**changes)
    assert done == ["act"] and why in told


def test_another_library_forces_the_step_again(attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt()
    monkeypatch.setattr(steps, "library", lambda: "another")
    _, done, told = attempt()
    assert done == ["act"] and "the library changed" in told


def test_a_result_that_was_tampered_with_is_not_loaded(attempt, tmp_path: Path) -> None:
    attempt()
    (kept,) = (tmp_path / "steps").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    kept.write_bytes(b"cos\nsystem\n(S'touch /tmp/apqx-tampered'\ntR.")
    _, done, told = attempt()
    assert done == ["act"] and "its result was not kept" in told
    assert not Path("/tmp/apqx-tampered").exists()


def test_a_cut_off_measurement_is_taken_back_to_where_it_began_and_done_again(attempt, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt(dies=True, measures=True, head="h0")
    _, done, told = attempt(measures=True, head="h7")
    assert done == ["undo to h0", "act"] and "taken back and done again, it was cut off" in told
    assert events(tmp_path) == ["started", "undone", "started", "finished"]
    assert steps.read(tmp_path)[2]["before"] == {"head": "h0"}


def test_a_world_that_moved_on_is_not_touched(attempt) -> None:
    def refuse(_earlier: steps.Earlier) -> None:
        raise GuardRefused("somebody else changed it")

    attempt()
    with pytest.raises(GuardRefused):
        attempt(admit=refuse)


def test_a_ledger_cut_off_in_the_middle_of_a_line_is_read_to_there(attempt, tmp_path: Path) -> None:
    attempt()
    ledger = tmp_path / steps.LEDGER
    ledger.write_text(ledger.read_text()[:-40])
    _, done, told = attempt()
    assert done == ["act"] and "cut off" in told


def test_steps_within_a_step_are_part_of_it_and_the_same_step_twice_is_two(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("APQX_RUN_DIR", str(tmp_path))
    for _ in range(2):
        steps._ledger.cache_clear()
        inner = lambda: steps.once("inner", inputs={}, act=lambda: 1)  # noqa: E731
        assert [steps.once("outer", inputs={}, act=inner), steps.once("outer", inputs={}, act=lambda: 2)] == [1, 2]
    assert [(line["step"], line["place"], line["event"]) for line in steps.read(tmp_path)] == [
        ("outer", 1, "started"),
        ("outer", 1, "finished"),
        ("outer", 2, "started"),
        ("outer", 2, "finished"),
        ("outer", 1, "skipped"),
        ("outer", 2, "skipped"),
    ]


def test_outside_of_a_run_nothing_is_recorded(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("APQX_RUN_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert steps.once("deploy", inputs={}, act=lambda: 1) == 1
    assert list(tmp_path.iterdir()) == []
