from __future__ import annotations

import pytest
from rule_objects import NEW, OLD, application

from platform_lib.errors import InvalidInput, Locked, RollbackRefused, SyncRefused
from platform_lib.rules import application as rules
from platform_lib.rules import syncrequest
from platform_lib.rules.syncrequest import SyncRequest

OURS = {"sync": {"revision": NEW}, "info": [{"name": rules.OPERATION_ID, "value": "me"}]}
THEIRS = {"sync": {"revision": OLD}, "initiatedBy": {"username": "somebody"}}


def with_states(*, request=None, state=None, phase="Running", **more):
    obj = application(phase=None)
    if request:
        obj["operation"] = request
    if state:
        obj["status"]["operationState"] = {"operation": state, "phase": phase, **more}
    return obj


@pytest.mark.parametrize(
    ("obj", "kind"),
    [
        (with_states(request=OURS), "requested"),
        (with_states(request=OURS, state=OURS), "running"),
        (with_states(state=OURS, phase="Succeeded"), "ended"),
        (with_states(state=OURS, phase="Running", finishedAt="2026-01-01T00:00:00Z"), "running"),
        (with_states(request=THEIRS), "replaced"),
        (with_states(request=THEIRS, state=OURS), "replaced"),
        (with_states(state=THEIRS, phase="Succeeded"), "replaced"),
        (with_states(), "lost"),
    ],
    ids=["asked", "on its way", "done", "retrying", "another request", "changed under way", "another done", "nothing"],
)
def test_what_became_of_a_request(obj, kind) -> None:
    assert rules.fate(obj, "me").kind == kind


def test_who_replaced_it_is_named_with_the_commit() -> None:
    assert (
        rules.fate(with_states(request=THEIRS), "me").said == f"an operation of somebody to {OLD[:7]} is there instead"
    )
    automatic = THEIRS | {"initiatedBy": {"automated": True}}
    assert "of automation" in rules.fate(with_states(request=automatic), "me").said


def test_an_operation_without_info_is_recognised_as_a_whole() -> None:
    identity = rules.fingerprint(THEIRS)
    assert rules.fate(with_states(state=THEIRS, phase="Succeeded"), identity).kind == "ended"
    assert rules.fate(with_states(state=THEIRS | {"retry": {"limit": 1}}), identity).kind == "replaced"


def test_fields_that_survived_from_the_operation_before_are_named() -> None:
    running = {"sync": {"revision": NEW, "resources": [{"kind": "ConfigMap", "name": "a"}]}}
    assert rules.left_over(with_states(request=OURS, state=running)) == ["resources"]
    assert rules.left_over(with_states(request=OURS, state=OURS)) == []
    # retry.refresh takes the revision out of the state: nothing is left over then
    assert rules.left_over(with_states(request=OURS, state={"sync": {}})) == []


@pytest.mark.parametrize(
    ("more", "in_the_way"),
    [
        ({"retryCount": 1, "finishedAt": "2026-01-01T00:00:00Z"}, True),
        ({"retryCount": 1}, True),
        ({}, False),  # its first attempt may well end
        ({"retryCount": 1, "phase": "Terminating"}, False),
    ],
)
def test_only_retries_of_an_older_commit_stand_in_the_way(more, in_the_way) -> None:
    obj = with_states(request=THEIRS, state=THEIRS, **more)
    assert rules.stands_in_the_way(obj, lambda r: r == NEW, lambda r: r == OLD) is in_the_way
    assert not rules.stands_in_the_way(obj, lambda r: r == OLD, lambda r: False)
    obj["status"]["operationState"]["operation"] = THEIRS | {"retry": {"refresh": True}}
    assert not rules.stands_in_the_way(obj, lambda r: r == NEW, lambda r: r == OLD)


def test_endless_retries_do_not_overflow() -> None:
    obj = with_states(state=OURS, retryCount=5000, finishedAt="2026-01-01T00:00:00Z")
    found = rules.retry_at(obj)
    assert found is not None and found.minute == 3  # the longest pause, by default


def test_a_rehearsal_is_settled_although_no_comparison_follows_it() -> None:
    obj = application(reconciled="2026-01-01T00:00:00Z")
    assert not rules.settled(obj)
    obj["status"]["operationState"]["operation"]["sync"]["dryRun"] = True
    assert rules.settled(obj)


def only_extra(obj, message: str = ""):
    obj["status"]["resources"] = [{"kind": "ConfigMap", "name": "b", "status": "OutOfSync", "requiresPruning": True}]
    if message:
        row = {"kind": "ConfigMap", "name": "b", "status": "PruneSkipped", "message": message}
        obj["status"]["operationState"]["syncResult"]["resources"] = [row]
    return obj


def judge(obj):
    return rules.judge(obj, wanted=lambda revision: revision == NEW)


def test_what_only_pruning_would_end_is_not_waited_for() -> None:
    assert "1 resources require pruning" in judge(only_extra(application(sync="OutOfSync"))).failed
    kept = judge(only_extra(application(sync="OutOfSync"), "ignored (no prune)"))
    assert kept.done and not kept.failed


def test_automation_that_prunes_is_given_the_time_to_do_so() -> None:
    pruning = only_extra(application(sync="OutOfSync", automated={"prune": True}, op_revision=OLD))
    keeping = only_extra(application(sync="OutOfSync", automated={}, op_revision=OLD))
    assert not judge(pruning).failed and "require pruning" in judge(keeping).failed


def test_several_sources_take_one_revision_each() -> None:
    obj = application(phase=None)
    obj["spec"] = {"sources": [{"repoURL": "a", "targetRevision": "main"}, {"repoURL": "b"}]}
    with pytest.raises(InvalidInput, match="has 2 sources, one revision was given"):
        syncrequest.refuse_sync(obj, SyncRequest(revision=NEW))
    with pytest.raises(InvalidInput, match="has 2 sources, 1 revisions were given"):
        syncrequest.refuse_sync(obj, SyncRequest(revisions=(NEW,)))
    syncrequest.refuse_sync(obj, SyncRequest(revisions=(NEW, "")))
    body = syncrequest.server_body(obj, SyncRequest(revisions=("", NEW)), identity="me")
    assert (body["sourcePositions"], body["revisions"]) == ([2], [NEW])
    operation = syncrequest.operation(obj, SyncRequest(revisions=(NEW, OLD)), identity="me")
    assert operation["sync"]["revisions"] == [NEW, OLD] and "revision" not in operation["sync"]


def test_automation_holds_each_source_to_what_it_follows() -> None:
    obj = application(phase=None, automated={})
    obj["spec"]["sources"] = [{"repoURL": "a", "targetRevision": "main"}, {"repoURL": "b", "targetRevision": "v1"}]
    with pytest.raises(SyncRefused, match="automation follows v1"):
        syncrequest.refuse_sync(obj, SyncRequest(revisions=("main", "v2")))
    syncrequest.refuse_sync(obj, SyncRequest(revisions=("main", "v2"), dry_run=True))


def test_a_lock_names_its_holder_and_what_it_works_on() -> None:
    with pytest.raises(Locked, match=rf"another operation is Running \(by somebody, to {OLD[:7]}\)"):
        syncrequest.refuse_sync(with_states(request=THEIRS, state=THEIRS), SyncRequest())


def test_a_partial_and_a_forced_sync_are_asked_for_as_argo_cd_reads_them() -> None:
    wanted = SyncRequest(resources=({"group": "apps", "kind": "Deployment", "name": "web"},), force=True, hooks=False)
    sync = syncrequest.operation(application(phase=None), wanted, identity="me")["sync"]
    assert sync["resources"] == [{"group": "apps", "kind": "Deployment", "name": "web"}]
    assert sync["syncStrategy"] == {"apply": {"force": True}}


def test_a_row_of_several_sources_goes_back_with_all_of_them() -> None:
    obj = application(phase=None)
    row = {"id": 0, "revisions": [OLD, NEW], "sources": [{"repoURL": "a"}, {"repoURL": "b"}]}
    obj["status"]["history"] = [row, {"id": 1, "revision": NEW}]
    found = syncrequest.rollback(obj, history_id=0)
    assert found.revisions == (OLD, NEW) and not found.hooks and not found.retry
    operation = syncrequest.operation(obj, found, identity="me")
    assert operation["sync"]["sources"] == row["sources"] and operation["sync"]["syncStrategy"] == {"apply": {}}
    with pytest.raises(RollbackRefused, match="does not say its source"):
        syncrequest.rollback(obj, history_id=1)
    with pytest.raises(RollbackRefused, match="id 7, it has 0, 1"):
        syncrequest.rollback(obj, history_id=7)
