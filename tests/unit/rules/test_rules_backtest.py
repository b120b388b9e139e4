import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_lib.rules.backtest import Episode, Incident, episodes, replay, score, wilson, window_sums
from platform_lib.rules.slo import alert_rules

STEP = 15.0
RULES = alert_rules()


def quiet_hours(hours: float, per_step: float = 300.0):
    times = np.arange(1, int(hours * 3600 / STEP) + 1) * STEP
    return times, np.zeros_like(times), np.full_like(times, per_step)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 20))
def test_window_sums_are_what_a_loop_would_add(counts, steps) -> None:
    times = np.arange(len(counts)) * STEP
    slow = [sum(counts[max(0, i - steps + 1) : i + 1]) for i in range(len(counts))]
    assert window_sums(times, np.array(counts, float), steps * STEP).tolist() == slow


def test_an_hour_without_errors_pages_nobody() -> None:
    times, bad, total = quiet_hours(8)
    assert not any(one.firing.any() or one.silenced.any() for one in replay(
        times, bad, total, RULES, budget=0.001, min_bad=10))  # fmt: skip


def test_a_total_outage_pages_within_a_minute_and_the_page_ends_five_minutes_after_it() -> None:
    times, bad, total = quiet_hours(8)
    begin, end = 4 * 3600.0, 4 * 3600.0 + 600
    bad[(times > begin) & (times <= end)] = 300.0
    fast = replay(times, bad, total, RULES, budget=0.001, min_bad=10)[0]
    (page,) = episodes(times, fast.firing)
    assert begin + 51.84 <= page.start_s <= begin + 51.84 + STEP
    assert page.end_s is not None and end + 285 <= page.end_s <= end + 300


def test_few_events_are_silenced_and_said_to_be() -> None:
    times, bad, total = quiet_hours(3, per_step=0.05)
    bad[-40:] = 0.05
    fast = replay(times, bad, total, RULES, budget=0.001, min_bad=10)[0]
    assert fast.silenced.any() and not fast.firing.any()
    assert replay(times, bad, total, RULES, budget=0.001, min_bad=0)[0].firing.any()


def test_a_rule_knows_whether_the_history_is_long_enough() -> None:
    done = replay(*quiet_hours(7), RULES, budget=0.001, min_bad=10)
    assert [one.complete for one in done] == [True, True, False, False]


def test_alerts_are_held_against_incidents() -> None:
    found = [Episode(105, 160), Episode(500, 520), Episode(905, None)]
    labelled = [Incident("a", 100, 150), Incident("missed", 300, 320), Incident("open", 900, None)]
    result = score(found, labelled, grace_s=10)
    assert result.precision == pytest.approx(2 / 3) and result.recall == pytest.approx(2 / 3)
    assert [match.detect_s for match in result.matches] == [5, None, 5]
    assert [match.reset_s for match in result.matches] == [10, None, None]
    assert result.false == (Episode(500, 520),)


def test_nothing_is_claimed_of_nothing() -> None:
    assert score([], [], grace_s=1).precision is None and score([], [], grace_s=1).recall is None
    assert score([Episode(1, 2)], [], grace_s=1).precision == 0
    assert wilson(0, 0) == (0, 1)


def test_an_alert_shortly_after_the_end_is_late_and_not_false() -> None:
    labelled = [Incident("a", 100, 110)]
    assert score([Episode(115, 120)], labelled, grace_s=10).recall == 1
    assert score([Episode(125, 130)], labelled, grace_s=10).recall == 0
    assert score([Episode(80, 100)], labelled, grace_s=10).recall == 0


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_holds_the_share(good, total) -> None:
    good = min(good, total)
    low, high = wilson(good, total)
    assert 0 <= low <= good / total + 1e-9 and good / total - 1e-9 <= high <= 1
