"""The onset: dated within a few samples, rarely invented, refused where data are too few."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_lib.rules import changepoint
from platform_lib.rules.changepoint import onset


def poisson(rates: list[tuple[float, int]], seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.poisson(rate, size) for rate, size in rates]).astype(float)


@pytest.mark.parametrize(("factor", "limit"), [(2, 4), (3, 2), (5, 1)])
def test_a_jump_is_dated_within_a_few_samples(factor: int, limit: int) -> None:
    errors = []
    for seed in range(60):
        found = onset(poisson([(2, 120), (2 * factor, 120)], seed), draws=20)
        assert found.index is not None
        errors.append(abs(found.index - 120))
    assert np.median(errors) <= limit
    assert np.mean(np.array(errors) <= 12) >= 0.9


def test_false_breaks_are_rare() -> None:
    found = [changepoint.breaks(changepoint.stabilised(poisson([(2, 240)], seed), "counts")) for seed in range(200)]
    assert sum(bool(each) for each in found) <= 20


def test_the_interval_holds_the_truth_most_of_the_time() -> None:
    held = 0
    for seed in range(100):
        found = onset(poisson([(2, 60), (6, 60)], seed), draws=200, seed=seed)
        held += found.low is not None and found.low <= 60 <= (found.high or 0)
    assert held >= 80


def test_the_interval_is_repeatable_and_holds_the_point() -> None:
    values = poisson([(2, 60), (6, 60)], 4)
    first, second = onset(values, seed=7), onset(values, seed=7)
    assert first == second
    assert first.low is not None and first.index is not None and first.high is not None
    assert first.low <= first.index <= first.high


def test_an_outage_that_ends_has_an_end() -> None:
    found = onset([0.0] * 30 + [40.0, 42, 38, 41, 39, 40, 43, 40] + [0.0] * 30)
    assert (found.index, found.ended) == (30, 38)
    assert (found.low, found.high) == (30, 30)
    assert found.before == 0 and found.after == pytest.approx(40.4, abs=0.1)


def test_an_outage_that_lasts_has_none() -> None:
    assert onset([0.0] * 30 + [40.0] * 30).ended is None


def test_a_small_wobble_before_the_outage_is_not_the_onset() -> None:
    assert onset([0.0] * 20 + [1.0] * 10 + [0.0] * 20 + [200.0] * 20).index == 50


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([1.0] * 11, "too few"),
        ([0.0] * 40 + [1.0], "too few"),
        ([0.0] * 20 + [float("nan")], "missing"),
        ([5.0] * 40, "no lasting rise"),
        ([50.0] * 20 + [1.0] * 20, "no lasting rise"),
    ],
)
def test_what_cannot_be_dated_is_refused_with_the_reason(values: list[float], word: str) -> None:
    found = onset(values)
    assert found.index is None and found.low is None
    assert word in found.reason


def test_latency_is_dated_on_its_logarithm() -> None:
    generator = np.random.default_rng(3)
    values = np.exp(generator.normal(1.0, 0.3, 160))
    values[100:] *= 4
    values[20] = 400  # one slow request is no onset
    found = onset(values, kind="latency", draws=50)
    assert found.index is not None and abs(found.index - 100) <= 2


def test_breaks_are_those_of_pelt() -> None:
    import ruptures

    for seed in range(10):
        values = changepoint.stabilised(poisson([(2, 50), (7, 40), (3, 50)], seed), "counts")
        pelt = ruptures.Pelt(model="l2", min_size=3, jump=1).fit(values).predict(pen=2 * np.log(len(values)))
        assert changepoint.breaks(values) == tuple(pelt[:-1])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=0, max_size=80))
def test_any_counts_give_an_ordered_answer_or_a_reason(values: list[int]) -> None:
    found = onset([float(value) for value in values], draws=20)
    assert found.reason
    if found.index is not None:
        assert found.low is not None and found.high is not None
        assert 0 < found.low <= found.index <= found.high < len(values)
        assert found.ended is None or found.ended > found.index
