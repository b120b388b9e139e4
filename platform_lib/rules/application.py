"""How far is an Argo CD Application? Pure judgement of its status, against one wanted revision.

The traps of that status are listed in the sources; the ones that matter here: an operation that says
Succeeded says nothing of health; the status after an operation is stale until the next comparison;
``phase: Running`` with a finish time means "waiting to retry"; a present ``operation`` is a lock.

Source: Argo CD v3.5.1, controller/appcontroller.go and controller/sync.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from platform_lib.model import AppState, Obj, joined
from platform_lib.rules import manifests, workload
from platform_lib.rules.workload import parse_time

OPERATION_ID = "apqx.dev/operation"
REFRESH_ANNOTATION = "argocd.argoproj.io/refresh"
_ERRORS = frozenset({"ComparisonError", "InvalidSpecError", "SyncError", "UnknownError", "DeletionError"})
_INVALID = ("synchronization tasks are not valid", " is invalid: ")
"""Refusals that only another commit can change: Argo CD's own, and the API server's of a manifest (HTTP 422)."""
_SAME_AGAIN = 2
"""Retries that failed in the same way before a wait gives up; Argo CD itself goes on, five times by default."""


class Judgement(NamedTuple):
    """``failed`` is empty unless waiting longer is pointless; ``seen`` says what was observed."""

    done: bool
    failed: str
    seen: str


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


def automated(application: Obj) -> bool:
    """Tell whether Argo CD syncs on its own (``automated`` present and not disabled)."""
    policy = (manifests.spec(application).get("syncPolicy") or {}).get("automated")
    return policy is not None and policy.get("enabled") is not False


def sync_revision(application: Obj) -> str:
    """Return the revision of the last comparison; empty before the first."""
    return str((manifests.status(application).get("sync") or {}).get("revision") or "")


def synced_revision(application: Obj) -> str:
    """Return the revision of the last operation; empty when there was none."""
    return str((operation_state(application).get("syncResult") or {}).get("revision") or "")


def errors_of(application: Obj) -> frozenset[tuple[str, str]]:
    """Return the error conditions as (type, message); warnings are left out."""
    conditions = manifests.status(application).get("conditions") or []
    return frozenset((c["type"], str(c.get("message") or "")) for c in conditions if c["type"] in _ERRORS)


def compared_after(application: Obj, moment: datetime) -> bool:
    """Tell whether the last comparison certainly began after ``moment``.

    ``reconciledAt`` has a resolution of one second and is cut off, so only a later second is certain.
    """
    at = parse_time(manifests.status(application).get("reconciledAt"))
    return at is not None and at > moment.replace(microsecond=0)


def settled(application: Obj) -> bool:
    """Tell whether no operation runs and the comparison is newer than the last operation."""
    state, at = operation_state(application), manifests.status(application).get("reconciledAt")
    if busy(application) or at is None:
        return False
    finished = parse_time(state.get("finishedAt"))
    compared = parse_time(at)
    return finished is None or (compared is not None and compared >= finished)


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
    delay_s = min(longest, first * float(backoff.get("factor") or 2) ** int(state.get("retryCount") or 0))
    return finished + timedelta(seconds=delay_s)


def duration_s(text: str | None, default_s: float) -> float:
    """Read a Go duration such as ``1m30s`` or bare seconds."""
    if not text:
        return default_s
    total, number = 0.0, ""
    for character in text.replace("ms", "M"):
        if character.isdigit() or character == ".":
            number += character
        elif character in "hmsM" and number:
            total += float(number) * {"h": 3600, "m": 60, "s": 1, "M": 0.001}[character]
            number = ""
    return total + float(number or 0)


def failed_rows(application: Obj) -> list[str]:
    """Name the resources of the last operation that failed, each with its message."""
    rows = (operation_state(application).get("syncResult") or {}).get("resources") or []
    bad = [r for r in rows if r.get("status") == "SyncFailed" or r.get("hookPhase") in ("Failed", "Error")]
    return [f"{row.get('kind')}/{row.get('name')}: {row.get('message') or row.get('hookPhase')}" for row in bad]


def operation_failure(
    application: Obj, wanted: Callable[[str], bool], since: datetime | None, *, only_fresh: bool = False
) -> str:
    """Say why the operation towards the wanted revision ended badly; empty while it may still succeed.

    With ``only_fresh``, an operation that began before ``since`` is not held against any revision.
    """
    state = operation_state(application)
    if state.get("phase") not in ("Failed", "Error") or application.get("operation"):
        return ""
    revision = synced_revision(application) or _requested_revision(state)
    started = parse_time(state.get("startedAt"))
    fresh = since is not None and started is not None and started >= since.replace(microsecond=0)
    if not (wanted(revision) if revision and not only_fresh else fresh):
        return ""
    rows = failed_rows(application)
    return f"operation {state['phase']}: {state.get('message') or 'no message'}" + (
        f" [{joined(rows[:5])}]" if rows else ""
    )


def _requested_revision(state: dict[str, Any]) -> str:
    """Return the revision an operation asked for, where it named one."""
    sync = (state.get("operation") or {}).get("sync") or {}
    return str(sync.get("revision") or "")


def judge(
    application: Obj | None,
    *,
    wanted: Callable[[str], bool],
    since: datetime | None = None,
    known: Iterable[tuple[str, str]] = (),
    only_fresh: bool = False,
) -> Judgement:
    """Judge whether an application runs the wanted revision, synced and healthy.

    Args:
        application: The object, None when absent.
        wanted: Tells whether a revision counts as the wanted one.
        since: When the change was requested; older failures are not held against it.
        known: Error conditions that were there before the request.
        only_fresh: Count only operations that began after ``since``; for a change whose revision is not known.

    Returns:
        ``done`` needs all of: no operation, comparison newer than the last operation, comparison at the wanted
        revision, Synced, Healthy.
    """
    if application is None:
        return Judgement(False, "", "Application absent")
    failed = operation_failure(application, wanted, since, only_fresh=only_fresh)
    failed = failed or _hopeless_retry(application, wanted)
    failed = failed or _condition_failure(application, since, set(known))
    status = manifests.status(application)
    sync, health = (status.get("sync") or {}).get("status"), (status.get("health") or {}).get("status")
    at_revision = wanted(sync_revision(application))
    good = settled(application) and at_revision and sync == "Synced" and health == "Healthy"
    return Judgement(good, "" if good else failed, describe(application))


def _hopeless_retry(application: Obj, wanted: Callable[[str], bool]) -> str:
    """Say why retrying is pointless: what is not valid stays so until git changes."""
    state = operation_state(application)
    message = str(state.get("message") or "")
    if retry_at(application) is None or int(state.get("retryCount") or 0) < _SAME_AGAIN:
        return ""
    if not any(words in message for words in _INVALID):
        return ""
    return message if wanted(synced_revision(application) or _requested_revision(state)) else ""


def _condition_failure(application: Obj, since: datetime | None, known: set[tuple[str, str]]) -> str:
    """Return the error conditions that belong to the request, as text."""
    current = errors_of(application)
    if since is None or not compared_after(application, since):
        current = current - known if since is not None else frozenset()
    return joined((f"{kind}: {message}" for kind, message in sorted(current)), empty="")


def describe(application: Obj) -> str:
    """Say in one line where an application stands, retry time and blocking resource included."""
    status, state = manifests.status(application), operation_state(application)
    sync, health = status.get("sync") or {}, status.get("health") or {}
    parts = [f"{sync.get('status') or 'Unknown'} at {(sync_revision(application) or 'no revision')[:7]}"]
    parts.append(str(health.get("status") or "Unknown"))
    retry = retry_at(application)
    if retry is not None:
        parts.append(f"retry {state.get('retryCount') or 0} at {retry:%H:%M:%S}: {state.get('message')}")
    elif busy(application):
        parts.append(f"operation {state.get('phase') or 'requested'} {state.get('message') or ''}".strip())
    parts += [f"{kind}: {message}" for kind, message in sorted(errors_of(application))]
    return ", ".join(parts)


def app_state(
    name: str, application: Obj | None, deployment: Obj | None, pods: Iterable[Obj], at: datetime
) -> AppState:
    """Join what Argo CD and Kubernetes say into one value."""
    application, deployment = application or {}, deployment or {}
    status, state = manifests.status(application), operation_state(application)
    return AppState(
        app=name,
        observed_at=at,
        sync_status=str((status.get("sync") or {}).get("status") or "Unknown"),
        health_status=str((status.get("health") or {}).get("status") or "Unknown"),
        revision=sync_revision(application),
        operation_phase=state.get("phase"),
        operation_message=str(state.get("message") or ""),
        conditions=tuple(f"{c['type']}: {c.get('message')}" for c in status.get("conditions") or []),
        images=tuple(manifests.images(deployment)),
        ready_replicas=int(manifests.status(deployment).get("readyReplicas") or 0),
        desired_replicas=manifests.replicas(deployment) if deployment else 0,
        pods=tuple(sorted((workload.pod_state(pod) for pod in pods), key=lambda pod: pod.name)),
    )
