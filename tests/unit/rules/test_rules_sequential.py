from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.rules.sequential import Bin, Step, against_objective, alarms_after, beta_binomial, compare, pair


@pytest.mark.parametrize(("new_bad", "bad", "m"), [(0, 0, 1.0), (4, 4, 3.2), (8, 8, 256 / 9)])
def test_published_values_of_the_martingale(new_bad: int, bad: int, m: float) -> None:
    assert beta_binomial(new_bad, bad, 0.5) == pytest.approx(m)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.05, 0.95))
def test_one_more_failure_of_the_new_version_never_calms_an_alarm(new_bad: int, old_bad: int, share: float) -> None:
    before = compare([Step(share, new_bad + old_bad, new_bad)])
    after = compare([Step(share, new_bad + old_bad + 1, new_bad + 1)])
    if before.worse and before.m >= 20:
        assert after.worse and after.m >= before.m * 0.999


@given(st.integers(1, 400), st.floats(0.001, 0.2), st.data())
def test_one_more_failure_never_calms_an_alarm_against_the_objective(
    total: int, objective: float, data: st.DataObject
) -> None:
    bad = data.draw(st.integers(0, total - 1))
    before, after = against_objective(bad, total, objective), against_objective(bad + 1, total, objective)
    if before.worse:
        assert after.worse and after.m >= before.m * 0.999


@given(st.lists(st.builds(Step, st.just(0.5), st.just(3), st.integers(0, 3)), max_size=10))
def test_steps_of_equal_share_add_up(steps: list[Step]) -> None:
    whole = Step(0.5, sum(s.bad for s in steps), sum(s.new_bad for s in steps))
    assert compare(steps).m == pytest.approx(compare([whole]).m)


def test_without_the_other_version_there_is_no_evidence() -> None:
    assert compare([Step(1.0, 50, 50)]).m == 1.0
    assert compare([]).m == 1.0


def test_false_alarms_stay_below_alpha_under_constant_looking() -> None:
    draw = np.random.default_rng(7)
    alarms = 0
    for _ in range(300):
        bad = draw.poisson(3, 100)
        new_bad = np.cumsum(draw.binomial(bad, 0.3))
        total = np.cumsum(bad)
        alarms += any(
            (found := compare([Step(0.3, int(n), int(s))])).m >= 20 and found.worse
            for n, s in zip(total, new_bad, strict=True)
        )
    assert alarms / 300 <= 0.05


def test_a_version_that_fails_three_times_as_often_is_found() -> None:
    draw = np.random.default_rng(8)
    bins = [Bin(50, int(draw.binomial(50, 0.06)), 50, int(draw.binomial(50, 0.02))) for _ in range(60)]
    found = compare(pair(bins))
    assert found.worse and found.m > 100


def test_old_requests_serve_as_comparison_only_once() -> None:
    steps = pair([Bin(0, 0, 100, 1), Bin(100, 5, 0, 0), Bin(100, 5, 0, 0)])
    assert steps == [Step(0.5, 6, 5), Step(1.0, 5, 5)]


def test_requests_of_the_same_moment_go_first() -> None:
    assert pair([Bin(0, 0, 30, 0), Bin(10, 1, 10, 0)]) == [Step(0.5, 1, 1)]


def test_what_is_enough_to_fail_is_known_beforehand() -> None:
    assert alarms_after(0.01) == 11
    assert beta_binomial(11, 11, 0.5) >= 100 > beta_binomial(10, 10, 0.5)
