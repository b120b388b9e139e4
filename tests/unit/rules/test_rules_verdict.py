from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_lib.rules import verdict
from platform_lib.rules.downtime import Samples
from platform_lib.rules.verdict import Limits, Seen, judge
from platform_lib.rules.workload import PodFailure

CHANGE = 1005.0


def traffic(
    *, new_bad: int = 0, old_bad: int = 0, new: int = 1000, old: int = 1000, new_ms: float = 2.0, spread: int = 1
) -> Samples:
    """Old version for five seconds, then both in turn, then the new one alone."""
    versions = np.array(["1"] * (old // 2) + ["1", "2"] * (old // 2) + ["2"] * (new - old // 2))
    n = len(versions)
    status = np.full(n, 200, np.uint16)
    for version, count in (("2", new_bad), ("1", old_bad)):
        places = np.flatnonzero(versions == version)
        status[places[:: max(1, spread)][:count]] = 500
    draw = np.random.default_rng(3)
    latency = np.where(versions == "2", new_ms, 2.0) + draw.exponential(0.5, n)
    intended = 1000.0 + np.arange(n) * (5.0 / max(old // 2, 1))
    zero = np.zeros(n, np.float32)
    return Samples(intended, zero, latency.astype(np.float32), status, np.full(n, ""), versions, versions)


def seen(samples: Samples | None = None, **changes) -> Seen:
    good = {
        "deployment_done": True,
        "argocd_done": True,
        "finished": True,
        "changed_at": CHANGE,
        "samples": traffic() if samples is None else samples,
    }
    return Seen("2", "1", **{**good, **changes})


def status_of(found, name: str) -> str:
    return next(check.status for check in found.checks if check.name == name)


def test_a_good_rollout_passes_every_check() -> None:
    found = judge(seen())
    assert found.ok and {check.status for check in found.checks} == {"pass"}
    assert all(check.value and check.rule for check in found.checks)


def test_a_crashing_pod_fails_and_is_named() -> None:
    found = judge(seen(failures=(PodFailure("web-abc", "2", "CrashLoopBackOff exit 1"),)))
    assert found.status == "fail" and "web-abc: CrashLoopBackOff exit 1" in found.reason


def test_one_failed_image_pull_is_not_yet_a_verdict() -> None:
    found = judge(seen(failures=(PodFailure("web-abc", "2", "ErrImagePull"),)))
    assert status_of(found, "pods") == "inconclusive"


def test_a_pod_that_does_not_get_ready_fails_after_its_time_and_is_named() -> None:
    waiting = {"unready": ("web-abc: Readiness probe failed: 503",), "finished": False, "deployment_done": False}
    assert judge(seen(unready_s=3.0, **waiting)).status != "fail"
    found = judge(seen(unready_s=16.0, **waiting))
    assert found.status == "fail" and "web-abc: Readiness probe failed: 503" in found.reason


def test_errors_of_the_new_version_fail_it_with_the_kind() -> None:
    found = judge(seen(traffic(new_bad=300, spread=3)))
    assert found.status == "fail"
    assert {"errors of new", "errors against old", "lost requests"} <= {
        check.name for check in found.checks if check.status == "fail"
    }
    assert "500 from 2" in found.reason


def test_failures_before_the_change_do_not_fail_the_new_version() -> None:
    found = judge(seen(traffic(old_bad=40)))
    assert found.status == "inconclusive" and "before the change" in found.reason


def test_too_few_requests_are_no_pass_and_say_what_would_be_enough() -> None:
    found = judge(seen(traffic(new=100, old=100)))
    assert found.status == "not_enough_data"
    assert "needs 300 requests of the new version, saw 100" in found.reason


def test_a_rollout_in_progress_is_inconclusive_and_at_the_end_it_has_failed() -> None:
    assert judge(seen(deployment_done=False, finished=False)).status == "inconclusive"
    assert judge(seen(deployment_done=False, deployment_seen="1 of 2 updated")).status == "fail"


def test_an_argocd_failure_fails_with_its_message() -> None:
    found = judge(seen(argocd_failed="operation Failed: bad manifest", finished=False))
    assert found.status == "fail" and "bad manifest" in found.reason


def test_latency_is_compared_at_the_end_with_shift_and_p() -> None:
    found = judge(seen(traffic(new_ms=80.0)))
    check = next(check for check in found.checks if check.name == "latency")
    assert check.status == "fail" and "shift +78" in check.value and "p =" in check.value
    assert "latency" not in {check.name for check in judge(seen(finished=False)).checks}


def test_a_small_shift_is_accepted_however_significant() -> None:
    assert status_of(judge(seen(traffic(new_ms=6.0))), "latency") == "pass"


def test_many_slow_requests_fail_while_the_rollout_runs() -> None:
    limits = Limits(slow_ms=100.0)
    slow = judge(seen(traffic(new_ms=300.0), finished=False), limits)
    assert status_of(slow, "slow requests") == "fail"
    assert status_of(judge(seen(finished=False), limits), "slow requests") == "pass"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 200), st.integers(0, 100))
def test_more_failures_never_turn_a_failure_into_anything_else(bad: int, more: int) -> None:
    def status(count: int) -> str:
        return judge(seen(traffic(new_bad=count, spread=4), finished=False)).status

    if status(bad) == "fail":
        assert status(bad + more) == "fail"


@pytest.mark.parametrize("statuses", [["pass", "fail", "inconclusive"], ["inconclusive", "fail", "not_enough_data"]])
def test_the_worst_check_decides(statuses: list[str]) -> None:
    checks = [verdict.Check(f"c{i}", status, "v", "r", "why") for i, status in enumerate(statuses)]  # type: ignore[arg-type]
    assert verdict.combine(checks).status == "fail"


def test_good_rollouts_raise_no_false_alarm_however_often_they_are_judged() -> None:
    draw = np.random.default_rng(11)
    alarms = 0
    for _ in range(30):
        samples = traffic()
        samples.status[draw.random(len(samples.status)) < 0.0005] = 500  # half of what is allowed
        alarms += any(
            judge(seen(samples.between(until=until), finished=False)).status == "fail"
            for until in np.arange(CHANGE + 0.5, samples.intended[-1], 0.5)
        )
    assert alarms <= 1


def test_what_counts_as_slow_follows_the_old_version() -> None:
    assert verdict.slow_threshold_ms(np.full(100, 2.0)) == 100.0
    assert verdict.slow_threshold_ms(np.full(100, 50.0)) == 200.0
    assert verdict.slow_threshold_ms(np.array([])) == 0.0
