from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.rules import downtime
from platform_lib.rules.downtime import Samples


def samples(good: list[bool], *, period_s: float = 0.1, latency_ms: float = 2.0, start: float = 1000.0) -> Samples:
    n = len(good)
    return Samples(
        start + np.arange(n) * period_s,
        np.full(n, 0.1, np.float32),
        np.full(n, latency_ms, np.float32),
        np.where(good, 200, 503).astype(np.uint16),
        np.full(n, ""),
        np.full(n, "1.0.0"),
        np.full(n, "pod"),
    )


def test_an_outage_is_an_interval_around_the_failed_probes() -> None:
    found = samples([True, False, False, False, True])
    (outage,) = downtime.outages(found.intended, found.good, 0.1)
    assert outage.failed == 3
    assert (outage.lower_s, outage.upper_s) == pytest.approx((0.2, 0.4))
    assert outage.started_at == downtime.utc(float(found.intended[1]))


@given(st.lists(st.booleans(), max_size=80))
def test_outages_hold_every_failure_and_nothing_else(good: list[bool]) -> None:
    found = downtime.outages(np.arange(len(good)) * 0.1, np.array(good, dtype=bool), 0.1)
    assert sum(outage.failed for outage in found) == good.count(False)
    assert all(outage.lower_s < outage.upper_s for outage in found)


def test_zero_failures_prove_no_more_than_three_in_n() -> None:
    assert downtime.failure_upper_bound(0, 3000) == 0.001
    assert downtime.failure_upper_bound(0, 0) is None
    assert downtime.failure_upper_bound(0, 2) == 1.0


@given(st.integers(1, 5000), st.data())
def test_the_bound_is_above_the_ratio_and_grows_with_failures(sent: int, data: st.DataObject) -> None:
    failed = data.draw(st.integers(0, sent - 1))
    bound, more = downtime.failure_upper_bound(failed, sent), downtime.failure_upper_bound(failed + 1, sent)
    assert bound is not None and more is not None
    assert failed / sent <= bound <= 1.0
    assert failed == 0 or bound <= more


def test_a_client_error_of_the_ingress_is_an_outage_too() -> None:
    found = samples([True])
    assert not found._replace(status=np.array([404], np.uint16)).good.any()


def test_the_worst_window_slides() -> None:
    good = [True] * 15 + [False] * 5 + [True] * 15
    assert downtime.worst_window(samples(good)) == pytest.approx(0.5)
    assert downtime.worst_window(samples([True] * 3)) is None


def test_a_summary_of_nothing_says_that_there_is_no_data() -> None:
    result = downtime.summarise(samples([]), url="u", rate_rps=10)
    assert (result.sent, result.availability, result.p99_ms, result.failure_upper_bound) == (0, None, None, None)


def test_a_summary_counts_kinds_of_failures() -> None:
    found = samples([True, False, False])
    mixed = found._replace(error=np.array(["", "timeout", ""]), status=np.array([200, 0, 503], np.uint16))
    result = downtime.summarise(mixed, url="u", rate_rps=10)
    assert dict(result.errors) == {"503": 1, "timeout": 1}
    assert result.failed == 2 and result.duration_s == pytest.approx(0.3)


def test_recovery_needs_several_good_probes_in_a_row() -> None:
    found = samples([True, False, True, False, True, True, True])
    assert downtime.recovered_at(found, 1000.0, good_in_a_row=3) == pytest.approx(1000.4)
    assert downtime.recovered_at(found, 1000.0, good_in_a_row=4) is None
    assert downtime.recovered_at(samples([True] * 5), 1000.0, good_in_a_row=1) is None


@given(st.lists(st.booleans(), max_size=60), st.sampled_from([0.05, 0.35, 1.0, 10.0]))
def test_cut_samples_are_all_there_in_order_and_no_stretch_is_longer_than_asked(good: list[bool], length_s) -> None:
    whole = samples(good)
    parts = list(downtime.cut(whole, length_s))
    joined = np.concatenate([part.intended for part in parts]) if parts else np.array([])
    assert joined.tolist() == whole.intended.tolist()
    assert all(0 <= part.intended[-1] - part.intended[0] <= length_s for part in parts)
