"""How does one Application get from git to the cluster, again and again? One worker for each Application.

A worker is woken by events, does what is due (operation, comparison, automation, deletion) and writes the
Application. It is the only writer of its status; decisions are made by the pure parts it joins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from typing import Any

from platform_lib.embedded.argocd import operation as op
from platform_lib.embedded.argocd import project as projects
from platform_lib.embedded.argocd.automation import automation_of, decide
from platform_lib.embedded.argocd.cluster import Cluster
from platform_lib.embedded.argocd.compare import Comparison
from platform_lib.embedded.argocd.deletion import cascades, next_removal, propagation, remaining_finalizers
from platform_lib.embedded.argocd.observer import Observer
from platform_lib.embedded.argocd.operator import WINDOW_CHECK_S, Operator
from platform_lib.embedded.argocd.repository import Repository
from platform_lib.embedded.argocd.status import after_comparison, merge_conditions, merge_patch
from platform_lib.embedded.argocd.writer import Writer
from platform_lib.errors import ApiError, Conflict, PlatformError
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

REFRESH_ANNOTATION = "argocd.argoproj.io/refresh"
SKIP_ANNOTATION = "argocd.argoproj.io/skip-reconcile"
RECENT, LATEST, FORCED = 1, 2, 3
"""How far a comparison goes: last revision, newest revision, newest revision and errors are shown at once."""

REPO_ERROR_GRACE_S = 180.0
BATCH_S = 0.05
QUIET_S = 120.0
"""A look that nobody asked for and that found nothing new is written this seldom (Argo CD's own period)."""
_RETRY_S = (0.1, 0.3, 1.0, 3.0)

log = logging.getLogger(__name__)


class Worker:
    """Follows one Application.

    Args:
        key: Key of the Application.
        cluster: View of the API.
        repository: The desired state.
        wave_delay_s: Pause between waves.
        reconcile_s: Longest time between two looks at git.
    """

    def __init__(
        self, key: m.ObjectKey, cluster: Cluster, repository: Repository, *, wave_delay_s: float, reconcile_s: float
    ) -> None:
        self.key = key
        self._cluster = cluster
        self._reconcile_s = reconcile_s
        self.observer = Observer(cluster, repository)
        self._writer = Writer(cluster, key)
        self._operator = Operator(cluster, self.observer, self._writer, wave_delay_s=wave_delay_s)
        self._woken = asyncio.Event()
        self._level = LATEST
        self._hard = False
        self._due: float | None = None
        self._compared: tuple[Any, ...] | None = None
        self._looked_at = 0.0
        self._failing_since: float | None = None
        self._idle = False

    def wake(self, level: int = 0) -> None:
        """Ask for a turn, with a comparison of at least this level (0: only what is due)."""
        self._level = max(self._level, level)
        self._woken.set()

    def concerns(self, key: m.ObjectKey, old: Obj | None, new: Obj | None) -> bool:
        """Tell whether a change of an object is about this Application."""
        app = self.key.name
        if key in self.observer.keys:
            return True
        return bool((new and m.tracked_by(new) == app) or (old and m.tracked_by(old) == app))

    async def run(self) -> None:
        """Take turns until cancelled; a turn that fails is repeated after a pause."""
        failures = 0
        while True:
            await self._sleep()
            try:
                await self._turn()
                failures = 0
            except PlatformError as error:
                pause_s = _RETRY_S[min(failures, len(_RETRY_S) - 1)]
                failures += 1
                log.warning("%s: %s; next try in %.1f s", self.key.name, error, pause_s)
                self._schedule(pause_s)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                log.exception("%s: malformed Application", self.key.name)
                await self._report_malformed(error)
                self._schedule(_RETRY_S[-1])

    async def _sleep(self) -> None:
        """Wait until woken or until something is due."""
        now = asyncio.get_running_loop().time()
        poll = self._looked_at + self._reconcile_s
        when = min(poll, self._due) if self._due is not None else poll
        if not self._woken.is_set() and when > now:
            with contextlib.suppress(TimeoutError):  # then something is due
                async with asyncio.timeout_at(when):
                    await self._woken.wait()
        if asyncio.get_running_loop().time() >= poll:
            self._idle = not self._level and not self._woken.is_set()
            self._level = max(self._level, LATEST)
            self._looked_at = asyncio.get_running_loop().time()
        if self._level == RECENT:
            await asyncio.sleep(BATCH_S)  # live changes come in bursts: one comparison for all of them
        self._woken.clear()
        self._due = None

    def _schedule(self, in_s: float) -> None:
        """Ask for a turn later; the earliest wish wins."""
        when = asyncio.get_running_loop().time() + max(0.0, in_s)
        self._due = when if self._due is None else min(self._due, when)

    def _app(self) -> Obj | None:
        """Return the newest form of the Application."""
        return self._cluster.get(self.key)

    async def _turn(self) -> None:
        """Do what is due."""
        app = self._app()
        if app is None or m.annotations(app).get(SKIP_ANNOTATION) == "true":
            return
        if app.get("operation"):
            outcome = await self._operator.advance(app)
            if outcome.again_in_s is not None:
                self._schedule(outcome.again_in_s)
            if outcome.completed:
                self._level = max(self._level, outcome.refresh)
        app = self._app()
        if app is None:
            return
        if m.deleting(app):
            if not op.busy(app):
                await self._remove(app)
            return
        level = self._level_for(app)
        if level:
            await self._refresh(app, level)

    def _level_for(self, app: Obj) -> int:
        """Return how far a comparison has to go now; 0 for none."""
        level = self._level
        wanted = m.annotations(app).get(REFRESH_ANNOTATION)
        if wanted:
            level = FORCED
        before, now = self._compared, self._inputs(app)
        if before is None or before[1:] != now[1:]:
            level = max(level, LATEST)
        if before is not None and before[0] != now[0]:
            level = FORCED
        return level

    def _inputs(self, app: Obj) -> tuple[Any, ...]:
        """Return what of the specification a comparison depends on; a changed source comes first."""
        spec = m.spec(app)
        policy = spec.get("syncPolicy") or {}
        return (
            projects.source_of(app),
            projects.destination_of(app),
            spec.get("ignoreDifferences"),
            policy.get("managedNamespaceMetadata"),
            automation_of(app),
            projects.project_name(app),
        )

    async def _refresh(self, app: Obj, level: int) -> None:
        """Compare, write the status, and let automation decide."""
        loop, started = asyncio.get_running_loop(), datetime.now(UTC)
        self._level, inputs = 0, self._inputs(app)
        recent = str((m.status(app).get("sync") or {}).get("revision") or "") if level == RECENT else ""
        comparison = await self.observer.compare(app, recent)
        if level >= LATEST or not recent:
            self._looked_at = loop.time()
        if self._excused(comparison, level):
            return
        self._compared = inputs
        decision = decide(app, comparison.revision, comparison.sync_status, comparison.resources(), datetime.now(UTC))
        conditions = [*comparison.conditions, *([("SyncError", decision.error)] if decision.error else [])]
        reconciled = started if level >= LATEST and not comparison.invalid else None
        app = await self._write_status(app, comparison, conditions, reconciled)
        if decision.retry_in_s is not None:
            self._schedule(decision.retry_in_s)
            self._level = max(self._level, RECENT)
        if decision.operation is None or app.get("operation"):
            return
        if self._operator.blocked(app, manual=False):
            self._schedule(WINDOW_CHECK_S)
            self._level = max(self._level, RECENT)
            return
        await self._start(app, decision.operation)

    def _excused(self, comparison: Comparison, level: int) -> bool:
        """Tell whether a failure to read the desired state is kept quiet for now."""
        now = asyncio.get_running_loop().time()
        if not comparison.failed or comparison.invalid:
            self._failing_since = None
            return False
        self._failing_since = self._failing_since if self._failing_since is not None else now
        known = bool((m.status(self._app() or {}).get("sync") or {}).get("revision"))
        return known and level < FORCED and now - self._failing_since < REPO_ERROR_GRACE_S

    async def _write_status(
        self, app: Obj, comparison: Comparison, conditions: list[tuple[str, str]], reconciled: datetime | None
    ) -> Obj:
        """Write what the comparison found; the refresh annotation goes with the same patch."""
        app = self._app() or app
        old = m.status(app)
        new = after_comparison(app, comparison, conditions, datetime.now(UTC), reconciled)
        patch: Obj = {}
        changes = merge_patch(old, new)
        quiet, self._idle = self._idle and set(changes) <= {"reconciledAt"}, False
        if quiet and _age_s(old.get("reconciledAt")) < QUIET_S:
            return app
        if changes:
            patch["status"] = changes
        if m.annotations(app).get(REFRESH_ANNOTATION):
            patch["metadata"] = {"annotations": {REFRESH_ANNOTATION: None}}
        if not patch:
            return app
        written = await self._writer.patch(app, patch)
        for what, field in (("sync", "sync"), ("health", "health")):
            before, after = (old.get(field) or {}).get("status", ""), (new.get(field) or {}).get("status", "")
            if before != after:
                self._writer.event(app, "Normal", "ResourceUpdated", f"Updated {what} status: {before} -> {after}")
        return written

    async def _start(self, app: Obj, operation: Obj) -> None:
        """Write an automated operation, unless somebody else asked for one meanwhile."""
        try:
            await self._writer.patch(app, {"operation": operation, "status": {"operationState": None}}, guard=True)
        except Conflict as error:
            log.info("%s: automated sync not started: %s", self.key.name, error)
            self.wake(LATEST)
            return
        revision = operation["sync"]["revision"]
        self._writer.event(app, "Normal", "OperationStarted", f"Initiated automated sync to '{revision}'")
        self.wake()

    async def _remove(self, app: Obj) -> None:
        """Take the next step of deleting the Application."""
        project = self.observer.project(app)
        if cascades(app):
            await self.observer.follow_recorded(app)
            managed = self._cluster.tracked(m.name(app))
            removal = next_removal(
                app, managed, lambda o: project is None or not self.observer.refusal(app, project, o)
            )
            try:
                await asyncio.gather(*(self._cluster.delete(obj, propagation(app)) for obj in removal.delete))
            except ApiError as error:
                await self._report(app, "DeletionError", error.message)
                raise
            if not removal.done:
                if removal.delete:
                    self.wake()
                return
        await self._writer.patch(app, {"metadata": {"finalizers": remaining_finalizers(app) or None}})

    async def _report(self, app: Obj, type_: str, message: str) -> None:
        """Set one condition."""
        old = m.status(app).get("conditions") or []
        conditions = merge_conditions(old, [(type_, message)], [type_], datetime.now(UTC))
        if conditions != old:
            await self._writer.patch(app, {"status": {"conditions": conditions}})

    async def _report_malformed(self, error: Exception) -> None:
        """Say on the Application that it cannot be understood."""
        app = self._app()
        if app is None:
            return
        try:
            await self._report(app, "UnknownError", f"the Application cannot be processed: {error!r}")
        except PlatformError as refused:
            log.warning("%s: condition not written: %s", self.key.name, refused)


def _age_s(text: Any) -> float:
    """Return how long ago a recorded time is; infinite where there is none."""
    moment = op.parse_time(text)
    return (datetime.now(UTC) - moment).total_seconds() if moment else float("inf")
