"""May this application be changed through Argo CD now? Asked before anything is written; raises the reason."""

from __future__ import annotations

from platform_lib.errors import SyncRefused
from platform_lib.model import App, Platform
from platform_lib.rules import application as rules
from platform_lib.rules import manifests, syncchecks, syncrequest
from platform_lib.rules.syncchecks import Change, Facts
from platform_lib.wait import now
from platform_lib.wire import argocd


def facts_of(platform: Platform, app: App) -> Facts:
    """Read what decides whether a change may be tried.

    Raises:
        NotFound: There is no such Application; says where one of that name is.
    """
    application = argocd.read(platform, app)
    way = argocd.door(platform, app)
    project = way.project(str(manifests.spec(application).get("project") or "default"))
    return Facts(application, project, way.controller(), now())


def ready(platform: Platform, app: App, *, change: Change = "sync") -> Facts:
    """Refuse a change that Argo CD would not carry out, before anything is written.

    Args:
        platform: Where.
        app: What.
        change: ``sync``, or ``deploy`` and ``rollback`` by a commit.

    Returns:
        What was read.

    Raises:
        NotFound: There is no such Application; says where one of that name is.
        SyncRefused: It is being deleted or paused, a window is closed, or its project forbids it; names which.
    """
    facts = facts_of(platform, app)
    syncrequest.refuse_deleting(facts.application)
    found = syncchecks.refusals(facts, change)
    if found:
        raise SyncRefused(
            found[0].why,
            hint=found[0].hint,
            app=app.name,
            revision=rules.sync_revision(facts.application),
            phase="",
            resources=[],
            reasons=[refusal.why for refusal in found],
        )
    return facts
