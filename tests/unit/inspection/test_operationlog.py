"""One row per operation out of the phases on record: failed ones, retries, other people's, and the reason of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from platform_lib.collect import facts
from platform_lib.rules import operationlog as log

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def moment(second: int) -> str:
    return f"{START + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}"


def told(state: dict[str, Any], at: int = 0, **record: Any) -> dict[str, Any]:
    """The record that the collector writes of an Application in that state."""
    application = {"metadata": {"name": "shop", "uid": "u"}, "status": {"operationState": state}}
    fact = next(iter(facts.of_application(application, {})))
    return {
        "source": "argocd",
        "kind": "operation",
        "uid": fact.uid,
        "run_id": "",
        "cause": fact.cause,
        "utc": START + timedelta(seconds=at),
        "data": dict(fact.data),
        **record,
    }


def state(phase: str, started: int = 0, finished: int | None = None, **more: Any) -> dict[str, Any]:
    operation = more.pop("operation", {"initiatedBy": {"username": "ann"}, "sync": {}})
    end = {} if finished is None else {"finishedAt": moment(finished)}
    return {"phase": phase, "startedAt": moment(started), "operation": operation, **end, **more}


BAD = {"kind": "Service", "name": "web", "status": "SyncFailed", "message": "port is taken"}
GOOD = {"kind": "ConfigMap", "name": "a", "status": "Synced", "hookPhase": "Running"}


def test_a_failed_operation_of_another_person_is_one_row_with_its_objects() -> None:
    result = {"revision": "r1", "resources": [GOOD, BAD]}
    phases = [
        state("Running"),
        state("Running", 0, 2, retryCount=1, syncResult=result, message="boom. Retrying"),
        state("Failed", 0, 9, retryCount=1, message="boom (retried 1 times)."),
    ]
    (row,) = log.folded(map(told, phases))
    assert (row["phase"], row["by"], row["retries"], row["duration_s"]) == ("Failed", "ann", 1, 9.0)
    assert row["failed"] == ("Service/web: port is taken",) and row["objects"] == 2
    assert row["message"] == "boom (retried 1 times)."


def test_an_operation_that_still_runs_has_no_end() -> None:
    (row,) = log.folded([told(state("Running"))])
    assert (row["phase"], row["finished_at"], row["duration_s"]) == ("Running", None, None)


def test_the_last_word_counts_whatever_the_order_of_the_records() -> None:
    records = [told(state("Succeeded", 0, 3)), told(state("Running"))]
    assert [row["phase"] for row in log.folded(records)] == ["Succeeded"]
    assert [row["phase"] for row in log.folded(records[::-1])] == ["Succeeded"]


@pytest.mark.parametrize(
    ("operation", "how"),
    [
        ({"initiatedBy": {"automated": True}, "sync": {"prune": True}}, "automatic"),
        (
            {"initiatedBy": {"automated": True}, "sync": {"autoHealAttemptsCount": 2, "resources": [{}]}},
            "self-heal no. 2",
        ),
        ({"sync": {"syncStrategy": {"apply": {}}, "source": {"path": "x"}}}, "rollback by history"),
        ({"sync": {"resources": [{"kind": "A", "name": "b"}], "prune": True}}, "partial sync of 1 with prune"),
        ({"sync": {"dryRun": True}}, "rehearsal"),
        ({"sync": {"prune": True}}, "sync with prune"),
    ],
    ids=["automatic", "self-heal", "rollback", "partial", "dry-run", "by-hand"],
)
def test_the_kind_of_operation_is_told(operation: dict[str, Any], how: str) -> None:
    (row,) = log.folded([told(state("Succeeded", 0, 1, operation=operation))])
    assert row["how"] == how


def test_a_request_of_ours_lends_its_run_to_the_operation_it_asked_for() -> None:
    operation = {"sync": {}, "info": [{"name": "apqx.dev/operation", "value": "id-1"}]}
    request = {"uid": "x", "run_id": "run-7", "data": {"operation": "id-1", "prune": False}}
    (row,) = log.attached(log.folded([request, told(state("Succeeded", 0, 1, operation=operation))]), [])
    assert (row["run_id"], row["because"]) == ("run-7", "apqx sync (run run-7)")


def test_a_rollback_explains_the_operation_it_ended_with_and_not_an_older_one_to_that_commit() -> None:
    first, again = state("Succeeded", 0, 1), state("Succeeded", 60, 61)
    rows = log.folded(told(one | {"syncResult": {"revision": "r1"}}) for one in (first, again))
    outcome = {
        "source": "rollback",
        "kind": "outcome",
        "cause": "r1",
        "run_id": "",
        "utc": START + timedelta(seconds=70),
        "data": {"method": "history", "to_version": "1.0", "to_commit": "r1"},
    }
    assert [row["because"] for row in log.attached(rows, log.reasons([outcome]))] == [
        "",
        "rollback to 1.0 (r1) by history",
    ]


def test_what_only_argo_cd_still_knows_is_added_once() -> None:
    rows = [
        {
            "id": 3,
            "revision": "r0",
            "deployStartedAt": moment(-90),
            "deployedAt": moment(-80),
            "initiatedBy": {"automated": True},
        },
        {"id": 4, "revision": "r1", "deployStartedAt": moment(0), "deployedAt": moment(1)},
    ]
    known = log.folded([told(state("Succeeded", 0, 1))])
    (row,) = log.from_history(rows, known)
    assert (row["source"], row["revision"], row["by"], row["duration_s"]) == ("history id 3", "r0", "automation", 10.0)


def test_what_differed_when_an_operation_began_is_kept() -> None:
    application = {
        "metadata": {"name": "shop", "uid": "u"},
        "status": {
            "sync": {"status": "OutOfSync"},
            "resources": [
                {"kind": "Service", "name": "old", "status": "OutOfSync", "requiresPruning": True},
                {"kind": "Secret", "name": "s", "status": "Synced"},
            ],
        },
    }
    (fact,) = facts.of_application(application, {})
    syncs = [
        {"utc": START - timedelta(seconds=1), "data": dict(fact.data)},
        {"utc": START + timedelta(seconds=5), "data": {"to": "Synced"}},
    ]
    assert log.drifted(syncs, {"started_at": START}) == ("Service/old (not in git)",)
    assert log.drifted(syncs, {"started_at": START + timedelta(seconds=9)}) == ()
