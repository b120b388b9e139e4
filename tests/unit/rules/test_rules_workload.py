from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from rule_objects import deployment, pod

from platform_lib.rules import workload
from platform_lib.rules.lanes import Lanes


@pytest.mark.parametrize(
    ("found", "done"),
    [
        (deployment(), True),
        (deployment(observed=2), False),
        (deployment(updated=1, total=3), False),
        (deployment(total=3), False),
        (deployment(available=1), False),
        (deployment(wanted=0, updated=0, available=0, total=0), True),
        (None, False),
    ],
    ids=["complete", "unseen change", "half updated", "old pod left", "not available", "scaled to zero", "absent"],
)
def test_a_rollout_is_done_when_every_pod_runs_the_latest_template(found, done) -> None:
    assert workload.rollout_progress(found).done is done


def test_a_passed_progress_deadline_is_a_failure() -> None:
    found = workload.rollout_progress(deployment(updated=1, total=3, reason="ProgressDeadlineExceeded"))
    assert found.failed == "Deployment/web exceeded its progress deadline"


def test_a_crash_loop_is_named_with_pod_and_exit_code() -> None:
    crashed = pod("web-9", ready=False, waiting="CrashLoopBackOff", exit_code=1)
    assert [str(failure) for failure in workload.pod_failures([crashed])] == ["web-9: CrashLoopBackOff exit 1"]


@pytest.mark.parametrize(
    ("waiting", "hopeless"),
    [("CrashLoopBackOff", True), ("ImagePullBackOff", True), ("InvalidImageName", True), ("ErrImagePull", False)],
)
def test_one_failed_pull_may_pass_but_a_back_off_does_not(waiting, hopeless) -> None:
    failures = workload.pod_failures([pod(ready=False, waiting=waiting)])
    assert bool(workload.hopeless(failures)) is hopeless


@pytest.mark.parametrize("starting", ["ContainerCreating", "PodInitializing"])
def test_a_starting_pod_is_no_failure(starting) -> None:
    assert workload.pod_failures([pod(ready=False, waiting=starting)]) == []


def test_pods_being_deleted_and_other_versions_do_not_count() -> None:
    pods = [
        pod("a", waiting="CrashLoopBackOff", deleting=True),
        pod("b", version="2", waiting="CrashLoopBackOff"),
    ]
    assert workload.pod_failures(pods, version="1.0.0") == []


def test_a_pod_that_keeps_crashing_counts_even_while_it_runs_again() -> None:
    again = pod(restarts=2, exit_code=3)
    assert workload.pod_failures([again]) == []
    failures = workload.pod_failures([again], max_restarts=1)
    assert failures[0].reason == "Restarted 2 times, exit 3" and workload.hopeless(failures)


def test_unready_pods_are_named() -> None:
    assert workload.not_ready([pod("a"), pod("b", ready=False)]) == ["b: containers with unready status"]


def test_a_lane_follows_a_pod_from_ready_to_gone() -> None:
    start = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
    lanes = Lanes(start)
    times = [start + timedelta(seconds=n) for n in range(4)]
    lanes.record("ADDED", pod(), times[0])
    lanes.record("MODIFIED", pod(ready=False), times[1])
    lanes.record("MODIFIED", pod(ready=True), times[2])
    lanes.record("DELETED", pod(deleting=True), times[3])
    (lane,) = lanes.rows()
    assert lane.created_at == datetime(2026, 1, 1, tzinfo=UTC)  # older than the watch: its own time
    assert lane.ready_spans == [(times[0], times[1]), (times[2], times[3])]
    assert lane.deleted_at == lane.terminating_at == times[3]


def test_a_new_pod_is_dated_by_the_arrival_of_its_event() -> None:
    start = datetime(2025, 12, 31, tzinfo=UTC)
    lanes = Lanes(start)
    arrival = datetime(2026, 1, 1, 0, 0, 0, 700_000, tzinfo=UTC)
    lanes.record("ADDED", pod(), arrival)
    assert lanes.first_of("1.0.0") == arrival


def test_pods_of_the_release_before_do_not_count_against_the_change() -> None:
    crashed = pod(ready=False, waiting="CrashLoopBackOff")
    assert workload.pod_failures([crashed], since=datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)) == []
    assert workload.pod_failures([crashed], since=datetime(2026, 1, 1, 0, 0, 0, 900_000, tzinfo=UTC))
