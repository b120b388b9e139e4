"""A recovery is claimed only with the requests that such a claim needs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.rules import recovery
from platform_lib.rules.downtime import Samples, failure_upper_bound


def after(good: int, bad: int = 0, version: str = "1") -> Samples:
    count = good + bad
    status = np.array([500] * bad + [200] * good, dtype=np.uint16)
    zeros = np.zeros(count, dtype=np.float32)
    return Samples(np.arange(count) / 100, zeros, zeros, status, np.full(count, ""), np.full(count, version), zeros)


def test_the_rule_of_three_for_no_failure() -> None:
    assert recovery.requests_to_claim(0, 0.01) == 300
    assert recovery.requests_to_claim(0, 0.001) == 3000


@given(st.integers(0, 40), st.sampled_from([0.001, 0.01, 0.05]))
def test_the_count_is_the_smallest_that_keeps_the_bound(failed: int, objective: float) -> None:
    count = recovery.requests_to_claim(failed, objective)
    assert (failure_upper_bound(failed, count) or 0) <= objective + 1e-9
    assert (failure_upper_bound(failed, count - 1) or 1) > objective


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (after(300), "pass"),
        (after(299), "not_enough_data"),
        (after(300, 1), "not_enough_data"),
        (after(700, 1), "pass"),
        (after(280, 20), "fail"),
        (after(0), "not_enough_data"),
    ],
)
def test_the_proof_claims_no_more_than_the_requests_show(seen: Samples, status: str) -> None:
    found = recovery.proof(seen, version="1", objective=0.01)
    assert found.status == status, found
    assert found.status == "pass" or found.reason


def test_the_bad_version_must_not_answer_any_more() -> None:
    found = recovery.proof(after(400, version="2"), version="1", objective=0.01)
    assert found.status == "fail" and "2 still answers" in found.reason


def test_requests_count_from_the_last_answer_of_the_bad_version() -> None:
    mixed = after(10, version="1")._replace(version=np.array(["1", "2", "2"] + ["1"] * 7))
    since = recovery.since_last_answer(mixed, "2", 0.0)
    assert len(mixed.between(since).intended) == 7
    assert recovery.since_last_answer(mixed, "3", 0.05) == 0.05
