"""Whose is the operation of an Application, where does it stand, and may it be replaced? Pure readings.

``operation`` is the request and a lock; ``status.operationState`` is what became of it. The traps: a finished
attempt that waits for its retry has phase Running and a finish time; a request that is written while another one
runs is lost; fields of the state before survive where the requester did not null it.

Source: Argo CD v3.5.1, controller/appcontroller.go (processRequestedAppOperation, setOperationState).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.syncwindows import duration_s
from platform_lib.rules.workload import parse_time

OPERATION_ID = "apqx.dev/operation"
WINDOW_BLOCKED = "Sync operation blocked by sync window"
DONE = ("Succeeded", "Failed", "Error")
_FINGERPRINT = "sha256:"
_LARGEST_EXPONENT = 64
"""Infinite retries must not overflow a float; the longest pause is reached long before."""


class Fate(NamedTuple):
    """What became of a request: ``said`` explains ``replaced`` and ``lost``."""

    kind: Literal["requested", "running", "ended", "replaced", "lost"]
    said: str = ""


def operation_state(application: Obj) -> dict[str, Any]:
    """Return ``status.operationState``, or an empty dict."""
    found: dict[str, Any] = manifests.status(application).get("operationState") or {}
    return found


def operation_id(application: Obj) -> str:
    """Return the identity that this library wrote into the current or last operation; empty for others."""
    operation = operation_state(application).get("operation") or application.get("operation") or {}
    for item in operation.get("info") or []:
        if item.get("name") == OPERATION_ID:
            return str(item.get("value"))
    return ""


def busy(application: Obj) -> bool:
    """Tell whether an operation is requested, running or waiting to retry."""
    phase = operation_state(application).get("phase")
    return bool(application.get("operation")) or phase in ("Running", "Terminating")


def synced_revision(application: Obj) -> str:
    """Return the revision of the last operation (of several sources: joined); empty when there was none."""
    result = operation_state(application).get("syncResult") or {}
    return str(result.get("revision") or ",".join(result.get("revisions") or []))


def requested_revision(state: dict[str, Any]) -> str:
    """Return the revision an operation asked for, where it named one."""
    sync = (state.get("operation") or {}).get("sync") or {}
    return str(sync.get("revision") or "")


def failed_rows(application: Obj) -> list[str]:
    """Name the resources of the last operation that failed, each with its message."""
    rows = (operation_state(application).get("syncResult") or {}).get("resources") or []
    bad = [r for r in rows if r.get("status") == "SyncFailed" or r.get("hookPhase") in ("Failed", "Error")]
    return [f"{row.get('kind')}/{row.get('name')}: {row.get('message') or row.get('hookPhase')}" for row in bad]


def retry_at(application: Obj) -> datetime | None:
    """Return when a failed operation is tried again, or None when none waits.

    Source: the real wait uses the retry count after its increment; the printed one does not.
    """
    state = operation_state(application)
    finished = parse_time(state.get("finishedAt"))
    if state.get("phase") != "Running" or finished is None:
        return None
    backoff = ((state.get("operation") or {}).get("retry") or {}).get("backoff") or {}
    first = duration_s(backoff.get("duration"), 5.0)
    longest = duration_s(backoff.get("maxDuration"), 180.0)
    factor = float(2 if backoff.get("factor") is None else backoff["factor"])
    delay_s = first * factor ** min(int(state.get("retryCount") or 0), _LARGEST_EXPONENT)
    delay_s = min(longest, delay_s) if longest > 0 else delay_s
    return finished + timedelta(seconds=delay_s)


def fingerprint(operation: Obj) -> str:
    """Return the identity of an operation that carries none: argocd-server takes no ``info`` with a rollback."""
    text = json.dumps(operation, sort_keys=True, separators=(",", ":"))
    return _FINGERPRINT + hashlib.sha256(text.encode()).hexdigest()


def carries(application: Obj, identity: str) -> bool:
    """Tell whether the current or last operation is the one of that identity."""
    return _is(_latest(application), identity)


def _latest(application: Obj) -> Obj:
    """Return the operation that is worked on, else the one that is requested."""
    found: Obj = operation_state(application).get("operation") or application.get("operation") or {}
    return found


def _is(operation: Obj, identity: str) -> bool:
    """Tell whether an operation has that identity."""
    if identity.startswith(_FINGERPRINT):
        return fingerprint(operation) == identity
    return any(i.get("name") == OPERATION_ID and i.get("value") == identity for i in operation.get("info") or [])


def fate(application: Obj, identity: str) -> Fate:
    """Say what became of a request.

    ``replaced``: another operation is there instead. ``lost``: none is, which a reading that is older than the
    request shows too, so the caller has to see it for a while.
    """
    state, request = operation_state(application), application.get("operation")
    if _is(state.get("operation") or {}, identity):
        ended = state.get("phase") in DONE and not request
        if request and not _is(request, identity):
            return Fate("replaced", f"{initiator(application)} asked for another one while it ran")
        return Fate("ended" if ended else "running")
    if request and _is(request, identity):
        return Fate("requested")
    if request or state:
        revision = operation_revision(application)
        towards = f" to {revision[:7]}" if revision else ""
        return Fate("replaced", f"an operation of {initiator(application)}{towards} is there instead")
    return Fate("lost", "neither the request nor a result of it is there")


def initiator(application: Obj) -> str:
    """Name who asked for the current or last operation."""
    by = (application.get("operation") or _latest(application)).get("initiatedBy") or {}
    return "automation" if by.get("automated") else str(by.get("username") or "somebody unnamed")


def operation_revision(application: Obj) -> str:
    """Return the revision that the current or last operation works on; empty while it is not resolved."""
    sync = _latest(application).get("sync") or {}
    asked = str(sync.get("revision") or ",".join(filter(None, sync.get("revisions") or [])))
    return synced_revision(application) or asked


def succeeded(application: Obj) -> bool:
    """Tell whether the last operation ended well; that says nothing of the health of its last wave."""
    return operation_state(application).get("phase") == "Succeeded" and not application.get("operation")


def dry_run(application: Obj) -> bool:
    """Tell whether the last operation was a rehearsal: no comparison follows it."""
    return bool((_latest(application).get("sync") or {}).get("dryRun"))


def blocked_by_window(application: Obj) -> bool:
    """Tell whether the operation waits for a sync window; to terminate it takes effect only when that opens."""
    return busy(application) and operation_state(application).get("message") == WINDOW_BLOCKED


def left_over(application: Obj) -> list[str]:
    """Name fields of a running operation that its request does not have: they survived from the one before.

    Source: argo-cd issues 28701 and 26530, fixed in 3.6; a bare patch of ``operation`` causes it.
    """
    request = (application.get("operation") or {}).get("sync") or {}
    running = (operation_state(application).get("operation") or {}).get("sync") or {}
    return sorted(name for name, value in running.items() if value and not request.get(name)) if request else []


def stands_in_the_way(application: Obj, wanted: Callable[[str], bool], older: Callable[[str], bool]) -> bool:
    """Tell whether an operation keeps retrying an older revision and so keeps the wanted one waiting.

    One that runs for the first time is left alone: it may well end, and stopping it would cut a hook short. One
    with ``retry.refresh`` takes the newest commit by itself.

    Args:
        application: The Application.
        wanted: Tells whether a revision counts as the wanted one.
        older: Tells whether a revision comes before the wanted one.

    Source: argo-cd issue 11494, pull request 23038 (``retry.refresh``).
    """
    state = operation_state(application)
    failing = retry_at(application) is not None or int(state.get("retryCount") or 0) > 0
    if not failing or state.get("phase") != "Running" or not application.get("operation"):
        return False
    if ((state.get("operation") or {}).get("retry") or {}).get("refresh"):
        return False
    revision = operation_revision(application)
    return bool(revision) and not wanted(revision) and older(revision)
