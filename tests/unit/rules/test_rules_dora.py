"""The five DORA metrics: what counts, what does not, and what is refused."""

import math

import numpy as np
import pandas as pd
import pytest

from platform_lib.rules import dora

START = pd.Timestamp("2026-11-02T09:00:00Z")


def at(minutes: float) -> pd.Timestamp:
    return START + pd.Timedelta(minutes=minutes)


def commits(*rows: tuple[float, str, str]) -> pd.DataFrame:
    return pd.DataFrame([(at(minute), sha, said) for minute, sha, said in rows], columns=["utc", "commit", "message"])


def deployed(*rows: tuple[float, str]) -> pd.DataFrame:
    return pd.DataFrame([(at(minute), sha) for minute, sha in rows], columns=["utc", "commit"])


FIVE = commits(
    (0, "a", "Deploy web 1"),
    (10, "b", "Deploy web 2"),
    (13, "c", "Roll back web to 1 (a)\n\nThis reverts commit bbbbbbb, as far as it goes."),
    (20, "d", "Deploy web 3"),
    (30, "e", "Deploy web 3.0.1-hotfix"),
)
FORCE = deployed((1, "a"), (11, "b"), (14, "c"), (22, "d"), (33, "e"))


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Deploy web 1.4.0", "change"),
        ("Roll back web to 1.3.0 (abc1234)", "rollback"),
        ('Revert "Deploy web 1.4.0"', "rollback"),
        ("Back to normal\n\nThis reverts commit 0123456789abcdef0123456789abcdef01234567.", "rollback"),
        ("Hotfix: time out earlier", "hotfix"),
        ("Deploy web 1.4.1-hotfix", "hotfix"),
        ("Revise the hotfixing guide", "change"),
        ("Reverting is documented", "change"),
    ],
)
def test_a_commit_message_says_what_kind_of_change_it_is(message: str, kind: str) -> None:
    assert dora.kind_of(message) == kind


def test_a_deployment_failed_when_a_rollback_or_a_hotfix_followed() -> None:
    found = dora.changes(FIVE, FORCE)
    assert list(found["kind"]) == ["change", "change", "rollback", "change", "hotfix"]
    assert list(found["failed"]) == [False, True, False, True, False]
    assert list(found.loc[found["failed"], "recovery_s"]) == [180.0, 660.0]
    assert list(found.loc[found["failed"], "recovered_by"]) == ["c", "e"]


def test_recovery_lasts_until_the_fix_was_seen_running() -> None:
    seen = FORCE.assign(ready_utc=[pd.NaT, pd.NaT, at(15), pd.NaT, pd.NaT])
    found = dora.changes(FIVE, seen)
    assert list(found.loc[found["failed"], "recovery_s"]) == [240.0, 660.0]


def test_a_return_to_an_older_commit_is_a_rollback_though_git_does_not_know() -> None:
    found = dora.changes(FIVE, deployed((1, "a"), (11, "b"), (15, "a")))
    assert list(found["kind"]) == ["change", "change", "rollback"]
    assert list(found["recovery_s"].dropna()) == [240.0]


def test_the_same_commit_again_is_no_deployment_and_a_foreign_one_stands_for_the_newest_before() -> None:
    healed = deployed((1, "a"), (2, "a"), (5, "foreign"), (11, "b"), (12, "b"))
    assert [commit for _, commit, _ in dora.in_force(FIVE, healed)] == ["a", "b"]


def test_lead_time_counts_every_change_that_came_with_a_deployment_and_no_rollback() -> None:
    found = dora.lead_times(FIVE, deployed((1, "a"), (33, "e")))
    assert dict(zip(found["commit"], found["lead_s"], strict=True)) == {"a": 60, "b": 1380, "d": 780, "e": 180}


def test_the_five_metrics_of_a_small_history() -> None:
    found = dora.delivery("web", FIVE, FORCE)
    rate, rework = found.estimate("change fail rate"), found.estimate("deployment rework rate")
    assert (rate.value, rate.n) == (0.5, 4)
    assert (rework.value, rework.n) == (0.4, 5)
    assert found.estimate("failed deployment recovery time, median").value == 420
    assert found.estimate("change lead time, median").value == 90
    assert found.estimate("deployment frequency").n == 4


def test_the_window_decides_by_the_time_of_deployment() -> None:
    found = dora.delivery("web", FIVE, FORCE, start=at(20).to_pydatetime(), end=at(80).to_pydatetime())
    assert found.estimate("deployment frequency").value == 2
    assert found.estimate("change fail rate").line().startswith("50.0%")


def test_days_of_which_nothing_is_known_do_not_lower_the_frequency() -> None:
    asked = (START - pd.Timedelta(days=300)).to_pydatetime()
    found = dora.delivery("web", FIVE, FORCE, start=asked)
    assert found.started_at == at(1).to_pydatetime()
    assert found.estimates == dora.delivery("web", FIVE, FORCE).estimates
    assert any("nothing is known before 2026-11-02 09:01:00" in note for note in found.notes)


def test_a_service_without_failures_has_a_rate_of_nought_with_an_upper_bound_and_no_recovery_time() -> None:
    found = dora.delivery("web", FIVE.iloc[:1], FORCE.iloc[:1])
    assert found.estimate("change fail rate").value == 0
    assert found.estimate("change fail rate").high > 0.7
    assert found.estimate("failed deployment recovery time, median").line().startswith("no data")


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (1, 10, 0.0179, 0.4042), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)],
)
def test_rates_carry_the_interval_of_wilson(hits: int, total: int, low: float, high: float) -> None:
    found = dora.ratio("r", hits, total, "")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_an_interval_of_durations_is_repeatable_covers_the_median_and_is_refused_for_four() -> None:
    seen = np.random.default_rng(1).lognormal(4, 1.2, 40)
    first, again = (dora.duration("d", list(seen), 0.5, "") for _ in range(2))
    assert first == again
    assert first.low < first.value < first.high
    few = dora.duration("d", list(seen[:4]), 0.5, "")
    assert few.value is not None and few.low is None and "too few for an interval" in few.line()


def test_the_bootstrap_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(7)
    hits = 0
    for _ in range(60):
        found = dora.duration("d", list(draw.lognormal(4, 1.2, 30)), 0.5, "")
        hits += found.low <= math.exp(4) <= found.high
    assert hits >= 50


@pytest.mark.parametrize(("days", "unit"), [(1, "per hour"), (30, "per day"), (365, "per week")])
def test_frequency_speaks_in_a_unit_that_fits_the_window(days: int, unit: str) -> None:
    found = dora.frequency("f", 12, days * 86400, "")
    assert found.unit == unit
    assert found.low < found.value < found.high


def test_a_trend_is_refused_for_few_failures_whatever_they_say() -> None:
    said = dora.trend([1000.0] * 50 + [1.0] * 50)
    assert said.status == "not_enough_data"
    assert "100 failures, a trend needs 200" in said.reason and "37 of 100" in said.reason


@pytest.mark.parametrize(("factor", "status"), [(0.5, "pass"), (1.0, "inconclusive"), (2.0, "fail")])
def test_a_trend_from_many_failures_says_which_way(factor: float, status: str) -> None:
    draw = np.random.default_rng(3)
    first, second = draw.lognormal(4, 1.2, 150), draw.lognormal(4, 1.2, 150) * factor
    assert dora.trend([*first, *second]).status == status


def test_nothing_ranks_a_service() -> None:
    text = str(dora.delivery("web", FIVE, FORCE)).lower()
    assert not any(word in text for word in ("elite", "high performer", "medium", "badge"))
