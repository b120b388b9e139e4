"""May an application be synced now, and will anybody carry it out? Asked before anything is changed; pure.

Each answer names what was seen, and the way on. What argocd-server itself refuses is in ``syncrequest``.

Source: Argo CD v3.5.1: sync windows, project restrictions, skip-reconcile, automated.enabled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from platform_lib.model import Obj, joined
from platform_lib.rules import application as rules
from platform_lib.rules import appproject, manifests, syncwindows

PAUSED_ANNOTATION = "apqx.dev/automation-paused"
"""Remembers that it was us who switched automation off."""
SKIP_ANNOTATION = "argocd.argoproj.io/skip-reconcile"
Change = Literal["sync", "deploy", "rollback"]


class Refusal(NamedTuple):
    """Why not, and the next step."""

    why: str
    hint: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read before a change.

    Attributes:
        application: The Application.
        project: Its AppProject; None where it is absent or may not be read: then nothing is said of it.
        controller: Why no controller can act; empty when one can, or when nobody could look.
        now: When it was read.
    """

    application: Obj
    project: Obj | None
    controller: str
    now: datetime


def refusals(facts: Facts, change: Change) -> list[Refusal]:
    """Return every reason against a change; empty when it may be tried.

    Args:
        facts: What was read.
        change: ``deploy`` and ``rollback`` commit to git, which needs a single source; a ``deploy`` respects that
            somebody else switched automation off, while a ``rollback`` goes on and a ``sync`` is what they ask for.
    """
    found = [*_paused(facts, change), *_sources(facts, change), *_project(facts), *_windows(facts)]
    return [Refusal(f"{manifests.name(facts.application)} - {why}", hint) for why, hint in found]


def _paused(facts: Facts, change: Change) -> Iterator[Refusal]:
    """Find what keeps Argo CD from acting at all."""
    app, name = facts.application, manifests.name(facts.application)
    if manifests.annotations(app).get(SKIP_ANNOTATION) == "true":
        yield Refusal(
            f"Argo CD is told to leave it alone ({SKIP_ANNOTATION} is true), expected an Application that is followed",
            f"kubectl annotate application {name} {SKIP_ANNOTATION}-",
        )
    if facts.controller:
        yield Refusal(
            f"{facts.controller}, so nobody would carry it out",
            f"kubectl -n argocd scale {facts.controller.split(' ')[0].lower()} --replicas=1",
        )
    policy = (manifests.spec(app).get("syncPolicy") or {}).get("automated") or {}
    ours = PAUSED_ANNOTATION in manifests.annotations(app)
    if change == "deploy" and policy.get("enabled") is False and not ours:
        yield Refusal(
            "automation was switched off by somebody else (automated.enabled is false), expected it on",
            "ask who did; then switch it on, or sync by hand with apqx sync after the commit",
        )


def _sources(facts: Facts, change: Change) -> Iterator[Refusal]:
    """Find that one commit cannot say what runs."""
    found = rules.sources(facts.application)
    if change != "sync" and len(found) > 1:
        urls = joined(str(source.get("repoURL") or source.get("chart")) for source in found)
        yield Refusal(
            f"has {len(found)} sources ({urls}), a {change} by commit needs one",
            "commit by hand and use apqx sync; back goes apqx rollback --method history --row ID",
        )


def _project(facts: Facts) -> Iterator[Refusal]:
    """Find what the project forbids: first what the controller says itself, then what its rules say now."""
    hint = "correct the Application or its AppProject in git; nothing is synced until then"
    said = [text for kind, text in sorted(rules.errors_of(facts.application)) if kind == "InvalidSpecError"]
    yield from (Refusal(f"InvalidSpecError: {text}", hint) for text in said)
    if facts.project is None or said:
        return
    app, project, name = facts.application, facts.project, manifests.name(facts.project)
    destination = manifests.spec(app).get("destination") or {}
    for source in rules.sources(app):
        url = str(source.get("repoURL") or "")
        if not appproject.source_permitted(project, url):
            yield Refusal(f"repository {url} is not permitted in project {name}", hint)
    namespace = str(destination.get("namespace") or "")
    if appproject.in_cluster(destination) and not appproject.destination_permitted(project, destination, namespace):
        where = destination.get("server") or destination.get("name")
        yield Refusal(f"destination {where}, namespace {namespace!r}, is not permitted in project {name}", hint)
    for kind in sorted(_forbidden_kinds(app, project)):
        yield Refusal(f"kind {kind} is not permitted in project {name}", hint)


def _forbidden_kinds(application: Obj, project: Obj) -> set[str]:
    """Return the kinds among the application's resources that a project forbids."""
    rows = manifests.status(application).get("resources") or []
    return {
        f"{row.get('group') or ''}/{row.get('kind')}".lstrip("/")
        for row in rows
        if not row.get("requiresPruning")
        and not appproject.kind_permitted(
            project,
            str(row.get("group") or ""),
            str(row.get("kind") or ""),
            str(row.get("name") or ""),
            namespaced=bool(row.get("namespace")),
        )
    }


def _windows(facts: Facts) -> Iterator[Refusal]:
    """Find that no sync is allowed now, not even one that a person asks for."""
    windows = manifests.spec(facts.project or {}).get("syncWindows") or []
    about = syncwindows.about(facts.application)
    closed = syncwindows.blocking(windows, about, facts.now, manual=True)
    if not closed:
        return
    opens = syncwindows.opens_at(windows, about, facts.now, manual=True)
    when = f"opens {opens:%Y-%m-%d %H:%M} UTC" if opens is not None else "does not open within a year"
    yield Refusal(
        f"no sync is allowed now: {joined(map(syncwindows.describe, closed))}; {when}",
        "wait for it, or let the project's owner set manualSync on the window",
    )


def automation_waits(facts: Facts) -> bool:
    """Tell whether automation is held back by a window that allows a sync which a person asks for."""
    windows = manifests.spec(facts.project or {}).get("syncWindows") or []
    about = syncwindows.about(facts.application)
    return bool(syncwindows.blocking(windows, about, facts.now, manual=False))
