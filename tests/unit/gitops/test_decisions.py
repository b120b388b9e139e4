"""Automation, operation states, deletion and status: decisions over plain values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.embedded.argocd import operation as op
from platform_lib.embedded.argocd.automation import decide
from platform_lib.embedded.argocd.compare import Comparison, Pair, normalised, pair_up
from platform_lib.embedded.argocd.deletion import cascades, next_removal, propagation, remaining_finalizers
from platform_lib.embedded.argocd.status import after_comparison, merge_conditions, merge_patch
from platform_lib.embedded.patch import merge_patch as apply_merge_patch
from platform_lib.rules import manifests as m

NOW = datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)
SOURCE = {"repoURL": "u", "path": "p", "targetRevision": "main"}


def app(automated=None, state=None, **policy):
    spec = {"project": "default", "source": SOURCE, "destination": {"namespace": "n", "server": "s"}}
    if automated is not None:
        policy["automated"] = automated
    if policy:
        spec["syncPolicy"] = policy
    status = {"operationState": state} if state else {}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": "a", "namespace": "argocd"}, "spec": spec, "status": status}  # fmt: skip


def row(name="x", status="OutOfSync", **more):
    return {"kind": "ConfigMap", "namespace": "n", "name": name, "version": "v1", "status": status, **more}


def ended(phase="Succeeded", revision="r1", ago_s=0.0, heals=0, **more):
    sync = {"autoHealAttemptsCount": heals} if heals else {}
    return {
        "phase": phase,
        "finishedAt": op.timestamp(NOW - timedelta(seconds=ago_s)),
        "message": "why",
        "operation": {"sync": sync},
        "syncResult": {"revision": revision, "source": SOURCE},
        **more,
    }


@pytest.mark.parametrize(
    "found",
    [
        app(),
        app({"enabled": False}),
        app({}) | {"operation": {"sync": {}}},
        app({}, {"phase": "Running"}),
        app({}, ended("Succeeded")),
    ],
    ids=["off", "disabled", "requested", "running", "tried, no self-heal"],
)
def test_automation_stays_away(found):
    decision = decide(found, "r1", "OutOfSync", [row()], NOW)
    assert (decision.operation, decision.error, decision.retry_in_s) == (None, "", None)


def test_automation_leaves_a_synced_application_alone():
    assert decide(app({}), "r1", "Synced", [row(status="Synced")], NOW).operation is None


def test_automation_pins_the_commit_and_copies_policy():
    found = app({"prune": True}, syncOptions=["PruneLast=true"], retry={"limit": 2})
    operation = decide(found, "r1", "OutOfSync", [row()], NOW).operation
    assert operation == {
        "sync": {"revision": "r1", "prune": True, "source": SOURCE, "syncOptions": ["PruneLast=true"]},
        "initiatedBy": {"automated": True},
        "retry": {"limit": 2},
    }
    assert decide(app({}), "r1", "OutOfSync", [row()], NOW).operation["retry"] == {"limit": 5}


def test_a_new_commit_is_tried_after_a_failure_and_the_same_is_not():
    failed = app({"selfHeal": True}, ended("Failed"))
    assert decide(failed, "r2", "OutOfSync", [row()], NOW).operation is not None
    assert decide(failed, "r1", "OutOfSync", [row()], NOW).error == "Failed last sync attempt to [r1]: why"


def test_what_only_needs_pruning_waits_without_prune():
    rows = [row("x", requiresPruning=True), row("y", "Synced")]
    assert decide(app({}), "r1", "OutOfSync", rows, NOW).operation is None
    assert decide(app({"prune": True}), "r1", "OutOfSync", rows, NOW).operation is not None


def test_everything_is_never_pruned_unless_allowed():
    rows = [row("x", requiresPruning=True)]
    error = "Skipping sync attempt to [r1]: auto-sync will wipe out all resources"
    assert decide(app({"prune": True}), "r1", "OutOfSync", rows, NOW).error == error
    assert decide(app({"prune": True, "allowEmpty": True}), "r1", "OutOfSync", rows, NOW).operation is not None


@pytest.mark.parametrize(("heals", "pause_s"), [(0, 0), (1, 2), (2, 6), (3, 18), (4, 54), (5, 162), (6, 300), (9, 300)])
def test_self_heal_backs_off(heals, pause_s):
    early = app({"selfHeal": True}, ended(heals=heals, ago_s=max(0, pause_s - 1)))
    decision = decide(early, "r1", "OutOfSync", [row()], NOW)
    assert decision.retry_in_s == (1 if pause_s else None)
    due = app({"selfHeal": True}, ended(heals=heals, ago_s=pause_s))
    operation = decide(due, "r1", "OutOfSync", [row("x"), row("y", "Synced")], NOW).operation
    assert operation["sync"]["autoHealAttemptsCount"] == heals + 1
    assert operation["sync"]["resources"] == [{"kind": "ConfigMap", "name": "x"}]


def state(limit=None, count=0, phase="Running", **backoff):
    retry = {"retry": {"limit": limit, "backoff": backoff}} if limit is not None else {}
    return {"phase": phase, "startedAt": op.timestamp(NOW), "operation": {"sync": {}, **retry}, "retryCount": count}


def test_without_retry_a_failure_is_the_end():
    end = op.finish(state(), "Failed", "boom", NOW)
    assert (end["phase"], end["message"], op.retry_at(end)) == ("Failed", "boom", None)


def test_a_waiting_retry_runs_with_a_finish_time_and_prints_the_shorter_delay():
    end = op.finish(state(limit=2), "Failed", "boom", NOW)
    assert (end["phase"], end["retryCount"], end["finishedAt"]) == ("Running", 1, "2026-01-02T15:04:05Z")
    assert end["message"] == "boom. Retrying attempt #1 at 3:04PM."
    assert op.retry_at(end) == NOW + timedelta(seconds=10)


def test_delays_grow_to_the_maximum():
    delays = [(op.retry_at(op.finish(state(5, n), "Error", "x", NOW)) - NOW).total_seconds() for n in range(5)]
    assert delays == [10, 20, 40, 80, 160]
    assert op.retry_delay_s({"backoff": {"duration": "1s", "factor": 2, "maxDuration": "30s"}}, 50) == 30


def test_the_last_failure_counts_the_retries():
    assert op.finish(state(2, 2), "Failed", "boom", NOW)["message"] == "boom (retried 2 times)."
    assert op.finish(state(-1, 9), "Failed", "boom", NOW)["phase"] == "Running"
    assert op.finish(state(5, phase="Terminating"), "Failed", "Operation terminated", NOW)["phase"] == "Failed"


def test_a_retry_starts_clean_and_may_take_the_newest_commit():
    waiting = {**state(2, 1), "finishedAt": "x", "syncResult": {"revision": "r1"}}
    again = op.attempt_again(waiting)
    assert again["message"] == "Retrying operation. Attempt #1"
    assert "syncResult" not in again
    waiting["operation"] = {"sync": {"revision": "r1"}, "retry": {"limit": 2, "refresh": True}}
    again = op.attempt_again(waiting)
    assert again["message"] == "Retrying operation with latest revisions. Attempt #1"
    assert "revision" not in again["operation"]["sync"]


def test_history_counts_on_and_is_trimmed_from_the_front():
    found = app()
    found["spec"]["revisionHistoryLimit"] = 2
    found["status"]["history"] = [{"id": 6}, {"id": 7}]
    rows = op.with_history(found, ended(), NOW)
    assert [item["id"] for item in rows] == [7, 8]
    assert rows[1]["revision"] == "r1"
    found["spec"]["revisionHistoryLimit"] = 0
    assert op.with_history(found, ended(), NOW) == []


@pytest.mark.parametrize("sync", [{"dryRun": True}, {"resources": [{"kind": "A", "name": "b"}]}])
def test_rehearsals_and_partial_syncs_leave_no_history(sync):
    assert not op.is_recorded(ended() | {"operation": {"sync": sync}})
    assert op.is_recorded(ended())


def test_a_request_without_sync_is_refused():
    assert op.refused({}) == "Invalid operation request: no operation specified"
    assert op.refused({"sync": {}}) == ""


def managed(name, wave=0, **meta):
    annotations = {m.SYNC_WAVE_ANNOTATION: str(wave), **meta.pop("annotations", {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": annotations, **meta}}


def test_cascade_goes_from_the_highest_wave_down():
    first = next_removal(app(), [managed("a"), managed("b", 2), managed("c", 2)], lambda o: True)
    assert sorted(map(m.name, first.delete)) == ["b", "c"]
    gone = managed("b", 2, deletionTimestamp="t")
    second = next_removal(app(), [managed("a"), gone], lambda o: True)
    assert (second.delete, [m.name(o) for o in second.waiting]) == ((), ["b"])
    assert next_removal(app(), [], lambda o: True).done


def test_kept_and_forbidden_objects_do_not_hold_the_deletion_up():
    kept = managed("k", annotations={m.SYNC_OPTIONS_ANNOTATION: "Delete=false"})
    assert next_removal(app(), [kept, managed("f")], lambda o: m.name(o) != "f").done


def test_deletion_can_wait_for_approval():
    asked = managed("k", annotations={m.SYNC_OPTIONS_ANNOTATION: "Delete=confirm"})
    going = app()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert next_removal(going, [asked, managed("b")], lambda o: True).delete == ()
    going["metadata"]["annotations"] = {"argocd.argoproj.io/deletion-approved": "2026-01-01T00:00:01Z"}
    assert len(next_removal(going, [asked, managed("b")], lambda o: True).delete) == 2


def test_finalizers_choose_cascade_and_propagation():
    found = app()
    assert not cascades(found)
    found["metadata"]["finalizers"] = ["resources-finalizer.argocd.argoproj.io/background", "other"]
    assert (cascades(found), propagation(found), remaining_finalizers(found)) == (True, "Background", ["other"])


def test_a_condition_keeps_its_time_while_it_says_the_same():
    old = [
        {"type": "ComparisonError", "message": "x", "lastTransitionTime": "t0"},
        {"type": "DeletionError", "message": "d"},
    ]
    kept = merge_conditions(old, [("ComparisonError", "x")], {"ComparisonError"}, NOW)
    assert kept == old
    cleared = merge_conditions(old, [], {"ComparisonError"}, NOW)
    assert [item["type"] for item in cleared] == ["DeletionError"]


def pair(name, *, target=True, live=True, **more):
    found = managed(name)
    return Pair(found if target else None, found if live else None, **more)


@pytest.mark.parametrize(
    ("pairs", "status", "health"),
    [
        ((), "Synced", "Healthy"),
        ((pair("a"),), "Synced", "Healthy"),
        ((pair("a", modified=True),), "OutOfSync", "Healthy"),
        ((pair("a", live=False),), "OutOfSync", "Missing"),
        ((pair("a"), pair("b", live=False)), "OutOfSync", "Healthy"),
        ((pair("a"), pair("b", target=False)), "OutOfSync", "Healthy"),
    ],
)
def test_sync_status_and_health_of_a_comparison(pairs, status, health):
    comparison = Comparison("r1", pairs)
    assert (comparison.sync_status, comparison.health_status(app())) == (status, health)


def test_an_extra_object_may_ask_not_to_count():
    extra = managed("x", annotations={m.COMPARE_OPTIONS_ANNOTATION: "IgnoreExtraneous"})
    comparison = Comparison("r1", (Pair(None, extra),))
    assert comparison.sync_status == "Synced"
    assert comparison.resources()[0]["status"] == "OutOfSync"


def test_a_failed_load_is_unknown_but_keeps_the_health_of_what_runs():
    comparison = Comparison("", (pair("a", target=False),), failed=True)
    assert comparison.sync_status == "Unknown"
    assert comparison.resources()[0]["status"] == "Unknown"
    assert comparison.health_status(app()) == "Healthy"
    assert Comparison("", failed=True, invalid=True).health_status(app()) == "Unknown"


def test_status_names_what_was_compared_and_moves_reconciled_at_only_when_told():
    found = app() | {"status": {"reconciledAt": "before", "history": [{"id": 1}]}}
    status = after_comparison(found, Comparison("r1", (pair("a"),)), [], NOW, None)
    assert status["reconciledAt"] == "before"
    assert status["sync"]["comparedTo"]["source"] == SOURCE
    assert status["history"] == [{"id": 1}]
    assert after_comparison(found, Comparison("r1"), [], NOW, NOW)["reconciledAt"] == "2026-01-02T15:04:05Z"


def test_pairs_adopt_untracked_objects_and_find_extra_ones():
    live = {m.key(managed(name)): managed(name, uid=name) for name in ("a", "old")}
    pairs = pair_up([managed("a"), managed("new")], [live[m.key(managed("old"))]], live.get)
    assert [(p.key.name, p.extra, p.live is None) for p in pairs] == [
        ("a", False, False),
        ("new", False, True),
        ("old", True, False),
    ]


def test_comparison_forgets_what_the_server_adds():
    server = managed("a", uid="u", resourceVersion="5", generation=2, creationTimestamp="t", managedFields=[{}])
    assert normalised(server | {"status": {"x": 1}}) == normalised(managed("a", labels={}))


json_values = st.recursive(
    st.integers(-9, 9) | st.text(max_size=3) | st.lists(st.integers(-9, 9), max_size=2),
    lambda inner: st.dictionaries(st.text("ab", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text("abc", min_size=1, max_size=2), json_values, max_size=4)


@given(json_objects, json_objects)
def test_the_patch_of_two_states_turns_one_into_the_other(old, new):
    assert apply_merge_patch(old, merge_patch(old, new)) == new


@given(json_objects)
def test_equal_states_need_no_patch(value):
    assert merge_patch(value, value) == {}
