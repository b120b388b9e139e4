import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.errors import InvalidInput
from platform_lib.rules import slo
from platform_lib.rules.slo import Objective, alert_rules, decide, duration, rules_of

PAGE, SLOW, TICKET, SLOWEST = alert_rules()
OBJECTIVES = st.floats(0.5, 0.99999)


def wanted(percent: float = 99.9, **more) -> Objective:
    return Objective("shop", "availability", percent, "bad[{{.window}}]", "all[{{.window}}]", **more)


def test_the_four_rules_of_thirty_days() -> None:
    found = [(r.severity, r.factor, duration(r.long_s), duration(r.short_s)) for r in alert_rules()]
    assert found == [
        ("page", 14.4, "1h", "5m"),
        ("page", 6, "6h", "30m"),
        ("ticket", 3, "1d", "2h"),
        ("ticket", 1, "3d", "6h"),
    ]
    assert [r.factor for r in alert_rules(28)] == pytest.approx([13.44, 5.6, 2.8, 0.9333333])


def test_a_scale_shortens_windows_and_keeps_factors() -> None:
    assert [(r.factor, duration(r.long_s), duration(r.short_s)) for r in alert_rules(30, 60)] == [
        (14.4, "1m", "5s"),
        (6, "6m", "30s"),
        (3, "24m", "2m"),
        (1, "1h12m", "6m"),
    ]
    for scale in (0, 0.5, 301):
        with pytest.raises(InvalidInput, match="time scale"):
            alert_rules(30, scale)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "500ms"), (90, "1m30s"), (5400, "1h30m"), (259200, "3d"), (604800, "1w"), (2592000, "30d")],
)
def test_durations_are_written_as_prometheus_does(seconds, text) -> None:
    assert duration(seconds) == text


@given(OBJECTIVES, st.integers(1, 10**6), st.data())
def test_spent_and_left_make_one_budget(objective, total, data) -> None:
    bad = data.draw(st.integers(0, total))
    spent = slo.budget_burned(bad, total, objective)
    assert spent + slo.budget_left(bad, total, objective) == pytest.approx(1)
    assert spent == pytest.approx(slo.burn_rate(bad, total, objective), rel=1e-9)
    assert slo.budget_burned(bad, total, objective, 10.0 * total) == pytest.approx(spent / 10)


def test_nothing_burns_nothing_and_no_events_are_no_number() -> None:
    assert slo.budget_burned(0, 0, 0.999) == 0 and slo.budget_left(0, 0, 0.999) == 1
    assert slo.budget_burned(3, 0, 0.999) == math.inf
    assert math.isnan(slo.burn_rate(0, 0, 0.999))
    for objective in (0, 1, 99.9):
        with pytest.raises(InvalidInput, match="above 0 and below 1"):
            slo.burn_rate(1, 10, objective)


@pytest.mark.parametrize(
    ("left", "burn", "days"), [(1, 1, 30), (0.5, 1, 15), (1, 14.4, 30 / 14.4), (0, 2, 0), (-1, 2, 0), (1, 0, math.inf)]
)
def test_time_to_exhaustion(left, burn, days) -> None:
    assert slo.time_to_exhaustion_s(left, burn, 30 * 86400) == pytest.approx(days * 86400)


def test_a_total_outage_pages_after_52_seconds() -> None:
    assert slo.time_to_alert_s(PAGE, 0.001, 1.0) == pytest.approx(51.84)
    assert slo.time_to_alert_s(PAGE, 0.001, 0.0144) == math.inf


@given(st.floats(1, 99.999))
def test_a_rule_that_could_never_fire_is_refused_and_all_others_are_not(percent) -> None:
    possible = PAGE.factor * (100 - percent) / 100 < 1
    if possible:
        assert len(rules_of(wanted(percent))) == 4
    else:
        with pytest.raises(InvalidInput, match=r"page 14.4x 1h/5m.*never fire; raise the objective above 93.06 %"):
            rules_of(wanted(percent))


@pytest.mark.parametrize(
    ("long", "short", "state", "words"),
    [
        ((20, 1000), (2, 100), "firing", "both above 14.4"),
        ((9, 450), (2, 100), "silenced", "9 bad events of the 10 needed"),
        ((20, 1000), (0, 100), "quiet", "no longer burning"),
        ((10, 1000), (50, 100), "quiet", "fires above 14.4"),
        ((0, 0), (0, 0), "no_data", "no events within 1h"),
        ((20, 1000), (0, 0), "no_data", "no events within 5m"),
    ],
)
def test_a_rule_says_what_it_decides_and_why(long, short, state, words) -> None:
    found = decide(PAGE, long=long, short=short, budget=0.001, min_bad=10)
    assert found.state == state and words in found.reason


def test_a_threshold_must_be_the_end_of_a_bucket() -> None:
    buckets = ["0.1", "0.25", "1.0", "+Inf"]
    assert slo.check_threshold("0.25", buckets, metric="m") == 0.25
    with pytest.raises(InvalidInput, match=r'no bucket le="0.3", there are 0.1, 0.25, 1.0, \+Inf.*next one, 0.25'):
        slo.check_threshold("0.3", buckets, metric="m")
    with pytest.raises(InvalidInput, match=r'write le="1\.0"'):
        slo.check_threshold("1", buckets, metric="m")
    with pytest.raises(InvalidInput, match="there are none"):
        slo.check_threshold("1", [], metric="m")
