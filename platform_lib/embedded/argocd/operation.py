"""Where does one operation stand? Pure transitions of ``status.operationState`` and ``status.history``.

Source: Argo CD v3.5.1, processing of requested operations. What a sync does belongs to ``engine``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from platform_lib.embedded.argocd.engine import DONE, ERROR, RUNNING, SUCCEEDED
from platform_lib.embedded.argocd.windows import duration_s
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

TERMINATING = "Terminating"
AUTOMATED_RETRY_LIMIT = 5
HISTORY_LIMIT = 10


def timestamp(moment: datetime) -> str:
    """Write a time the way Kubernetes does: UTC, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: Any) -> datetime | None:
    """Read a Kubernetes time; None where there is none."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")) if text else None
    except ValueError:
        return None


def state_of(app: Obj) -> Obj:
    """Return ``status.operationState``, or an empty dict."""
    found: Obj = m.status(app).get("operationState") or {}
    return found


def in_progress(app: Obj) -> bool:
    """Tell whether the recorded operation is still to be worked on."""
    phase = state_of(app).get("phase")
    return bool(phase) and phase not in DONE


def busy(app: Obj) -> bool:
    """Tell whether an operation is requested or running: others have to wait."""
    return bool(app.get("operation")) or in_progress(app)


def begin(operation: Obj, now: datetime) -> Obj:
    """Return the state of an operation that was just picked up."""
    return {"phase": RUNNING, "startedAt": timestamp(now), "operation": operation, "retryCount": 0}


def finish(state: Obj, phase: str, message: str, now: datetime) -> Obj:
    """Return the state after an attempt ended: waiting for a retry, or finished.

    A state that waits has phase Running and a ``finishedAt``.
    """
    count, retry = int(state.get("retryCount") or 0), (state.get("operation") or {}).get("retry") or {}
    limit = int(retry.get("limit") or 0)
    terminating = state.get("phase") == TERMINATING
    ended = {**state, "finishedAt": timestamp(now)}
    if phase == SUCCEEDED or terminating or 0 <= limit <= count:
        tried = f" (retried {count} times)." if count and phase != SUCCEEDED else ""
        return {**ended, "phase": phase, "message": message + tried}
    shown = now + timedelta(seconds=retry_delay_s(retry, count))
    clock = shown.strftime("%I:%M%p").lstrip("0")
    text = f"{message}. Retrying attempt #{count + 1} at {clock}."
    return {**ended, "phase": RUNNING, "retryCount": count + 1, "message": text}


def retry_delay_s(retry: dict[str, Any], count: int) -> float:
    """Return the pause before a retry, in seconds.

    Args:
        retry: ``operation.retry``.
        count: How many retries there were.
    """
    backoff = retry.get("backoff") or {}
    first, most = (
        duration_s(backoff.get("duration"), 5.0) or 5.0,
        duration_s(backoff.get("maxDuration"), 180.0) or 180.0,
    )
    factor = float(backoff.get("factor") or 2)
    return float(min(most, first * factor ** min(count, 32)))


def retry_at(state: Obj) -> datetime | None:
    """Return when a waiting operation is tried again; None when it does not wait."""
    ended = parse_time(state.get("finishedAt"))
    if ended is None or state.get("phase") != RUNNING:
        return None
    retry = (state.get("operation") or {}).get("retry") or {}
    return ended + timedelta(seconds=retry_delay_s(retry, int(state.get("retryCount") or 0)))


def attempt_again(state: Obj) -> Obj:
    """Return the state at the start of a retry; with ``retry.refresh`` it takes the newest commit."""
    rest = {name: value for name, value in state.items() if name not in ("finishedAt", "syncResult")}
    operation = dict(rest.get("operation") or {})
    latest = ""
    if (operation.get("retry") or {}).get("refresh"):
        sync = {name: value for name, value in (operation.get("sync") or {}).items() if name != "revision"}
        operation["sync"], latest = sync, " with latest revisions"
    message = f"Retrying operation{latest}. Attempt #{rest.get('retryCount', 0)}"
    return {**rest, "operation": operation, "message": message}


def sync_result(state: Obj, revision: str, source: Obj, rows: list[Obj], namespace_metadata: Obj | None) -> Obj:
    """Return the state with what was done so far."""
    result: Obj = {"revision": revision, "source": source, "resources": rows}
    if namespace_metadata:
        result["managedNamespaceMetadata"] = namespace_metadata
    return {**state, "syncResult": result}


def is_recorded(state: Obj) -> bool:
    """Tell whether an operation appears in the history: complete, successful and not a rehearsal."""
    sync = (state.get("operation") or {}).get("sync") or {}
    return state.get("phase") == SUCCEEDED and not sync.get("dryRun") and not sync.get("resources")


def with_history(app: Obj, state: Obj, now: datetime) -> list[Obj]:
    """Return the history after a recorded operation, trimmed from the front to the limit."""
    history = list(m.status(app).get("history") or [])
    result = state.get("syncResult") or {}
    row = {
        "id": int(history[-1].get("id") or 0) + 1 if history else 0,
        "revision": result.get("revision", ""),
        "source": result.get("source") or {},
        "deployStartedAt": state.get("startedAt"),
        "deployedAt": timestamp(now),
        "initiatedBy": (state.get("operation") or {}).get("initiatedBy") or {},
    }
    limit = m.spec(app).get("revisionHistoryLimit")
    keep = HISTORY_LIMIT if limit is None else max(0, int(limit))
    return [*history, row][-keep:] if keep else []


def completion_event(state: Obj) -> tuple[str, str]:
    """Return (type, message) of the event that tells the end of an operation."""
    sync = (state.get("operation") or {}).get("sync") or {}
    what = "Partial sync operation" if sync.get("resources") else "Sync operation"
    revision = (state.get("syncResult") or {}).get("revision") or sync.get("revision") or ""
    if state.get("phase") == SUCCEEDED:
        return "Normal", f"{what} to {revision} succeeded"
    return "Warning", f"{what} to {revision} failed: {state.get('message', '')}"


def refused(operation: Obj) -> str:
    """Say why an operation cannot be run at all; empty when it can."""
    return "" if isinstance(operation.get("sync"), dict) else "Invalid operation request: no operation specified"


def is_automated(state: Obj) -> bool:
    """Tell whether the controller itself asked for the operation."""
    return bool(((state.get("operation") or {}).get("initiatedBy") or {}).get("automated"))


__all__ = [
    "AUTOMATED_RETRY_LIMIT",
    "DONE",
    "ERROR",
    "RUNNING",
    "SUCCEEDED",
    "TERMINATING",
    "attempt_again",
    "begin",
    "busy",
    "completion_event",
    "finish",
    "in_progress",
    "is_automated",
    "is_recorded",
    "parse_time",
    "refused",
    "retry_at",
    "retry_delay_s",
    "state_of",
    "sync_result",
    "timestamp",
    "with_history",
]
