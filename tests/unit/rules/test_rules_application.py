from __future__ import annotations

from datetime import UTC, datetime

import pytest
from rule_objects import NEW, OLD, application

from platform_lib.rules import application as rules

SINCE = datetime(2026, 1, 1, 0, 0, 9, 500_000, tzinfo=UTC)
COMPARISON = {"type": "ComparisonError", "message": "Failed to load target state: bad yaml"}


def judge(obj, **options):
    return rules.judge(obj, wanted=lambda revision: revision == NEW, since=SINCE, **options)


def test_synced_healthy_and_compared_after_the_operation_is_done() -> None:
    assert judge(application()).done


@pytest.mark.parametrize(
    "obj",
    [
        application(revision=OLD),
        application(sync="OutOfSync"),
        application(health="Progressing"),
        application(reconciled="2026-01-01T00:00:11Z"),  # older than the operation: stale
        application(operation={"sync": {}}),  # requested, not started
        application(phase="Running", finished=None),
        application(phase="Running", retry_count=1),  # finished and waiting to retry
    ],
    ids=["old revision", "out of sync", "progressing", "stale", "requested", "running", "retrying"],
)
def test_anything_less_is_not_done_and_not_failed(obj) -> None:
    found = judge(obj)
    assert not found.done and not found.failed


def test_a_commit_that_renders_the_same_needs_no_operation_of_its_own() -> None:
    assert judge(application(op_revision=OLD)).done


def test_a_failed_operation_at_the_wanted_revision_ends_the_wait_and_names_resources() -> None:
    rows = [{"kind": "Deployment", "name": "web", "status": "SyncFailed", "message": "spec.replicas: Invalid"}]
    found = judge(application(sync="OutOfSync", phase="Failed", message="one or more objects failed", rows=rows))
    assert "one or more objects failed" in found.failed and "Deployment/web: spec.replicas: Invalid" in found.failed


def test_a_failed_operation_of_another_revision_does_not() -> None:
    assert not judge(application(revision=OLD, phase="Failed", op_revision=OLD)).failed


def test_an_error_without_revision_counts_only_when_it_is_newer_than_the_request() -> None:
    late = application(sync="Unknown", phase="Error", op_revision="", message="project not found")
    early = application(sync="Unknown", phase="Error", op_revision="", started="2026-01-01T00:00:01Z")
    assert "project not found" in judge(late).failed
    assert not judge(early).failed


def test_a_fresh_error_condition_ends_the_wait() -> None:
    found = judge(application(sync="Unknown", health="Unknown", revision=OLD, conditions=[COMPARISON]))
    assert "bad yaml" in found.failed


def test_an_error_condition_from_before_does_not_until_it_is_seen_again() -> None:
    known = [("ComparisonError", COMPARISON["message"])]
    stale = application(sync="Unknown", conditions=[COMPARISON], reconciled="2026-01-01T00:00:09Z")
    again = application(sync="Unknown", conditions=[COMPARISON], reconciled="2026-01-01T00:00:10Z")
    assert not judge(stale, known=known).failed
    assert "bad yaml" in judge(again, known=known).failed


def test_an_absent_application_is_said_to_be_absent() -> None:
    assert judge(None).seen == "Application absent"


def test_the_retry_time_uses_the_count_after_its_increment() -> None:
    obj = application(phase="Running", retry_count=2)
    obj["status"]["operationState"]["operation"]["retry"] = {"backoff": {"duration": "5s", "factor": 2}}
    at = rules.retry_at(obj)
    assert at == datetime(2026, 1, 1, 0, 0, 32, tzinfo=UTC)
    assert "retry 2 at 00:00:32" in rules.describe(obj)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5.0), ("1m30s", 90.0), ("3m", 180.0), ("7", 7.0), ("500ms", 0.5), (None, 9.0)]
)
def test_go_durations_are_read(text, seconds) -> None:
    assert rules.duration_s(text, 9.0) == seconds


@pytest.mark.parametrize(
    ("policy", "on"), [(None, False), ({}, True), ({"enabled": False}, False), ({"prune": True}, True)]
)
def test_automation_is_on_when_its_block_is_there_and_not_switched_off(policy, on) -> None:
    assert rules.automated(application(automated=policy)) is on


def test_our_operation_is_recognised_by_its_identity() -> None:
    obj = application()
    obj["status"]["operationState"]["operation"]["info"] = [{"name": rules.OPERATION_ID, "value": "me"}]
    assert rules.operation_id(obj) == "me"
    assert rules.operation_id(application()) == ""


@pytest.mark.parametrize(
    ("count", "message", "hopeless"),
    [
        (1, "one or more synchronization tasks are not valid: no kind Nothing", False),
        (2, "one or more synchronization tasks are not valid: no kind Nothing", True),
        (4, "one or more objects failed to apply, reason: connection refused", False),
    ],
)
def test_retrying_what_cannot_become_valid_ends_the_wait(count: int, message: str, hopeless: bool) -> None:
    found = judge(application(sync="OutOfSync", phase="Running", retry_count=count, message=message))
    assert bool(found.failed) is hopeless


def test_where_the_revision_is_not_known_only_new_operations_count() -> None:
    old = application(phase="Failed", started="2026-01-01T00:00:01Z", sync="OutOfSync")
    new = application(phase="Failed", started="2026-01-01T00:00:10Z", sync="OutOfSync")
    assert not rules.judge(old, wanted=bool, since=SINCE, only_fresh=True).failed
    assert rules.judge(new, wanted=bool, since=SINCE, only_fresh=True).failed
