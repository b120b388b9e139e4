"""What does a request to Argo CD say? Operations, bodies of the REST API and refusals, as pure functions.

The controller copies nothing from the specification and refuses nothing: whoever asks copies options and retry
policy, and holds to the rules that argocd-server would enforce. Writing it is the business of ``wire.argocd``.

Source: Argo CD v3.5.1, server/application/application.go (Sync, Rollback, resolveSourceRevisions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from platform_lib.errors import InvalidInput, Locked, RollbackRefused, SyncRefused
from platform_lib.model import Obj
from platform_lib.rules import application as rules
from platform_lib.rules import manifests

USER = "apqx"
_STRATEGIES = {True: "hook", False: "apply"}


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """A wanted sync.

    Attributes:
        revision: Commit, branch or tag; empty for the target revision of the specification.
        revisions: With several sources, one per source, in their order; an empty text leaves one as specified.
        prune: Delete what is no longer in git; never implied.
        dry_run: Only say what would be done; no history, no new comparison.
        hooks: False applies without hooks, as a rollback does.
        force: Delete and create again what cannot be changed.
        resources: Only these (``group``, ``kind``, ``name``, ``namespace``): a partial sync, without hooks and
            without a row of the history.
        source, sources: Override those of the specification; used by a rollback.
        retry: Copy the retry policy of the specification, as the server would.
    """

    revision: str = ""
    revisions: tuple[str, ...] = ()
    prune: bool = False
    dry_run: bool = False
    hooks: bool = True
    force: bool = False
    resources: tuple[Mapping[str, str], ...] = ()
    source: Mapping[str, Any] | None = None
    sources: tuple[Mapping[str, Any], ...] = ()
    retry: bool = True


def operation(application: Obj, request: SyncRequest, *, identity: str, user: str = USER) -> Obj:
    """Build ``operation``, with options and retry policy of the specification.

    Args:
        application: As it was read.
        request: What is wanted.
        identity: Written into ``info``, so that the operation's state is recognised.
        user: Initiator.
    """
    policy = policy_of(application)
    sync: Obj = {"prune": request.prune, "dryRun": request.dry_run, "syncStrategy": strategy(request)}
    wanted = {
        "revision": request.revision,
        "revisions": list(request.revisions),
        "syncOptions": policy.get("syncOptions"),
        "resources": [dict(resource) for resource in request.resources],
        "source": request.source and dict(request.source),
        "sources": [dict(source) for source in request.sources],
    }
    sync |= {name: value for name, value in wanted.items() if value}
    built: Obj = {
        "sync": sync,
        "initiatedBy": {"username": user},
        "info": [{"name": rules.OPERATION_ID, "value": identity}],
    }
    if request.retry and policy.get("retry"):
        built["retry"] = policy["retry"]
    return built


def strategy(request: SyncRequest) -> dict[str, Any]:
    """Return ``syncStrategy``: with or without hooks, forced or not."""
    return {_STRATEGIES[request.hooks]: {"force": True} if request.force else {}}


def server_body(application: Obj, request: SyncRequest, *, identity: str) -> Obj:
    """Build the body of ``POST /api/v1/applications/NAME/sync``; the server copies options and retry itself.

    Raises:
        InvalidInput: A source is overridden, which only a rollback can do through argocd-server.
    """
    if request.source or request.sources:
        raise InvalidInput(
            f"{manifests.name(application)} - argocd-server takes no source with a sync, one was given",
            hint="use a rollback, or cluster access (APQX_ARGOCD_DOOR=kubernetes)",
        )
    body: Obj = {
        "prune": request.prune,
        "dryRun": request.dry_run,
        "strategy": strategy(request),
        "infos": [{"name": rules.OPERATION_ID, "value": identity}],
    }
    if request.revision and request.revision not in _same_as_target(application):
        body["revision"] = request.revision
    given = [(place, text) for place, text in enumerate(request.revisions, 1) if text]
    if given:
        body |= {"sourcePositions": [place for place, _ in given], "revisions": [text for _, text in given]}
    if request.resources:
        body["resources"] = [dict(resource) for resource in request.resources]
    if not request.retry:
        body["retryStrategy"] = {"limit": 0}
    return body


def _same_as_target(application: Obj) -> set[str]:
    """Return the revisions that automation accepts: what it follows and what it compared last."""
    return {target_revision(application), rules.sync_revision(application)} if rules.automated(application) else set()


def target_revision(application: Obj) -> str:
    """Return the branch, tag or commit that the specification follows; with several sources, that of the first."""
    source = (rules.sources(application) or ({},))[0]
    return str(source.get("targetRevision") or "HEAD")


def policy_of(application: Obj) -> dict[str, Any]:
    """Return ``spec.syncPolicy``, or an empty dict."""
    return dict(manifests.spec(application).get("syncPolicy") or {})


def refuse_sync(application: Obj, request: SyncRequest) -> None:
    """Refuse what argocd-server would refuse.

    Raises:
        SyncRefused: Being deleted; or automation follows a branch and another revision was asked for.
        InvalidInput: The revisions do not fit the sources.
        Locked: Another operation is requested or runs.
    """
    name = manifests.name(application)
    refuse_deleting(application)
    _refuse_misfit(application, request)
    refuse_busy(application)
    if request.source or request.sources or request.dry_run or not rules.automated(application):
        return
    for index, asked in enumerate(request.revisions or (request.revision,)):
        source = dict(enumerate(rules.sources(application))).get(index, {})
        target = str(source.get("targetRevision") or "HEAD")
        compared = rules.sync_revisions(application)[index : index + 1]
        if asked and asked not in (target, *compared):
            raise SyncRefused(
                f"{name} - automation follows {target}, so it cannot be synced to {asked[:7]}",
                hint="commit the change to the branch, or pause automation first",
                app=name,
                revision=asked,
            )


def _refuse_misfit(application: Obj, request: SyncRequest) -> None:
    """Refuse one revision for several sources, and a number of revisions that is not theirs."""
    count, name = len(rules.sources(application)), manifests.name(application)
    if count > 1 and request.revision:
        raise InvalidInput(
            f"{name} - has {count} sources, one revision was given, expected one per source",
            hint="leave the revision out, or give revisions in the order of spec.sources",
        )
    if request.revisions and len(request.revisions) != count:
        raise InvalidInput(f"{name} - has {count} sources, {len(request.revisions)} revisions were given")


def refuse_deleting(application: Obj) -> None:
    """Refuse an Application that is on its way out."""
    if manifests.deleting(application):
        name = manifests.name(application)
        since = manifests.metadata(application).get("deletionTimestamp")
        raise SyncRefused(
            f"{name} - is being deleted since {since}, expected an Application that stays",
            hint="wait until it is gone and apply it again from git",
            app=name,
        )


def refuse_busy(application: Obj) -> None:
    """Refuse while another operation is there: a second one would be lost.

    Raises:
        Locked: Names who asked for it, since when, and what it waits for.
    """
    if not application.get("operation"):
        return
    state = rules.operation_state(application)
    raise Locked(
        f"{manifests.name(application)} - another operation is {state.get('phase') or 'requested'} "
        f"(by {rules.initiator(application)}{_towards(application)}), none was expected",
        hint="wait for it, or terminate it",
        holder=rules.initiator(application),
        since=state.get("startedAt") or "",
    )


def _towards(application: Obj) -> str:
    """Say which revision an operation works on, where it is known."""
    revision = rules.operation_revision(application)
    return f", to {revision[:7]}" if revision else ""


def rollback(application: Obj, *, history_id: int, prune: bool = False, dry_run: bool = False) -> SyncRequest:
    """Build the request that deploys a row of the history again: its revision and source, no hooks, no retry.

    Raises:
        RollbackRefused: Automation is on, there is no such row, or the row is too old to say its source.
        SyncRefused, Locked: As ``refuse_sync``.
    """
    name = manifests.name(application)
    refuse_deleting(application)
    if rules.automated(application):
        raise RollbackRefused(
            f"{name} - rollback cannot be initiated when auto-sync is enabled",
            hint="pause automation first, or roll back by git revert",
        )
    rows = rules.history(application)
    row = next((row for row in rows if row.get("id") == history_id), None)
    if row is None:
        ids = ", ".join(str(row.get("id")) for row in rows) or "none"
        raise RollbackRefused(
            f"{name} - does not have deployment with id {history_id}, it has {ids}",
            hint="Argo CD keeps the last successful deployments only; older ones come back by git revert",
        )
    if not row.get("source") and not row.get("sources"):
        raise RollbackRefused(
            f"{name} - row {history_id} of the history does not say its source", hint="sync to its revision instead"
        )
    refuse_busy(application)
    return SyncRequest(
        revision=str(row.get("revision") or ""),
        revisions=tuple(map(str, row.get("revisions") or ())),
        source=row.get("source"),
        sources=tuple(row.get("sources") or ()),
        prune=prune,
        dry_run=dry_run,
        hooks=False,
        retry=False,
    )
