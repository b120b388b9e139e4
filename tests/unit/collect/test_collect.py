from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from platform_lib import journal
from platform_lib.collect import facts, program, sources
from platform_lib.collect.facts import Fact
from platform_lib.collect.known import Known
from platform_lib.errors import Locked, Unreachable
from platform_lib.journal import Journal
from platform_lib.model import Platform
from platform_lib.wait import now
from platform_lib.wire import kube

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENT = {
    "metadata": {"uid": "e1", "namespace": "sample-app"},
    "involvedObject": {"kind": "Pod", "name": "p", "namespace": "sample-app"},
    "type": "Warning",
    "reason": "BackOff",
    "message": "Back-off restarting failed container",
    "count": 3,
    "lastTimestamp": "2026-03-01T12:00:00Z",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def application(phase: str = "Failed", health: str = "Degraded", **state: object) -> dict:
    operation = {
        "phase": phase,
        "startedAt": "2026-03-01T12:00:00Z",
        "finishedAt": "2026-03-01T12:00:09Z",
        "message": "one or more objects failed to apply",
        "operation": {"initiatedBy": {"automated": True}, "sync": {"revision": "abc"}},
        **state,
    }
    return {
        "metadata": {"name": "sample-app", "uid": "a1", "resourceVersion": "7"},
        "status": {"operationState": operation, "health": {"status": health}, "sync": {"status": "Synced"}},
    }


def test_an_event_is_dated_by_its_source_and_new_when_its_count_rises() -> None:
    (first,) = facts.of_event(EVENT)
    (again,) = facts.of_event({**EVENT, "count": 4})
    assert first.at == NOON and first.subject == "Pod/p" and first.data["reason"] == "BackOff"
    assert first.uid != again.uid and facts.of_event(EVENT).__next__().uid == first.uid


def test_an_event_of_the_new_interface_has_series_and_note() -> None:
    event = {
        "metadata": {"uid": "e2"},
        "regarding": {"kind": "Node", "name": "n"},
        "eventTime": "2026-03-01T12:00:00.123456Z",
        "series": {"count": 5, "lastObservedTime": "2026-03-01T12:01:00Z"},
        "note": "ready",
    }
    (fact,) = facts.of_event(event)
    assert (fact.subject, fact.data["count"], fact.data["message"]) == ("Node/n", 5, "ready")
    assert fact.at == NOON + timedelta(minutes=1)


def test_a_failed_operation_is_kept_with_its_message_and_who_began_it() -> None:
    operation = next(facts.of_application(application(), {}))
    assert operation.kind == "operation" and operation.data["phase"] == "Failed"
    assert operation.data["initiated_by"] == "automation" and operation.cause == "abc"
    assert operation.at == NOON + timedelta(seconds=9)


def test_each_retry_and_each_phase_of_an_operation_is_one_fact() -> None:
    seen = {
        next(facts.of_application(application(phase, retryCount=count), {})).uid
        for phase, count in (("Running", 0), ("Running", 1), ("Failed", 1), ("Failed", 1))
    }
    assert len(seen) == 3


def test_verdicts_of_argo_cd_are_told_when_they_change() -> None:
    known = {"health sample-app": "Healthy", "sync sample-app": "Synced"}
    _, *verdicts = facts.of_application(application(), known)
    told = [(fact.kind, fact.data["from"], fact.data["to"]) for fact in verdicts]
    assert told == [("health", "Healthy", "Degraded")]


def test_a_restart_says_why_and_a_pod_that_never_restarted_says_nothing() -> None:
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-03-01T12:00:00Z"}}
    pod = {
        "metadata": {"name": "p", "uid": "u", "namespace": "n", "labels": {facts.APP_LABEL: "sample-app"}},
        "status": {"containerStatuses": [{"name": "c", "restartCount": 2, "lastState": ended}]},
    }
    (fact,) = facts.of_pod(pod)
    assert (fact.data["reason"], fact.data["exit_code"], fact.data["count"], fact.at) == ("OOMKilled", 137, 2, NOON)
    pod["status"]["containerStatuses"][0]["restartCount"] = 0
    assert list(facts.of_pod(pod)) == []


def test_scaling_is_told_from_what_to_what() -> None:
    deployment = {"metadata": {"name": "d", "namespace": "n", "uid": "u", "generation": 2}, "spec": {"replicas": 5}}
    (fact,) = facts.of_deployment(deployment, {"scale n/d": 2})
    assert (fact.data["from"], fact.data["to"]) == (2, 5)
    assert list(facts.of_deployment(deployment, {"scale n/d": 5})) == []


def test_a_commit_belongs_to_the_application_whose_folder_it_touches() -> None:
    commit = {"commit": "abc", "committed_at": "2026-03-01T13:00:00+01:00", "author": "a", "message": "m"}
    one = facts.of_commit({**commit, "files": ["gitops/workloads/sample-app/deployment.yaml"]})
    many = facts.of_commit({**commit, "files": ["gitops/workloads/a/x.yaml", "gitops/workloads/b/y.yaml"]})
    assert (one.subject, many.subject, one.at) == ("sample-app", "gitops", NOON)


def test_a_collector_that_starts_again_knows_what_is_on_record(folder: Path) -> None:
    known = Known(folder, now())
    objects = [(kube.EVENTS, EVENT), (kube.APPLICATIONS, application())]
    for _ in range(2):
        told = [known.append(fact) for gvr, obj in objects for fact in sources.of_object(known, gvr, "ADDED", obj)]
    assert not any(told)
    journal.compact(folder, before=NOON.date() + timedelta(days=1))
    again = Known(folder, now())
    assert not any(again.append(f) for gvr, obj in objects for f in sources.of_object(again, gvr, "ADDED", obj))
    assert len(journal.frame(folder)) == 4


def test_what_must_be_known_for_long_is_repeated_each_day(folder: Path) -> None:
    yesterday = now() - timedelta(days=1)
    book = Journal(None, record=folder)
    book.append("collector", "checkpoint", "c", at=yesterday, values={"health a": "Healthy", "head": "abc"}, alerts={})
    known = Known(folder, now())
    assert known.values == {"health a": "Healthy", "head": "abc"}
    known.checkpoint(now())
    known.checkpoint(now())
    again = Known(folder, now())
    again.checkpoint(now())
    assert len(journal.frame(folder, kind="checkpoint", start=now() - timedelta(hours=1))) == 1


def test_deleted_objects_tell_nothing(folder: Path) -> None:
    assert list(sources.of_object(Known(folder, now()), kube.EVENTS, "DELETED", EVENT)) == []


def test_a_source_that_was_away_leaves_a_gap_on_record(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(sources, "LOOK_S", 0.01)
    stop, looks = threading.Event(), []

    def look() -> None:
        looks.append(1)
        if len(looks) < 3:
            raise Unreachable("Prometheus - no answer", url="x")
        stop.set()

    thread = sources.Looking("prometheus", look, Known(folder, now()), stop)
    thread.start()
    thread.join(10)
    (gap,) = journal.frame(folder, kind="gap").to_dict("records")
    assert gap["subject"] == "prometheus" and gap["data"]["gap_s"] > 0 and "no answer" in gap["data"]["reason"]


def test_a_second_collector_is_refused_and_told_who_is_at_it(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom platform_lib.collect import program\n"
        "with program._alone(pathlib.Path(sys.argv[1])):\n    print('in', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "in\n"
        with pytest.raises(Locked, match=f"process {holder.pid} on .* one is enough"), program._alone(tmp_path):
            pass
        holder.kill()
    with program._alone(tmp_path):
        assert json.loads((tmp_path / "collector.json").read_text())["holder"].startswith("process")


def test_alerts_are_recorded_once_also_those_that_ended_between_two_looks(folder: Path, monkeypatch) -> None:
    """Episodes by second: (0, 10), (20, 25) ended unseen, (40, ...); the collector looks at 5, 15, 38, 50."""
    labels = {"__name__": "ALERTS", "alertstate": "firing", "alertname": "Slow", "severity": "page"}
    episodes = [(0, 10), (20, 25), (40, 99)]
    clock = {"t": 0}

    class Server:
        def instant(self, promql: str, *, at: datetime) -> list[dict]:
            second = int((at - NOON).total_seconds())
            if promql.startswith("ALERTS"):
                return [{"metric": labels}] if any(a <= second < b for a, b in episodes) else []
            span = int(promql.rpartition("[")[2].partition("s:")[0])
            fired = [t for t in range(second - span + 1, second + 1) if any(a <= t < b for a, b in episodes)]
            pick = min if promql.startswith("min") else max
            return [{"metric": labels, "value": [0, str(NOON.timestamp() + pick(fired))]}] if fired else []

    monkeypatch.setattr(sources.prometheus, "connect", lambda _platform: Server())
    monkeypatch.setattr(sources, "now", lambda: NOON + timedelta(seconds=clock["t"]))
    platform = Platform("apqx", "embedded", Path("k"), "c", "http://p", "http://i", "r", home=folder.parent)
    known = Known(folder, NOON)
    for second in (5, 15, 38, 50):
        clock["t"] = second
        watcher = sources.Alerts(replace(platform), known)
        watcher._last = NOON + timedelta(seconds={5: -1, 15: 5, 38: 15, 50: 38}[second])
        watcher.look()
    found = journal.frame(folder, kind="alert")
    told = [
        (data["state"], int((at - NOON).total_seconds())) for at, data in zip(found["utc"], found["data"], strict=True)
    ]
    assert told == [("firing", 0), ("resolved", 9), ("firing", 20), ("resolved", 24), ("firing", 40)]


def test_a_fact_is_dated_now_where_the_source_does_not_say(folder: Path) -> None:
    Known(folder, now()).append(Fact("argocd", "sync", "a", uid="1"))
    (row,) = journal.frame(folder).to_dict("records")
    assert row["utc"] == row["seen_utc"]


def test_a_commit_that_a_deploy_recorded_while_the_collector_was_away_does_not_hide_those_before_it(
    folder: Path,
) -> None:
    mine = {"commit": "abc", "committed_at": "2026-03-01T12:00:00Z", "author": "a", "message": "m", "files": []}
    Known(folder, NOON).append(facts.of_commit(mine))
    book = Journal(None, record=folder)
    book.append("git", "commit", "sample-app", at=NOON + timedelta(hours=1), commit="def")
    again = Known(folder, NOON)
    theirs = {**mine, "commit": "def", "committed_at": "2026-03-01T13:00:00Z"}
    assert again.values["head"] == "abc"
    assert not again.append(facts.of_commit(mine)) and again.append(facts.of_commit(theirs))
    assert len(journal.frame(folder)) == 2


def test_the_memory_of_old_days_is_let_go_and_read_again_when_asked_for(folder: Path) -> None:
    known = Known(folder, NOON)
    fact = Fact("argocd", "operation", "a", uid="1", at=NOON)
    assert known.append(fact)
    known.checkpoint(NOON + timedelta(days=9))
    assert not known._uids and not known.append(fact)


def test_what_others_record_does_not_shorten_the_look_back_of_a_collector_that_was_away(folder: Path) -> None:
    Journal(None, record=folder).append("deploy", "outcome", "sample-app")
    assert Known(folder, now()).last_seen is None
    Journal(None, record=folder).append("collector", "stopped", "apqx")
    assert Known(folder, now()).last_seen is not None
