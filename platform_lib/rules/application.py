"""How far is an Argo CD Application? Pure judgement of its status, against one wanted revision.

The traps of that status are listed in the sources; the ones that matter here: an operation that says
Succeeded says nothing of health; the status after an operation is stale until the next comparison;
``phase: Running`` with a finish time means "waiting to retry"; a present ``operation`` is a lock.

Source: Argo CD v3.5.1, controller/appcontroller.go and controller/sync.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from platform_lib.model import AppState, Obj, joined
from platform_lib.rules import manifests, workload
from platform_lib.rules.operations import (
    OPERATION_ID,
    Fate,
    busy,
    carries,
    dry_run,
    failed_rows,
    fate,
    fingerprint,
    initiator,
    left_over,
    operation_id,
    operation_revision,
    operation_state,
    requested_revision,
    retry_at,
    stands_in_the_way,
    succeeded,
    synced_revision,
)
from platform_lib.rules.syncwindows import duration_s
from platform_lib.rules.workload import parse_time

__all__ = [
    "OPERATION_ID",
    "REFRESH_ANNOTATION",
    "Fate",
    "Judgement",
    "answered",
    "app_state",
    "automated",
    "busy",
    "carries",
    "compared_after",
    "describe",
    "dry_run",
    "duration_s",
    "errors_of",
    "failed_rows",
    "fate",
    "fingerprint",
    "given_up",
    "history",
    "initiator",
    "judge",
    "left_over",
    "operation_failure",
    "operation_id",
    "operation_revision",
    "operation_state",
    "requested_revision",
    "retry_at",
    "settled",
    "sources",
    "stands_in_the_way",
    "succeeded",
    "sync_revision",
    "sync_revisions",
    "synced",
    "synced_revision",
]

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


def automated(application: Obj) -> bool:
    """Tell whether Argo CD syncs on its own (``automated`` present and not disabled)."""
    policy = (manifests.spec(application).get("syncPolicy") or {}).get("automated")
    return policy is not None and policy.get("enabled") is not False


def sync_revision(application: Obj) -> str:
    """Return the revision of the last comparison (of several sources: joined); empty before the first."""
    return ",".join(sync_revisions(application))


def sync_revisions(application: Obj) -> list[str]:
    """Return the revision of the last comparison, one per source."""
    sync = manifests.status(application).get("sync") or {}
    return [str(one) for one in (sync.get("revisions") or [sync.get("revision")]) if one]


def sources(application: Obj) -> list[dict[str, Any]]:
    """Return the sources of an Application; a list that is there wins over the single one."""
    spec = manifests.spec(application)
    return list(spec.get("sources") or ([spec["source"]] if spec.get("source") else []))


def history(application: Obj) -> list[Obj]:
    """Return the rows of ``status.history``, oldest first."""
    return list(manifests.status(application).get("history") or [])


def answered(application: Obj, asked: datetime) -> bool:
    """Tell whether a refresh that was asked for was carried out; one that a running comparison swallowed was not.

    Source: argo-cd pull request 28414.
    """
    return REFRESH_ANNOTATION not in manifests.annotations(application) and compared_after(application, asked)


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
    if dry_run(application):
        return True  # no comparison follows a rehearsal
    finished = parse_time(state.get("finishedAt"))
    compared = parse_time(at)
    return finished is None or (compared is not None and compared >= finished)


def operation_failure(
    application: Obj,
    wanted: Callable[[str], bool],
    since: datetime | None,
    *,
    only_fresh: bool = False,
    identity: str = "",
) -> str:
    """Say why the operation towards the wanted revision ended badly; empty while it may still succeed.

    With ``only_fresh``, an operation that began before ``since`` is not held against any revision. One that
    carries ``identity`` counts whatever it says of its revision, and whatever the clocks say.
    """
    state = operation_state(application)
    if state.get("phase") not in ("Failed", "Error") or application.get("operation"):
        return ""
    revision = synced_revision(application) or requested_revision(state)
    started = parse_time(state.get("startedAt"))
    fresh = since is not None and started is not None and started >= since.replace(microsecond=0)
    ours = bool(identity) and carries(application, identity)
    if not ours and not (wanted(revision) if revision and not only_fresh else fresh):
        return ""
    rows = failed_rows(application)
    return f"operation {state['phase']}: {state.get('message') or 'no message'}" + (
        f" [{joined(rows[:5])}]" if rows else ""
    )


def judge(
    application: Obj | None,
    *,
    wanted: Callable[[str], bool],
    since: datetime | None = None,
    known: Iterable[tuple[str, str]] = (),
    only_fresh: bool = False,
    identity: str = "",
) -> Judgement:
    """Judge whether an application runs the wanted revision, synced and healthy.

    Args:
        application: The object, None when absent.
        wanted: Tells whether a revision counts as the wanted one.
        since: When the change was requested; older failures are not held against it.
        known: Error conditions that were there before the request.
        only_fresh: Count only operations that began after ``since``; for a change whose revision is not known.
        identity: Of the operation that was requested; its failure counts without a look at clocks.

    Returns:
        ``done`` needs all of: no operation, comparison newer than the last operation, comparison at the wanted
        revision, Synced, Healthy.
    """
    if application is None:
        return Judgement(False, "", "Application absent")
    failed = operation_failure(application, wanted, since, only_fresh=only_fresh, identity=identity)
    failed = failed or _hopeless_retry(application, wanted)
    failed = failed or _condition_failure(application, since, set(known))
    status = manifests.status(application)
    health = (status.get("health") or {}).get("status")
    at_revision = wanted(sync_revision(application))
    failed = failed or (_pruning_left(application, wanted, since) if at_revision else "")
    good = settled(application) and at_revision and health == "Healthy"
    good = good and synced(application)
    return Judgement(good, "" if good else failed, describe(application))


def _extra(application: Obj) -> list[Obj]:
    """Return the resources that git no longer has, when they are all that makes the application OutOfSync."""
    status = manifests.status(application)
    rows = [row for row in status.get("resources") or [] if row.get("status") == "OutOfSync"]
    if (status.get("sync") or {}).get("status") != "OutOfSync" or not settled(application):
        return []
    return rows if all(row.get("requiresPruning") for row in rows) else []


def _named(row: Obj) -> str:
    """Name a row of resources or results."""
    return f"{row.get('kind')}/{row.get('name')}"


def _only_kept(application: Obj) -> bool:
    """Tell whether all that git no longer has is kept on purpose (``Prune=false``): OutOfSync is its rest state."""
    rows = (operation_state(application).get("syncResult") or {}).get("resources") or []
    kept = {_named(row) for row in rows if row.get("message") == "ignored (no prune)"}
    extra = _extra(application)
    return bool(extra) and succeeded(application) and all(_named(row) in kept for row in extra)


def synced(application: Obj) -> bool:
    """Tell whether nothing is left to sync: Synced, or OutOfSync only by what is kept on purpose."""
    status = (manifests.status(application).get("sync") or {}).get("status")
    return status == "Synced" or _only_kept(application)


def given_up(application: Obj) -> bool:
    """Tell whether automation has tried what was compared last, failed, and waits for another commit."""
    bad = operation_state(application).get("phase") in ("Failed", "Error") and not application.get("operation")
    return bad and synced_revision(application) == sync_revision(application)


def _pruning_left(application: Obj, wanted: Callable[[str], bool], since: datetime | None) -> str:
    """Say that only pruning is missing and that nobody will do it: the operation ended, or automation never starts one.

    Source: ``argocd app sync`` ends with an error in that case; automation without ``prune`` starts no sync.
    """
    extra = _extra(application)
    if not extra or _only_kept(application):
        return ""
    policy = (manifests.spec(application).get("syncPolicy") or {}).get("automated") or {}
    ours = succeeded(application) and wanted(synced_revision(application)) and not dry_run(application)
    idle = automated(application) and not policy.get("prune") and (since is None or compared_after(application, since))
    if not ours and not idle:
        return ""
    return f"{len(extra)} resources require pruning: {joined(_named(row) for row in extra[:5])}"


def _hopeless_retry(application: Obj, wanted: Callable[[str], bool]) -> str:
    """Say why retrying is pointless: what is not valid stays so until git changes."""
    state = operation_state(application)
    message = str(state.get("message") or "")
    if retry_at(application) is None or int(state.get("retryCount") or 0) < _SAME_AGAIN:
        return ""
    if not any(words in message for words in _INVALID):
        return ""
    return message if wanted(synced_revision(application) or requested_revision(state)) else ""


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
        left = left_over(application)
        parts += [f"its {joined(left)} survived from the operation before (argo-cd issue 28701)"] if left else []
    else:
        parts += _why_idle(application)
    parts += [f"{kind}: {message}" for kind, message in sorted(errors_of(application))]
    return ", ".join(parts)


def _why_idle(application: Obj) -> list[str]:
    """Say why nothing happens although the application is OutOfSync."""
    if (manifests.status(application).get("sync") or {}).get("status") != "OutOfSync":
        return []
    if not automated(application):
        return ["automation is off, so it waits for somebody to sync"]
    policy = manifests.spec(application)["syncPolicy"]["automated"] or {}
    attempted = synced_revision(application) == sync_revision(application)
    if succeeded(application) and attempted and not policy.get("selfHeal") and settled(application):
        return ["automation has synced this revision and does not heal drift (selfHeal is off)"]
    return []


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
