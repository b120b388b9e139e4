"""Why does an Application not move? Pure reading of its status: what a sync waits for, and why automation does nothing.

Which object is at fault in the cluster is looked up by ``inspection.blockers``; this module knows the status alone.

Source: Argo CD v3.5.1, gitops-engine ``setRunningPhase`` (messages), controller ``autoSync`` (order of refusals).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from platform_lib.model import Obj
from platform_lib.rules import application as rules
from platform_lib.rules import manifests
from platform_lib.rules.manifests import ObjectKey
from platform_lib.rules.syncchecks import PAUSED_ANNOTATION, SKIP_ANNOTATION
from platform_lib.rules.workload import parse_time

_WAITING = re.compile(
    r"waiting for (?P<what>completion of hook|healthy state of|deletion of hook|deletion of|pruning confirmation of) "
    r"(?P<group>[^/\s]*)/(?P<kind>[^/\s]+)/(?P<name>\S+)(?: and (?P<more>\d+) more)?"
)
_HEAL_S = (0.0, 2.0, 6.0, 18.0, 54.0, 162.0, 300.0)
"""Back-off of self-healing by the number of attempts in a row."""
_WARNINGS = {
    "SharedResourceWarning": "two Applications fight for it: remove it from one of them",
    "RepeatedResourceWarning": "git has it more than once, the last one wins: remove the others",
    "ExcludedResourceWarning": "Argo CD leaves this kind alone: take it out of git, or change resource.exclusions",
    "OrphanedResourceWarning": "objects of nobody in its namespace: delete them, or list them in the project's ignore",
}


class Waiting(NamedTuple):
    """What the controller says it waits for; ``more`` counts objects that the message does not name."""

    what: str
    key: ObjectKey
    more: int


class Finding(NamedTuple):
    """One reason why an Application stands still, and the way out."""

    what: str
    detail: str
    way_out: str


def waiting_for(message: str) -> Waiting | None:
    """Read the controller's progress message; None when it names no object. The namespace is not told."""
    found = _WAITING.search(message)
    if found is None:
        return None
    key = ObjectKey(found["group"], found["kind"], "", found["name"])
    return Waiting(found["what"], key, int(found["more"] or 0))


def unfinished(application: Obj) -> list[tuple[ObjectKey, str, dict[str, Any]]]:
    """Return (key, apiVersion, row) of the rows of the running sync that it may still wait for, hooks first.

    Ordinary objects of a finished wave read ``Running`` for ever, so the caller has to look whether they are healthy.
    """
    rows = (rules.operation_state(application).get("syncResult") or {}).get("resources") or []
    found = []
    for row in rows:
        if row.get("hookPhase") not in (None, "", "Running"):
            continue
        group, version = str(row.get("group") or ""), str(row.get("version") or "v1")
        key = ObjectKey(group, str(row.get("kind")), str(row.get("namespace") or ""), str(row.get("name")))
        found.append((key, f"{group}/{version}" if group else version, row))
    return sorted(found, key=lambda one: not one[2].get("hookType"))


def findings(application: Obj, at: datetime, *, paused_parents: Iterable[str] = (), window: str = "") -> list[Finding]:
    """Say why an Application does not move, the most pressing reason first.

    Args:
        application: The Application as it is.
        at: Now, for times that are still to come.
        paused_parents: Applications above it whose automation is off.
        window: Why a sync window of its project keeps it from syncing; empty when none does.
    """
    parents = tuple(paused_parents)
    return [
        *_deleting(application),
        *_running(application, at),
        *_refused(application),
        *(
            [Finding("sync window", window, "wait for the window, or ask for manualSync in the project")]
            if window
            else []
        ),
        *_automation(application, at, parents),
        *_warned(application),
    ]


def _deleting(application: Obj) -> Iterator[Finding]:
    """An Application that is going cannot be synced."""
    if manifests.deleting(application):
        left = ", ".join(manifests.finalizers(application)) or "no finalizer left"
        since = manifests.metadata(application)["deletionTimestamp"]
        yield Finding("being deleted", f"since {since}; {left}", "see what still runs below it: apqx app tree")


def _running(application: Obj, at: datetime) -> Iterator[Finding]:
    """What a running or waiting operation means."""
    state = rules.operation_state(application)
    message = str(state.get("message") or "")
    retry = rules.retry_at(application)
    if retry is not None:
        left_s = max(0.0, (retry - at).total_seconds())
        detail = f"attempt {int(state.get('retryCount') or 0) + 1} at {retry:%H:%M:%S}Z (in {left_s:.0f} s): {message}"
        yield Finding("waits to retry", detail, "apqx app terminate ends the retries; a new commit alone does not")
    elif rules.busy(application):
        started = parse_time(state.get("startedAt"))
        since = f" for {(at - started).total_seconds():.0f} s" if started else ""
        phase = state.get("phase") or "requested"
        yield Finding("operation runs", f"{phase}{since}: {message or 'no message yet'}", "apqx app terminate ends it")
    if "blocked by sync window" in message:
        yield Finding("sync window", message, "wait for the window; a terminated operation ends when it opens too")
    if "pruning confirmation" in message:
        way = "annotate the Application: argocd.argoproj.io/deletion-approved with the present time"
        yield Finding("waits for approval", message, way)
    running, compared = rules.synced_revision(application), rules.sync_revision(application)
    if rules.busy(application) and running and compared and running != compared:
        detail = f"the operation works on {running[:7]} while git says {compared[:7]}"
        yield Finding("old revision in the way", detail, "apqx app terminate, then the new commit is synced")


def _refused(application: Obj) -> Iterator[Finding]:
    """What the project, the specification or git forbids."""
    for kind, message in sorted(rules.errors_of(application)):
        if "is not permitted in project" in message:
            project = manifests.spec(application).get("project") or "default"
            yield Finding("project forbids it", message, f"allow it in AppProject/{project}, or use another one")
        elif kind != "SyncError":
            yield Finding(kind, message, "correct it in git or in the Application")
    for row in rules.failed_rows(application):
        if "is not permitted in project" in row:
            project = manifests.spec(application).get("project") or "default"
            yield Finding("project forbids it", row, f"allow the kind in AppProject/{project}")
        elif not rules.busy(application):
            ended = row.endswith(": Terminated")
            way = "it was ended from outside; sync again when its cause is gone" if ended else "correct it in git"
            yield Finding("failed in the last sync", row, way)


def _automation(application: Obj, at: datetime, parents: tuple[str, ...]) -> Iterator[Finding]:
    """Why automation does nothing although there is something to do; in the order of the controller's decision."""
    name, status = manifests.name(application), manifests.status(application)
    policy = (manifests.spec(application).get("syncPolicy") or {}).get("automated")
    if manifests.annotations(application).get(SKIP_ANNOTATION) == "true":
        yield Finding("reconciling is off", f"annotation {SKIP_ANNOTATION}", "remove the annotation")
    differs = (status.get("sync") or {}).get("status") == "OutOfSync"
    if not rules.automated(application) and (policy is not None or (differs and not rules.busy(application))):
        yield _paused(application, policy)
    if parents:
        yield Finding("automation above is off", ", ".join(parents), f"resume it with {name}")
    if not differs or policy is None or not rules.automated(application) or rules.busy(application):
        return
    rows = [row for row in status.get("resources") or [] if row.get("status") == "OutOfSync"]
    if rows and not policy.get("prune") and all(row.get("requiresPruning") for row in rows):
        names = ", ".join(f"{row.get('kind')}/{row.get('name')}" for row in rows[:5])
        yield Finding("only pruning is left", names, "automation may not prune here: apqx sync --prune")
        return
    yield from _attempted(application, policy, at)


def _paused(application: Obj, policy: dict[str, Any] | None) -> Finding:
    """Automation is off: by us, by somebody else, or by design."""
    since = manifests.annotations(application).get(PAUSED_ANNOTATION)
    if since and policy is not None:
        detail = f"paused by a rollback of apqx at {since}"
        return Finding("automation is off", detail, f"correct git, then apqx app resume {manifests.name(application)}")
    if policy is not None:
        return Finding("automation is off", "somebody set automated.enabled to false", "set it back, or sync by hand")
    return Finding("automation is off", "the Application has no automated policy", "sync by hand: apqx sync")


def _attempted(application: Obj, policy: dict[str, Any], at: datetime) -> Iterator[Finding]:
    """A revision is tried once; a good one is healed with a growing pause."""
    state, revision = rules.operation_state(application), rules.sync_revision(application)
    tried = rules.synced_revision(application)
    if not state or (tried and tried != revision):
        return
    if state.get("phase") != "Succeeded":
        detail = (
            f"{revision[:7]} was tried and {str(state.get('phase')).lower()}: {state.get('message') or 'no message'}"
        )
        yield Finding("tried once and failed", detail, "push a corrected commit, or ask for another try: apqx sync")
        return
    if not policy.get("selfHeal"):
        yield Finding(
            "self-heal is off", f"{revision[:7]} was synced, then the cluster changed", "apqx sync, or selfHeal"
        )
        return
    count = int(((state.get("operation") or {}).get("sync") or {}).get("autoHealAttemptsCount") or 0)
    ended = parse_time(state.get("finishedAt"))
    if ended is not None:
        due = ended + timedelta(seconds=_HEAL_S[min(count, len(_HEAL_S) - 1)])
        if due > at:
            detail = f"healed {count} times in a row; next try at {due:%H:%M:%S}Z"
            yield Finding("self-heal backs off", detail, "find who changes it: apqx app diff")


def _warned(application: Obj) -> Iterator[Finding]:
    """Warnings that are easily overlooked."""
    for condition in manifests.status(application).get("conditions") or []:
        way = _WARNINGS.get(str(condition.get("type")))
        if way:
            yield Finding(str(condition["type"]), str(condition.get("message") or ""), way)
