"""How does one attempt of an operation proceed? Joins observer, engine and executor for a single step.

The record of the operation (retries, history, writing it) belongs to ``worker``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from platform_lib.embedded.argocd import engine as e
from platform_lib.embedded.argocd import operation as op
from platform_lib.embedded.argocd import project as projects
from platform_lib.embedded.argocd.cluster import Cluster
from platform_lib.embedded.argocd.compare import Pair, shared_warnings
from platform_lib.embedded.argocd.deletion import approved
from platform_lib.embedded.argocd.executor import Executor, Options
from platform_lib.embedded.argocd.ignore import respecting, rules_for
from platform_lib.embedded.argocd.observer import Observer, namespace_metadata
from platform_lib.embedded.argocd.tasks import Task, defines, hook_tasks, order_tasks
from platform_lib.model import Obj
from platform_lib.rules import manifests as m


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an attempt stands after a step.

    Attributes:
        phase: Running, Succeeded, Failed or Error.
        message: Text for the operation state.
        rows: Results so far.
        pause: A wave was carried out and another follows.
        again: Call again at once.
    """

    phase: str
    message: str
    rows: e.Rows
    pause: bool = False
    again: bool = False


class Sync:
    """One attempt of an operation on one Application.

    Args:
        cluster: View of the API.
        observer: Reads for the Application.
        app: The Application.
        state: Its operation state (request, start time).
        revision: Concrete commit.
        source: Source to sync from.
    """

    def __init__(
        self, cluster: Cluster, observer: Observer, app: Obj, state: Obj, *, revision: str, source: dict[str, Any]
    ) -> None:
        self._cluster, self._observer = cluster, observer
        self._app, self._state, self._revision, self._source = app, state, revision, source
        operation = state.get("operation") or {}
        self._request: dict[str, Any] = operation.get("sync") or {}
        self._words = set(map(str, self._request.get("syncOptions") or []))
        self._options = Options.read(operation)
        self._executor = Executor(cluster, self._options, self._applied)

    def _applied(self, target: Obj, live: Obj) -> None:
        """Tell the differ that an apply would change nothing now."""
        self._observer.differ.applied(self._app, target, live)

    async def tasks(self) -> tuple[list[Task], list[tuple[str, str]]]:
        """Build the ordered tasks from manifests and live objects.

        Returns:
            The tasks, and warnings about objects that another application tracks.

        Raises:
            GitError, ManifestError: The manifests cannot be loaded.
        """
        rendered = await self._observer.targets(self._app, self._source, self._revision)
        pairs = self._observer.pairs(self._app, rendered.targets)
        ordinary = [pair for pair in pairs if not pair.hook and self._selected(pair)]
        warnings = shared_warnings(m.name(self._app), ordinary)
        if "ApplyOutOfSyncOnly=true" in self._words:
            ordinary = [p for p in await self._observer.differ.judge(self._app, ordinary) if p.out_of_sync]
        found = [Task("Sync", m.sync_wave(pair.obj), self._target(pair), pair.live) for pair in ordinary]
        if not self._request.get("resources") and (self._request.get("syncStrategy") or {}).get("apply") is None:
            found += self._hooks([pair.target for pair in pairs if pair.hook and pair.target is not None])
        return order_tasks(found, prune_last="PruneLast=true" in self._words), warnings

    def _target(self, pair: Pair) -> Obj | None:
        """Return what is to be applied for a pair."""
        if pair.target is None or "RespectIgnoreDifferences=true" not in self._words:
            return pair.target
        return respecting(pair.target, pair.live, rules_for(self._app, pair.key))

    def _hooks(self, hooks: Sequence[Obj]) -> list[Task]:
        """Build the tasks of hooks."""
        started = op.parse_time(self._state.get("startedAt"))
        unix = int(started.timestamp()) if started else 0
        return hook_tasks(hooks, self._cluster.get, revision=self._revision, started_at_unix=unix)

    def _selected(self, pair: Pair) -> bool:
        """Tell whether a partial operation is about this object."""
        wanted = self._request.get("resources")
        if not wanted:
            return True
        key = pair.key
        return any(
            (item.get("group") or "", item.get("kind"), item.get("name")) == (key.group, key.kind, key.name)
            and item.get("namespace") in (None, "", key.namespace)
            for item in wanted
        )

    async def step(self, rows: e.Rows) -> Progress:
        """Carry out the next step.

        Raises:
            GitError, ManifestError: The manifests cannot be loaded.
            Unreachable: The API did not answer; the step can be repeated.
        """
        tasks, warnings = await self.tasks()
        if warnings and "FailOnSharedResource=true" in self._words:
            texts = ",".join(message for _, message in warnings)
            return Progress(e.FAILED, f"Shared resource found: {texts}", rows)
        invalid = await self._invalid(tasks)
        if invalid:
            reasons = ",".join(dict.fromkeys(row.message for row in invalid))
            text = f"one or more synchronization tasks are not valid: {reasons}"
            return Progress(e.FAILED, text, rows | {row.id: row for row in invalid})
        if not rows:
            refused = await self._first(tasks, rows)
            if refused is not None:
                return refused
        return await self._wave(tasks, rows)

    async def terminate(self, rows: e.Rows) -> Progress:
        """End the attempt: remove running hooks, undo nothing."""
        tasks, _ = await self.tasks()
        step = e.terminate(tasks, rows)
        await self._executor.remove_hooks(step.delete)
        return Progress(step.phase, step.message, step.rows)

    async def _invalid(self, tasks: Sequence[Task]) -> list[e.Row]:
        """Return rows for tasks of an unknown kind or that the project does not permit."""
        project = self._observer.project(self._app)
        introduced = {defines(task.obj) for task in tasks}
        found = []
        for task in tasks:
            group, version, kind = m.gvk(task.obj)
            served = await self._cluster.discover(str(task.obj.get("apiVersion") or ""), kind)
            tolerated = self._options.skip_missing_kinds or m.has_option(task.obj, "SkipDryRunOnMissingResource=true")
            if served is None and (group, kind) not in introduced and not tolerated:
                place = f"{task.key.namespace}/{task.key.name}".lstrip("/")
                text = (
                    f"The Kubernetes API could not find {group}/{kind} (version {version}) for requested resource "
                    f'{place}. Make sure the "{kind}" CRD is installed on the destination cluster.'
                )
                found.append(e.row_for(task, "SyncFailed", text, e.FAILED))
            elif project is not None and (refusal := self._observer.refusal(self._app, project, task.obj)):
                found.append(e.row_for(task, "SyncFailed", refusal, e.FAILED))
        return found

    async def _first(self, tasks: Sequence[Task], rows: e.Rows) -> Progress | None:
        """Make the namespace and rehearse everything; None when the sync may go on.

        The row of a namespace that was made is put into ``rows``.
        """
        namespace = self._namespace_task(tasks)
        if namespace is not None:
            (row,) = await self._executor.run([namespace])
            rows[row.id] = row
            if row.status == "SyncFailed":
                return Progress(e.FAILED, "the namespace failed to apply", rows)
        rehearsed = [task for task in tasks if namespace is None or task.key != namespace.key]
        failures = await self._executor.rehearse(rehearsed)
        if not failures:
            return None
        text = "one or more objects failed to apply (dry run)"
        reasons = ",".join(dict.fromkeys(row.message for row in failures))
        return Progress(e.FAILED, f"{text}, reason: {reasons}", rows | {row.id: row for row in failures})

    def _namespace_task(self, tasks: Sequence[Task]) -> Task | None:
        """Build the task that makes the destination's namespace, where that was asked for and is needed."""
        name = str(projects.destination_of(self._app).get("namespace") or "")
        if "CreateNamespace=true" not in self._words or not name:
            return None
        key = m.ObjectKey("", "Namespace", "", name)
        if any(task.key == key for task in tasks):
            return None
        metadata = namespace_metadata(self._app)
        live = self._cluster.get(key)
        if live is not None and not metadata:
            return None
        target: Obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}
        return Task("PreSync", -1, target, live, untracked=not metadata)

    async def _wave(self, tasks: Sequence[Task], rows: e.Rows) -> Progress:
        """Plan, carry out and conclude one step."""
        step = e.plan(tasks, rows)
        await self._executor.release_hooks(step.release)
        await self._executor.remove_hooks(step.delete)
        if not step.run:
            return Progress(step.phase, step.message, step.rows)
        unconfirmed = [task for task in step.run if self._needs_confirmation(task)]
        if unconfirmed:
            first = ", ".join(str(task.key) for task in unconfirmed)
            return Progress(e.RUNNING, f"waiting for pruning confirmation of {first}", step.rows)
        results = await self._executor.run(step.run)
        await self._await_definitions(step.run)
        done = e.conclude(tasks, step, results)
        if self._options.dry_run and done.phase == e.RUNNING:
            # nothing changes, so nothing becomes healthy: the rehearsal goes through every wave at once
            rehearsed = {id_: replace(row, hook_phase=e.SUCCEEDED) for id_, row in done.rows.items()}
            return Progress(e.RUNNING, done.message, rehearsed, again=True)
        await self._executor.remove_hooks(done.delete)
        failed = any(row.status == "SyncFailed" for row in results)
        pause = done.phase == e.RUNNING and not step.final and not failed
        again = bool(done.run) or (failed and done.phase == e.RUNNING)
        return Progress(done.phase, done.message, done.rows, pause=pause, again=again)

    def _needs_confirmation(self, task: Task) -> bool:
        """Tell whether a prune waits for somebody to agree."""
        if not task.prune or not self._options.prune or self._options.dry_run:
            return False
        asked = m.has_option(task.obj, "Prune=confirm") or "Prune=confirm" in self._words
        return asked and not approved(self._app, self._state.get("startedAt"))

    async def _await_definitions(self, tasks: Sequence[Task]) -> None:
        """Wait up to 3 s until new kinds are served, then follow them."""
        if self._options.dry_run:
            return
        for task in tasks:
            if defines(task.obj) is None or task.prune:
                continue
            deadline = asyncio.get_running_loop().time() + 3.0
            while not _established(self._cluster.get(task.key)) and asyncio.get_running_loop().time() < deadline:
                await self._cluster.changed(task.key, deadline)


def _established(definition: Obj | None) -> bool:
    """Tell whether a definition is served."""
    return definition is not None and m.condition_true(definition, "Established")
