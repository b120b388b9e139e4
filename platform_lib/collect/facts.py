"""Which facts does an object, a commit or an alert tell that the record does not hold yet? Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from platform_lib.journal.schema import moment
from platform_lib.model import Obj
from platform_lib.rules import manifests

APP_LABEL = "app.kubernetes.io/name"
ENDED = ("Succeeded", "Failed", "Error")
MOST_ROWS = 20
"""Objects that one record names; a sync of hundreds that all fail has one cause."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One record to be; ``at`` None means that the source does not say when."""

    source: str
    kind: str
    subject: str
    uid: str
    at: datetime | None = None
    cause: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def of_event(event: Obj) -> Iterator[Fact]:
    """A Kubernetes event; one whose count rose is a new fact."""
    meta, involved = event["metadata"], event.get("involvedObject") or event.get("regarding") or {}
    series = event.get("series") or {}
    count = event.get("count") or series.get("count") or 1
    stamp = event.get("lastTimestamp") or series.get("lastObservedTime") or event.get("eventTime")
    yield Fact(
        "kubernetes",
        "event",
        f"{involved.get('kind', 'Object')}/{involved.get('name', '')}",
        uid=f"{meta.get('uid')}/{count}",
        at=_time(stamp or event.get("firstTimestamp") or meta.get("creationTimestamp")),
        data={
            "type": event.get("type", "Normal"),
            "reason": event.get("reason", ""),
            "message": event.get("message") or event.get("note") or "",
            "count": count,
            "namespace": involved.get("namespace") or meta.get("namespace", ""),
            "component": (event.get("source") or {}).get("component") or event.get("reportingComponent") or "",
        },
    )


def of_pod(pod: Obj) -> Iterator[Fact]:
    """The restarts of a pod's containers; only the newest one still says why."""
    meta = pod["metadata"]
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        count = int(status.get("restartCount") or 0)
        ended = (status.get("lastState") or {}).get("terminated") or {}
        if count:
            yield Fact(
                "kubernetes",
                "restart",
                f"Pod/{meta['name']}",
                uid=f"{meta.get('uid')}/{status['name']}/{count}",
                at=_time(ended.get("finishedAt")),
                data={
                    "namespace": meta.get("namespace", ""),
                    "app": (meta.get("labels") or {}).get(APP_LABEL, ""),
                    "version": manifests.version_of(pod),
                    "container": status["name"],
                    "count": count,
                    "reason": ended.get("reason", ""),
                    "exit_code": ended.get("exitCode"),
                },
            )


def of_deployment(deployment: Obj, known: Mapping[str, Any]) -> Iterator[Fact]:
    """A change of the wanted replicas."""
    meta, wanted = deployment["metadata"], (deployment.get("spec") or {}).get("replicas", 1)
    key = f"scale {meta.get('namespace', '')}/{meta['name']}"
    before = known.get(key)
    if before != wanted:
        yield Fact(
            "kubernetes",
            "scale",
            f"Deployment/{meta['name']}",
            uid=f"{meta.get('uid')}/{meta.get('generation')}/{wanted}",
            data={"key": key, "namespace": meta.get("namespace", ""), "from": before, "to": wanted},
        )


def of_application(application: Obj, known: Mapping[str, Any]) -> Iterator[Fact]:
    """Operations of Argo CD, failed ones too, and changes of its two verdicts."""
    meta, status = application["metadata"], application.get("status") or {}
    operation = status.get("operationState") or {}
    if operation.get("startedAt"):
        yield _operation(meta, operation)
    health, sync = status.get("health") or {}, status.get("sync") or {}
    stamps = {"health": health.get("lastTransitionTime"), "sync": None}
    for kind, value in (("health", health.get("status")), ("sync", sync.get("status"))):
        key = f"{kind} {meta['name']}"
        if value and known.get(key) != value:
            yield Fact(
                "argocd",
                kind,
                meta["name"],
                uid=f"{meta.get('uid')}/{meta.get('resourceVersion')}/{kind}",
                at=_time(stamps[kind]),
                data={"key": key, "from": known.get(key), "to": value, "revision": sync.get("revision", "")}
                | ({"different": _different(status)} if value == "OutOfSync" else {}),
            )


def _different(status: Mapping[str, Any]) -> list[str]:
    """Name the objects that differ from git: Argo CD forgets them with the sync that follows."""
    rows = [row for row in status.get("resources") or () if row.get("status") == "OutOfSync"]
    extra = {True: " (not in git)", False: ""}
    return [f"{r.get('kind')}/{r.get('name')}{extra[bool(r.get('requiresPruning'))]}" for r in rows[:MOST_ROWS]]


def _what(wanted: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for and what became of each object; the next operation overwrites both."""
    sync = wanted.get("sync") or {}
    rows = (state.get("syncResult") or {}).get("resources") or ()
    bad = [row for row in rows if row.get("status") == "SyncFailed" or row.get("hookPhase") in ("Failed", "Error")]
    counted = Counter(str(row.get("status") or row.get("hookPhase") or "Unknown") for row in rows)
    return {
        "automated": bool((wanted.get("initiatedBy") or {}).get("automated")),
        "self_heal": int(sync.get("autoHealAttemptsCount") or 0),
        "prune": bool(sync.get("prune")),
        "dry_run": bool(sync.get("dryRun")),
        "hooks": "apply" not in (sync.get("syncStrategy") or {}),
        "source_given": bool(sync.get("source") or sync.get("sources")),
        "partial": [f"{row.get('kind')}/{row.get('name')}" for row in (sync.get("resources") or ())[:MOST_ROWS]],
        "rows": dict(counted),
        "failed": [
            f"{r.get('kind')}/{r.get('name')}: {r.get('message') or r.get('hookPhase')}" for r in bad[:MOST_ROWS]
        ],
    }


def _operation(meta: Mapping[str, Any], state: Mapping[str, Any]) -> Fact:
    """One phase of one operation; a retry is a phase of its own."""
    phase, started, finished = state.get("phase", ""), state["startedAt"], state.get("finishedAt")
    wanted = state.get("operation") or {}
    infos = {item.get("name"): item.get("value") for item in wanted.get("info") or ()}
    revision = (state.get("syncResult") or {}).get("revision") or (wanted.get("sync") or {}).get("revision") or ""
    return Fact(
        "argocd",
        "operation",
        meta["name"],
        uid=f"{meta.get('uid')}/{started}/{phase}/{state.get('retryCount', 0)}",
        at=_time(finished if phase in ENDED and finished else started),
        cause=revision,
        data={
            "phase": phase,
            "message": state.get("message", ""),
            "revision": revision,
            "started_at": started,
            "finished_at": finished,
            "retries": state.get("retryCount", 0),
            "initiated_by": (wanted.get("initiatedBy") or {}).get("username")
            or ("automation" if (wanted.get("initiatedBy") or {}).get("automated") else ""),
            "info": {str(name): value for name, value in infos.items() if name},
            **_what(wanted, state),
        },
    )


def of_commit(commit: Mapping[str, Any]) -> Fact:
    """A commit of the desired state; its subject is the application whose folder it touches."""
    apps = sorted({path.split("/")[2] for path in commit["files"] if path.startswith("gitops/workloads/")})
    return Fact(
        "git",
        "commit",
        apps[0] if len(apps) == 1 else "gitops",
        uid=commit["commit"],
        at=_time(commit["committed_at"]),
        data=dict(commit),
    )


def alert_key(labels: Mapping[str, str]) -> str:
    """Return the identity of an alert: its labels without name and state of the series."""
    plain = {name: value for name, value in labels.items() if name not in ("__name__", "alertstate")}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def of_alert(labels: Mapping[str, str], state: str, at: datetime) -> Fact:
    """An alert that began to fire or was resolved."""
    key = alert_key(labels)
    plain = {name: value for name, value in labels.items() if name not in ("__name__", "alertstate")}
    return Fact(
        "prometheus",
        "alert",
        plain.get("app") or plain.get("sloth_service") or plain.get("namespace") or plain.get("alertname", ""),
        uid=f"{key}/{state}/{int(at.timestamp())}",
        at=at,
        data={
            "key": key,
            "alertname": plain.get("alertname", ""),
            "state": state,
            "severity": plain.get("severity", ""),
            "labels": plain,
        },
    )


def _time(text: Any) -> datetime | None:
    """Read a time stamp of Kubernetes or git; None where there is none."""
    return moment(str(text)).astimezone(UTC) if text else None
