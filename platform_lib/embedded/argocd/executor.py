"""How is a wave of tasks carried out? Prunes, applies and hook clean-up through the API; results as rows.

Nothing is decided here: ``engine`` says what to run and what the results mean.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from platform_lib.embedded.argocd.cluster import Cluster
from platform_lib.embedded.argocd.compare import as_data
from platform_lib.embedded.argocd.engine import FAILED, RUNNING, SUCCEEDED, Row, row_for
from platform_lib.embedded.argocd.tasks import Task
from platform_lib.errors import ApiError, Conflict, Invalid, NotFound
from platform_lib.model import Obj
from platform_lib.rules import manifests as m
from platform_lib.rules.health import HOOK_FINALIZER

_GONE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """How one sync carries out its tasks.

    Attributes:
        prune: Whether unwanted objects are removed.
        dry_run: Whether nothing may change.
        force: Delete and create again what cannot be changed in place.
        replace: Replace instead of apply.
        propagation: How dependants of pruned objects go.
        skip_missing_kinds: A kind unknown to the API does not fail the dry run.
        keep: The application's default is not to prune (``Prune=false``).
    """

    prune: bool = False
    dry_run: bool = False
    force: bool = False
    replace: bool = False
    propagation: str = "Foreground"
    skip_missing_kinds: bool = False
    keep: bool = False

    @classmethod
    def read(cls, operation: Obj) -> Options:
        """Read the options of an operation's ``sync``."""
        sync = operation.get("sync") or {}
        words = set(map(str, sync.get("syncOptions") or []))
        strategy = sync.get("syncStrategy") or {}
        policy = next((w.partition("=")[2] for w in words if w.startswith("PrunePropagationPolicy=")), "foreground")
        return cls(
            prune=bool(sync.get("prune")),
            dry_run=bool(sync.get("dryRun")),
            force=any(bool((strategy.get(name) or {}).get("force")) for name in ("apply", "hook")),
            replace="Replace=true" in words,
            propagation=policy.capitalize(),
            skip_missing_kinds="SkipDryRunOnMissingResource=true" in words,
            keep="Prune=false" in words,
        )


class Executor:
    """Carries out tasks of one sync.

    Args:
        cluster: View of the API.
        options: How.
        on_applied: Called with (target, live) after a successful apply.
    """

    def __init__(self, cluster: Cluster, options: Options, on_applied: Callable[[Obj, Obj], None]) -> None:
        self._cluster, self._options, self._on_applied = cluster, options, on_applied

    async def rehearse(self, tasks: Sequence[Task]) -> list[Row]:
        """Dry-run every apply; return the rows of those that fail.

        Deviation from Argo CD, chosen on purpose: the server rehearses, so admission and immutable fields are
        found before anything is applied.
        """
        kinds = {task.key.name for task in tasks if task.key.kind == "Namespace"}
        rows = await asyncio.gather(*(self._rehearse(task, kinds) for task in tasks if not task.prune))
        return [row for row in rows if row is not None]

    async def _rehearse(self, task: Task, new_namespaces: set[str]) -> Row | None:
        """Dry-run one task; None when nothing speaks against it."""
        served = await self._cluster.discover(str(task.obj.get("apiVersion") or ""), task.key.kind)
        in_new_namespace = task.key.namespace in new_namespaces and not self._namespace_exists(task.key.namespace)
        if served is None or task.untracked or in_new_namespace:
            return None  # kinds are judged by the checks before; the namespace comes with this sync
        try:
            await self._apply_object(task, dry_run=True)
        except NotFound as error:
            return row_for(task, "SyncFailed", _said(error), FAILED)
        except ApiError as error:
            if isinstance(error, (Invalid, Conflict)) and self._may_force(task):
                return None
            return row_for(task, "SyncFailed", _said(error), FAILED)
        return None

    def _namespace_exists(self, name: str) -> bool:
        """Tell whether a namespace is live."""
        return self._cluster.get(m.ObjectKey("", "Namespace", "", name)) is not None

    async def run(self, tasks: Sequence[Task]) -> list[Row]:
        """Carry out the tasks of one wave: prunes together first, then applies, kind by kind.

        Returns:
            One row for each task; without a row are hooks whose predecessor still has to go.
        """
        rows = list(await asyncio.gather(*(self._prune(task) for task in tasks if task.prune)))
        applies = [task for task in tasks if not task.prune]
        leaving = [task for task in applies if task.hook and task.live is not None]
        if leaving and not self._options.dry_run:
            blocked = await asyncio.gather(*(self._remove_predecessor(task) for task in leaving))
            if any(blocked):
                return rows
        for _, group in itertools.groupby(applies, key=lambda task: task.key.kind):
            rows += await asyncio.gather(*(self._apply(task) for task in group))
        return rows

    async def _remove_predecessor(self, task: Task) -> bool:
        """Delete what an earlier sync left of a hook; True while it is still there."""
        if task.live is None or "BeforeHookCreation" not in task.policies():
            return False
        await self.remove_hooks([task.live])
        return not await self._gone(task.key, task.live)

    async def _gone(self, key: m.ObjectKey, old: Obj) -> bool:
        """Wait a moment for an object to disappear."""
        deadline = asyncio.get_running_loop().time() + _GONE_TIMEOUT_S
        while (found := self._cluster.get(key)) is not None and m.uid(found) == m.uid(old):
            if asyncio.get_running_loop().time() > deadline:
                return False
            await self._cluster.changed(key, deadline)
        return True

    async def _prune(self, task: Task) -> Row:
        """Remove one object, or say why not."""
        live = task.live or {}
        if not self._options.prune:
            return row_for(task, "PruneSkipped", "ignored (requires pruning)", SUCCEEDED)
        kept = m.has_option(live, "Prune=false") or (self._options.keep and not m.has_option(live, "Prune=true"))
        if kept:
            return row_for(task, "PruneSkipped", "ignored (no prune)", SUCCEEDED)
        if self._options.dry_run:
            return row_for(task, "Pruned", "pruned (dry run)", SUCCEEDED)
        try:
            if not m.deleting(live):
                await self._cluster.delete(live, self._options.propagation)
        except ApiError as error:
            return row_for(task, "SyncFailed", _said(error), FAILED)
        return row_for(task, "Pruned", "pruned", SUCCEEDED)

    async def _apply(self, task: Task) -> Row:
        """Apply one object."""
        if task.untracked and task.live is not None:
            return row_for(task, "Synced", f"{_label(task)} unchanged", RUNNING)
        try:
            live, verb = await self._apply_or_recreate(task)
        except ApiError as error:
            return row_for(task, "SyncFailed", _said(error), FAILED)
        if not self._options.dry_run and task.target is not None:
            self._on_applied(task.target, live)
        suffix = " (dry run)" if self._options.dry_run else ""
        return row_for(task, "Synced", f"{_label(task)} {verb}{suffix}", RUNNING)

    async def _apply_or_recreate(self, task: Task) -> tuple[Obj, str]:
        """Apply, or with force delete and create what cannot be changed."""
        try:
            return await self._apply_object(task, dry_run=self._options.dry_run)
        except (Invalid, Conflict):
            old = self._cluster.get(task.key)
            if old is None or self._options.dry_run or not self._may_force(task):
                raise
            await self._cluster.delete(old, "Background")
            await self._gone(task.key, old)
            return await self._apply_object(task, dry_run=False)

    def _may_force(self, task: Task) -> bool:
        """Tell whether a task may delete its object to create it again."""
        return self._options.force or m.has_option(task.obj, "Force=true")

    async def _apply_object(self, task: Task, *, dry_run: bool) -> tuple[Obj, str]:
        """Send one object to the API in the way its options ask for."""
        target = as_data(task.obj)
        if task.hook:
            finalizers = [*m.finalizers(target), HOOK_FINALIZER]
            target = {**target, "metadata": {**m.metadata(target), "finalizers": list(dict.fromkeys(finalizers))}}
        if task.untracked:
            return await self._cluster.replace(target, dry_run=dry_run), "created"
        if self._options.replace or m.has_option(target, "Replace=true"):
            return await self._cluster.replace(target, dry_run=dry_run), "replaced"
        return await self._cluster.apply(target, dry_run=dry_run), "serverside-applied"

    async def remove_hooks(self, hooks: Iterable[Obj]) -> None:
        """Delete hook objects, their finalizer first."""
        for hook in hooks:
            await self.release_hooks([hook])
            current = self._cluster.get(m.key(hook))
            if current is not None and m.uid(current) == m.uid(hook) and not m.deleting(current):
                await self._cluster.delete(current, "Background")

    async def release_hooks(self, hooks: Iterable[Obj]) -> None:
        """Remove the finalizer that keeps completed hooks visible."""
        for hook in hooks:
            current = self._cluster.get(m.key(hook))
            if current is None or HOOK_FINALIZER not in m.finalizers(current):
                continue
            rest = [name for name in m.finalizers(current) if name != HOOK_FINALIZER]
            try:
                await self._cluster.merge(current, {"metadata": {"finalizers": rest or None}})
            except NotFound:
                continue


def _label(task: Task) -> str:
    """Name an object the way kubectl does: ``deployment.apps/web``."""
    group, _, kind = m.gvk(task.obj)
    return f"{kind.lower()}{'.' + group if group else ''}/{task.key.name}"


def _said(error: ApiError) -> str:
    """Return what the API said, without the request line before it."""
    said = error.context.get("body")
    message = str(said.get("message") or "") if isinstance(said, dict) else ""
    return message or error.message
