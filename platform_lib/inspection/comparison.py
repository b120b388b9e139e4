"""Where does what runs differ from git, in which field, and who manages it? Also for a commit that is not merged yet.

Git is rendered here, and the API says by a dry run of a server-side apply (as ``argocd-controller``, with force) what
a sync would make of each object. Nothing is stored. A field that git writes differently and a sync would not change
is a false difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from platform_lib.errors import ApiError
from platform_lib.inspection import served
from platform_lib.inspection.fields import Diff, Field, ObjectDiff, field_of
from platform_lib.inspection.lookup import Kinds, named, require_this_cluster, rows_of
from platform_lib.inspection.rendering import Wanted, render, resolve
from platform_lib.model import App, Obj, Platform
from platform_lib.redact import of_process
from platform_lib.rules import application as application_rules
from platform_lib.rules import diffing, manifests, rendering
from platform_lib.wire import argocd
from platform_lib.wire.git import repository
from platform_lib.wire.kube import DRY_RUN, Kube, connect, path_of

MANAGER = "argocd-controller"
_APPLY = "application/apply-patch+yaml"


def diff(platform: Platform, app: App, *, revision: str | None = None, every: bool = False) -> Diff:
    """Compare what runs with what git asks for, field by field.

    Args:
        platform: Where.
        app: What; its Application names source, destination and ``ignoreDifferences``.
        revision: Commit, branch or tag; None for the one Argo CD compared last, else the newest of the branch.
        every: Also list false and ignored differences of objects that Argo CD calls Synced; else they are counted.

    Raises:
        InvalidInput: The source cannot be rendered here, or there is no such revision.
        ManifestError: A manifest at that revision cannot be read.
        Forbidden: This identity may not ask for a dry run.
    """
    application = argocd.read(platform, app)
    server = served.server_of(platform, app)
    if server is not None and (rendering.only_argocd_renders(application) or not platform.kubeconfig.is_file()):
        found = served.compared(server, application, app.application_name, revision)
        return found if every else _without_harmless(found)
    kube = connect(platform)
    require_this_cluster(application)
    repo = repository(platform)
    commit = resolve(repo, revision or application_rules.sync_revision(application) or repo.head())
    kinds = Kinds(kube)
    found = _compared(application, render(platform, application, kinds, revision=commit), kinds, kube)
    return found if every else _without_harmless(found)


def _without_harmless(found: Diff) -> Diff:
    """Leave out what neither a sync would change nor Argo CD complains about; a note counts it."""
    kept = tuple(one for one in found.objects if one.counts or one.argocd == "OutOfSync")
    left = sum(len(one.fields) for one in found.objects) - sum(len(one.fields) for one in kept)
    what = "1 field is" if left == 1 else f"{left} fields are"
    note = f"{what} written differently in git, or ignored, without effect; --all lists it"
    return replace(found, objects=kept, notes=(*found.notes, *([note] if left else [])))


def preview(platform: Platform, app: App, *, revision: str, base: str | None = None) -> Diff:
    """Say what merging a revision would change: the differences that its base does not have already.

    Args:
        platform: Where.
        app: What.
        revision: Branch, commit, tag or ``pull/12/head``.
        base: Revision to compare with; None for the newest commit of the GitOps branch.

    Returns:
        As ``diff``; drift that is there without the revision is left out and counted in a note.

    Raises:
        InvalidInput, ManifestError, Forbidden: As ``diff``.
    """
    after = diff(platform, app, revision=revision)
    before = diff(platform, app, revision=base or repository(platform).head())
    known = {(one.object, one.namespace, one.change, field) for one in before.objects for field in _marks(one)}
    kept = [_without(one, known) for one in after.objects]
    left = sum(len(_marks(one)) for one in after.objects) - sum(len(_marks(one)) for one in kept if one is not None)
    what = "1 difference is" if left == 1 else f"{left} differences are"
    note = f"{what} there without {after.revision[:7]} too; see apqx app diff {app.name}"
    objects = tuple(one for one in kept if one is not None)
    return replace(after, objects=objects, notes=(*after.notes, *([note] if left else [])))


def _marks(one: ObjectDiff) -> list[tuple[str, str]]:
    """Identify the differences of an object."""
    return [(field.path, field.wanted) for field in one.fields] or [("", one.note)]


def _without(one: ObjectDiff, known: set[tuple[str, str, str, tuple[str, str]]]) -> ObjectDiff | None:
    """Return an object without known differences; None when nothing is left of it."""
    marks = (one.object, one.namespace, one.change)
    if not one.fields:
        return None if (*marks, ("", one.note)) in known else one
    fields = tuple(field for field in one.fields if (*marks, (field.path, field.wanted)) not in known)
    return replace(one, fields=fields) if fields else None


def _compared(application: Obj, wanted: Wanted, kinds: Kinds, kube: Kube) -> Diff:
    """Compare every wanted and every managed object."""
    said = {key: str(row.get("status") or "") for _, key, row in rows_of(application)}
    found: list[ObjectDiff] = []
    notes = list(wanted.rendered.warnings)
    for target in wanted.rendered.targets:
        one = _object(application, target, said.get(manifests.key(target), ""), kinds, kube)
        found += [one] if one is not None else []
    targets = {manifests.key(target) for target in wanted.rendered.targets}
    found += list(_extra(application, targets, kinds))
    rules = manifests.spec(application).get("ignoreDifferences") or []
    notes += [
        f"jq expression {text!r} is not evaluated here; Argo CD may ignore more" for text in diffing.unread(rules)
    ]
    hooks = tuple(f"{m}: {manifests.kind(h)}/{_name(h)}" for h in wanted.rendered.hooks for m in manifests.hooks(h))
    return Diff(
        manifests.name(application), wanted.revision, len(targets), tuple(found), hooks, tuple(dict.fromkeys(notes))
    )


def _name(obj: Obj) -> str:
    """Return the name, or the beginning of one that is generated."""
    return manifests.name(obj) or f"{manifests.metadata(obj).get('generateName', '')}*"


def _object(application: Obj, target: Obj, said: str, kinds: Kinds, kube: Kube) -> ObjectDiff | None:
    """Compare one wanted object; None when nothing differs."""
    key = manifests.key(target)
    live = kinds.live(str(target["apiVersion"]), key)
    served = kinds.find(str(target["apiVersion"]), key.kind)
    if served is None:
        return ObjectDiff(named(key), key.namespace, "refused", "the API does not know this kind", argocd=said)
    if live is None:
        return ObjectDiff(named(key), key.namespace, "create", argocd=said)
    where = path_of(served.gvr, key.namespace if served.namespaced else None, key.name)
    query = {"fieldManager": MANAGER, "force": True, "dryRun": DRY_RUN}
    try:
        predicted = kube.json("PATCH", where, body=json.dumps(target), content_type=_APPLY, params=query)
    except ApiError as error:
        if error.status in (401, 403):
            raise
        return ObjectDiff(named(key), key.namespace, "refused", of_process().scrub(error.message), argocd=said)
    fields = tuple(_fields(application, key, live, predicted, target))
    return ObjectDiff(named(key), key.namespace, "change", _shared(live, application), fields, said) if fields else None


def _shared(live: Obj, application: Obj) -> str:
    """Say that another Application manages the object too."""
    other = manifests.tracked_by(live)
    return f"shared with Application {other}" if other and other not in _names_of(application) else ""


def _names_of(application: Obj) -> tuple[str, str]:
    """Return the names by which objects refer to an Application: outside Argo CD's namespace with its own before."""
    name = manifests.name(application)
    return name, f"{manifests.namespace(application)}_{name}"


def _fields(application: Obj, key: manifests.ObjectKey, live: Obj, predicted: Obj, target: Obj) -> Iterator[Field]:
    """Return the differing fields of one object: those a sync would change, then the false ones."""
    before, after = diffing.normalised(live), diffing.normalised(predicted)
    rules = diffing.rules_for(application, key)
    real = list(diffing.differences(before, after))
    places = [one.path for one in real]
    for one in real:
        yield field_of(key, one, live, rules, changes=True)
    for one in diffing.declared(before, diffing.normalised(target)):
        if not any(one.path[: len(path)] == path or path[: len(one.path)] == one.path for path in places):
            yield field_of(key, one, live, rules, changes=False)


def _extra(application: Obj, targets: set[manifests.ObjectKey], kinds: Kinds) -> Iterator[ObjectDiff]:
    """Return the objects that run and that the revision no longer has."""
    policy = manifests.spec(application).get("syncPolicy") or {}
    options = policy.get("syncOptions") or []
    for api_version, key, row in rows_of(application):
        if key in targets or row.get("hook"):
            continue
        live = kinds.live(api_version, key)
        if live is None or manifests.tracked_by(live) not in ("", *_names_of(application)):
            continue
        if manifests.has_option(live, "Prune=false") or ("Prune=false" in options):
            yield ObjectDiff(
                named(key), key.namespace, "keep", "no longer in git; Prune=false keeps it", argocd="OutOfSync"
            )
        else:
            on = (policy.get("automated") or {}).get("prune") and application_rules.automated(application)
            note = "automation prunes it" if on else "only a sync with --prune removes it"
            yield ObjectDiff(
                named(key), key.namespace, "prune", f"no longer in git; {note}", argocd=str(row.get("status"))
            )
