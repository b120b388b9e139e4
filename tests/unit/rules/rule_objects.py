"""Kubernetes objects as the tests of the rules need them; Argo CD's states follow its recorded life cycle."""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]
OLD, NEW = "a" * 40, "b" * 40


def pod(
    name: str = "web-1",
    *,
    version: str = "1.0.0",
    ready: bool = True,
    waiting: str = "",
    exit_code: int | None = None,
    restarts: int = 0,
    deleting: bool = False,
    phase: str = "Running",
) -> Obj:
    state: Obj = {"waiting": {"reason": waiting, "message": f"back-off {waiting}"}} if waiting else {"running": {}}
    status: Obj = {"name": "web", "state": state, "restartCount": restarts}
    if exit_code is not None:
        status["lastState"] = {"terminated": {"exitCode": exit_code, "reason": "Error"}}
    meta: Obj = {"name": name, "namespace": "web", "uid": f"uid-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"}
    meta["labels"] = {"app.kubernetes.io/version": version}
    if deleting:
        meta["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    condition = {"type": "Ready", "status": "True" if ready else "False", "message": "containers with unready status"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"nodeName": "node-a", "containers": [{"name": "web", "image": f"web@sha256:{version}"}]},
        "status": {"phase": phase, "containerStatuses": [status], "conditions": [condition]},
    }


def deployment(
    *,
    wanted: int = 2,
    updated: int = 2,
    available: int = 2,
    total: int = 2,
    generation: int = 3,
    observed: int = 3,
    reason: str = "NewReplicaSetAvailable",
) -> Obj:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "web", "generation": generation},
        "spec": {"replicas": wanted, "template": {"spec": {"containers": [{"image": "web@sha256:x"}]}}},
        "status": {
            "observedGeneration": observed,
            "replicas": total,
            "updatedReplicas": updated,
            "availableReplicas": available,
            "conditions": [{"type": "Progressing", "status": "True", "reason": reason}],
        },
    }


def application(
    *,
    revision: str = NEW,
    sync: str = "Synced",
    health: str = "Healthy",
    phase: str | None = "Succeeded",
    started: str = "2026-01-01T00:00:10Z",
    finished: str | None = "2026-01-01T00:00:12Z",
    reconciled: str = "2026-01-01T00:00:13Z",
    op_revision: str = NEW,
    operation: Obj | None = None,
    conditions: list[Obj] | None = None,
    message: str = "successfully synced (all tasks run)",
    rows: list[Obj] | None = None,
    automated: Obj | None = None,
    retry_count: int = 0,
) -> Obj:
    status: Obj = {
        "sync": {"status": sync, "revision": revision},
        "health": {"status": health},
        "reconciledAt": reconciled,
        "conditions": conditions or [],
    }
    if phase:
        status["operationState"] = {
            "phase": phase,
            "startedAt": started,
            "message": message,
            "retryCount": retry_count,
            "operation": {"sync": {"revision": op_revision}},
            "syncResult": {"revision": op_revision, "resources": rows or []},
        }
        if finished:
            status["operationState"]["finishedAt"] = finished
    obj: Obj = {"metadata": {"name": "web"}, "spec": {"source": {"targetRevision": "main"}}, "status": status}
    if automated is not None:
        obj["spec"]["syncPolicy"] = {"automated": automated}
    if operation is not None:
        obj["operation"] = operation
    return obj
