"""Measures on samples made by hand, where the answer is known."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.drills import measure
from platform_lib.drills.measure import SPANS, Objective
from platform_lib.rules.downtime import Samples

START = datetime(2026, 1, 1, tzinfo=UTC)
FAULT = START + timedelta(seconds=5)


def samples(seconds: float = 20, *, lost: tuple[float, float] = (6.0, 8.0), latency_ms: float = 10, rate: float = 100):
    """One request every 10 ms; those sent in [lost) seconds after the start fail."""
    since = np.round(np.arange(int(seconds * rate)) / rate, 6)
    status = np.where((since >= lost[0]) & (since < lost[1]), 503, 200).astype(np.uint16)
    flat, text = np.full(len(since), latency_ms, dtype=np.float32), np.full(len(since), "")
    return Samples(since + START.timestamp(), np.ones_like(flat), flat, status, text, text, text)


def marks(**seconds: float) -> dict[str, datetime]:
    return {"fault": FAULT} | {name: FAULT + timedelta(seconds=value) for name, value in seconds.items()}


def test_the_figures_of_a_known_outage() -> None:
    got = measure.figures(samples(), marks(detected=1.0, decided=1.5, recovered=3.0, verified=3.25), rate_rps=100)
    assert (got["requests_sent"], got["requests_lost"], got["outages"]) == (1500, 200, 1)
    assert got["availability_ratio"] == pytest.approx(1300 / 1500)
    assert got["time_ratio"] == pytest.approx(12 / 14), "the last second may be cut off and is left out"
    assert got["worst_1s_ratio"] == 0 and got["worst_10s_ratio"] == pytest.approx(0.8)
    assert "worst_60s_ratio" not in got, "15 s hold no window of a minute"
    assert (got["outage_lower_s"], got["outage_upper_s"]) == (1.99, 2.01)
    assert got["service_rto_s"] == pytest.approx(3.0, abs=0.02)
    assert [got[name] for name in SPANS] == [1.0, 0.5, 1.5, 0.25] and got["rto_s"] == 3.25
    assert got["budget_burned_ratio"] == pytest.approx(200 / (0.001 * 100 * 30 * 86400))


def test_an_objective_of_ones_own_changes_the_budget() -> None:
    got = measure.figures(samples(), marks(), rate_rps=100, objective=Objective(0.99, 7))
    assert got["budget_burned_ratio"] == pytest.approx(200 / (0.01 * 100 * 7 * 86400))


def test_without_a_failure_nothing_is_claimed_to_be_exactly_zero() -> None:
    got = measure.figures(samples(lost=(0, 0)), marks(recovered=1.0, verified=1.2), rate_rps=100)
    assert got["requests_lost"] == 0 and got["outage_upper_s"] == 0.01 and got["service_rto_s"] == 0.01
    assert got["loss_upper_bound_ratio"] == pytest.approx(3 / 1500)


def test_a_service_that_does_not_come_back_has_no_rto() -> None:
    got = measure.figures(samples(lost=(6.0, 99.0)), marks(detected=1.0), rate_rps=100)
    assert got["rto_s"] is None and got["service_rto_s"] is None and got["detect_s"] == 1.0


@pytest.mark.parametrize(("latency_ms", "wanted"), [(50, 1.0), (300, 0.5), (500, 0.0)])
def test_apdex_counts_satisfied_tolerating_and_frustrated(latency_ms: float, wanted: float) -> None:
    assert measure.apdex(samples(lost=(0, 0), latency_ms=latency_ms), 0.1) == pytest.approx(wanted)


def test_a_failed_request_is_frustrating_however_fast() -> None:
    assert measure.apdex(samples(lost=(0, 10)), 0.1) == pytest.approx(0.5)


def test_a_client_notices_the_first_lost_request() -> None:
    moment, seen = measure.client_noticed(samples(), FAULT) or pytest.fail("not noticed")
    assert moment == START + timedelta(seconds=6) and "lost" in seen


def test_a_client_notices_slow_answers_and_stays_calm_without() -> None:
    slow = samples(lost=(0, 0))
    slow.latency_ms[700:] = 400
    moment, seen = measure.client_noticed(slow, FAULT) or pytest.fail("not noticed")
    assert moment == START + timedelta(seconds=7) and "slower" in seen
    assert measure.client_noticed(samples(lost=(0, 0)), FAULT) is None


def test_moments_from_one_look_are_not_told_apart() -> None:
    found = measure.split(marks(detected=1.0, decided=1.0001, recovered=2.0, verified=2.5))
    assert found == {"detect_s": 1.0, "decide_s": None, "restore_s": 1.0, "verify_s": 0.5, "rto_s": 2.5}


@given(st.dictionaries(st.sampled_from(["detected", "decided", "recovered", "verified"]), st.floats(0, 100)))
def test_parts_are_positive_and_add_up_whatever_the_moments(seconds: dict[str, float]) -> None:
    found = measure.split(marks(**seconds))
    parts = [found[name] for name in SPANS if found[name] is not None]
    assert all(part > 0 for part in parts)
    if found["rto_s"] is not None:
        assert sum(parts) == pytest.approx(found["rto_s"]) and found["rto_s"] > 0
        assert found["rto_s"] == pytest.approx(seconds["verified"], abs=1e-5)


def test_bins_keep_every_request() -> None:
    found = measure.bins(samples(), FAULT)
    assert sum(one["sent"] for one in found) == 2000 and sum(one["lost"] for one in found) == 200
    assert found[0]["t_s"] == -5.0
