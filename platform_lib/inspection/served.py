"""What does argocd-server say differs? For what only Argo CD renders, and for users without access to the cluster.

The server answers with what it compared last: Helm, Kustomize and several sources included, other revisions not.

Source: Argo CD v3.5.1, ``GET /api/v1/applications/{name}/managed-resources``, type ResourceDiff.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from platform_lib.errors import InvalidInput
from platform_lib.inspection.fields import Diff, ObjectDiff, field_of
from platform_lib.inspection.lookup import named
from platform_lib.model import App, Obj, Platform
from platform_lib.rules import application as rules
from platform_lib.rules import diffing, manifests
from platform_lib.settings import settings

if TYPE_CHECKING:
    from platform_lib.wire.argocd.server import ServerDoor


def server_of(platform: Platform, app: App) -> ServerDoor | None:
    """Return the way to argocd-server; None where the platform names none."""
    if not platform.argocd_url:
        return None
    from platform_lib.wire.argocd.server import ServerDoor, client

    return ServerDoor(client(platform, settings().request_timeout_s), app.application_namespace(platform))


def compared(server: ServerDoor, application: Obj, name: str, revision: str | None) -> Diff:
    """Return the differences that argocd-server knows.

    Args:
        server: Way to argocd-server.
        application: The Application.
        name: Its name.
        revision: Must be the one that was compared last, or None.

    Raises:
        InvalidInput: Another revision was asked for; only Argo CD could render it.
    """
    last = rules.sync_revision(application)
    if revision and not last.startswith(revision):
        raise InvalidInput(
            f"{name} - argocd-server compared {last[:7] or 'nothing yet'}, {revision} was asked for",
            hint=f"what Argo CD renders by its own tools is compared by argocd app diff {name} --revision {revision}",
        )
    answer = server.rest.json("GET", server.path(name, "managed-resources"), params=server.query)
    items = answer.get("items") or []
    found = [one for item in items if (one := object_of(application, item)) is not None]
    hooks = tuple(f"{item.get('kind')}/{item.get('name')}" for item in items if item.get("hook"))
    notes = ("compared by argocd-server with its own normalisation; fields without effect are not told",)
    return Diff(manifests.name(application), last, len(items), tuple(found), hooks, notes)


def object_of(application: Obj, item: Obj) -> ObjectDiff | None:
    """Return the difference of one managed object; None when there is none, or for a hook.

    Args:
        application: Whose ``ignoreDifferences`` count.
        item: One ``ResourceDiff``; its states are JSON in text.
    """
    key = manifests.ObjectKey(*(str(item.get(part) or "") for part in ("group", "kind", "namespace", "name")))
    live, before, after = (_state(item, name) for name in ("liveState", "normalizedLiveState", "predictedLiveState"))
    if item.get("hook"):
        return None
    if not live:
        return ObjectDiff(named(key), key.namespace, "create", argocd="OutOfSync")
    if not _state(item, "targetState"):
        kept = manifests.has_option(live, "Prune=false")
        note = "no longer in git; Prune=false keeps it" if kept else "no longer in git"
        return ObjectDiff(named(key), key.namespace, "keep" if kept else "prune", note, argocd="OutOfSync")
    apart = diffing.differences(diffing.normalised(before), diffing.normalised(after))
    ignored = diffing.rules_for(application, key)
    fields = tuple(field_of(key, one, live, ignored, changes=True) for one in apart)
    return ObjectDiff(named(key), key.namespace, "change", "", fields, "OutOfSync") if fields else None


def _state(item: Obj, name: str) -> Obj:
    """Decode one state; empty where the server gives none (it writes ``null``)."""
    found = json.loads(item.get(name) or "null")
    return found if isinstance(found, dict) else {}
