"""How is a requested operation carried through? From the request to its recorded end, step by step.

Each call advances as far as possible and writes ``status.operationState``; a restarted controller goes on from
there. What a sync does is in ``sync``; when operations start is in ``automation``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from platform_lib.embedded.argocd import engine as e
from platform_lib.embedded.argocd import operation as op
from platform_lib.embedded.argocd import project as projects
from platform_lib.embedded.argocd.cluster import Cluster
from platform_lib.embedded.argocd.observer import Observer, namespace_metadata
from platform_lib.embedded.argocd.sync import Progress, Sync
from platform_lib.embedded.argocd.windows import about, sync_allowed
from platform_lib.embedded.argocd.writer import Writer
from platform_lib.errors import ApiError, GitError, ManifestError
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

WINDOW_CHECK_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to.

    Attributes:
        completed: The operation ended.
        refresh: Level of the comparison that is to follow.
        again_in_s: When to call again at the latest; None waits for an event.
    """

    completed: bool = False
    refresh: int = 0
    again_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of an operation.

    Attributes:
        sync: The sync at a concrete revision; None when it could not be prepared.
        error: Why not.
        revision, source: What is synced, as far as known.
    """

    sync: Sync | None
    error: str
    revision: str
    source: dict[str, Any]


class Operator:
    """Carries operations of one Application through.

    Args:
        cluster: View of the API.
        observer: Reads for the Application.
        writer: Writes the Application.
        wave_delay_s: Pause between waves.
    """

    def __init__(self, cluster: Cluster, observer: Observer, writer: Writer, *, wave_delay_s: float) -> None:
        self._cluster, self._observer, self._writer = cluster, observer, writer
        self._wave_delay_s = wave_delay_s
        self._wave_due = 0.0

    async def advance(self, app: Obj) -> Outcome:
        """Advance the operation of an Application.

        Raises:
            Unreachable: The API did not answer; nothing is lost, call again.
        """
        if not op.in_progress(app):
            self._wave_due = 0.0
            app = await self._writer.state(app, op.begin(app["operation"], datetime.now(UTC)))
        state = op.state_of(app)
        due = op.retry_at(state)
        if due is not None:
            left_s = (due - datetime.now(UTC)).total_seconds()
            if left_s > 0:
                return Outcome(again_in_s=left_s)
            app = await self._writer.state(app, op.attempt_again(state))
        return await self._attempt(app)

    async def _attempt(self, app: Obj) -> Outcome:
        """Take the steps of the current attempt until it waits or ends."""
        state = op.state_of(app)
        if self.blocked(app, manual=not op.is_automated(state)):
            blocked = "Sync operation blocked by sync window"
            if state.get("message") != blocked:
                await self._writer.state(app, {**state, "message": blocked})
            return Outcome(again_in_s=WINDOW_CHECK_S)
        left_s = self._wave_due - asyncio.get_running_loop().time()
        if left_s > 0 and state.get("phase") != op.TERMINATING:
            return Outcome(again_in_s=left_s)
        attempt = await self._prepare(app, state)
        rows = e.rows_of(state.get("syncResult") or {})
        while True:
            progress = await self._step(attempt, state, dict(rows))
            if progress.phase != e.RUNNING:
                return await self._end(app, state, attempt, progress)
            if progress.rows != rows or progress.message != state.get("message"):
                rows = progress.rows
                app = await self._writer.state(app, self._recorded(app, state, attempt, progress))
                state = op.state_of(app)
            if progress.pause and self._wave_delay_s > 0:
                self._wave_due = asyncio.get_running_loop().time() + self._wave_delay_s
                return Outcome(again_in_s=self._wave_delay_s)
            if not progress.again and not progress.pause:
                return Outcome()
            if state.get("phase") != op.TERMINATING:
                attempt = await self._prepare(app, state)

    def blocked(self, app: Obj, *, manual: bool) -> bool:
        """Tell whether a sync window of the project forbids to sync now.

        Args:
            app: The Application.
            manual: Whether a person asked for the sync.
        """
        windows = m.spec(self._observer.project(app) or {}).get("syncWindows") or []
        return bool(windows) and not sync_allowed(windows, about(app), datetime.now(UTC), manual=manual)

    async def _prepare(self, app: Obj, state: Obj) -> Attempt:
        """Check the request and pin its revision."""
        operation = state.get("operation") or {}
        request: Obj = operation["sync"] if isinstance(operation.get("sync"), dict) else {}
        pinned = str((state.get("syncResult") or {}).get("revision") or "")
        source = request.get("source") or (request.get("sources") or [None])[0] or projects.source_of(app)
        wanted = pinned or str(request.get("revision") or (request.get("revisions") or [""])[0])
        error = op.refused(operation) or self._refused(app, request)
        if error:
            return Attempt(None, error, wanted, source)
        try:
            revision = await self._observer.revision(source, wanted)
        except GitError as failure:
            return Attempt(None, _load_error(failure), wanted, source)
        sync = Sync(self._cluster, self._observer, app, state, revision=revision, source=source)
        return Attempt(sync, "", revision, source)

    def _refused(self, app: Obj, request: Obj) -> str:
        """Say why the operation cannot run: project, specification, or what is not served."""
        name = projects.project_name(app)
        if self._observer.project(app) is None:
            missing = f'error getting app project "{name}": appproject.argoproj.io "{name}" not found'
            return f"Failed to load application project: {missing}"
        if request.get("manifests"):
            return "syncing local manifests is not served by the embedded platform"
        return "; ".join(f"InvalidSpecError: {text}" for text in self._observer.spec_errors(app))

    async def _step(self, attempt: Attempt, state: Obj, rows: e.Rows) -> Progress:
        """Take one step, or end one that cannot be taken."""
        terminating = state.get("phase") == op.TERMINATING
        if attempt.sync is None:
            return (
                Progress(e.FAILED, "Operation terminated", rows)
                if terminating
                else Progress(e.ERROR, attempt.error, rows)
            )
        try:
            if terminating:
                return await attempt.sync.terminate(rows)
            return await attempt.sync.step(rows)
        except (GitError, ManifestError) as failure:
            if terminating:
                return Progress(e.ERROR, "Operation termination had errors", rows)
            return Progress(e.ERROR, _load_error(failure), rows)
        except ApiError as failure:
            if terminating:
                return Progress(e.ERROR, "Operation termination had errors", rows)
            return Progress(e.ERROR, failure.message, rows)

    def _recorded(self, app: Obj, state: Obj, attempt: Attempt, progress: Progress) -> Obj:
        """Return the state with the results of a step."""
        rows = [row.to_json() for row in progress.rows.values()]
        metadata = namespace_metadata(app) or None
        state = {**state, "message": progress.message}
        return op.sync_result(state, attempt.revision, attempt.source, rows, metadata)

    async def _end(self, app: Obj, state: Obj, attempt: Attempt, progress: Progress) -> Outcome:
        """Record the end of an attempt: history first, then the state together with the end of the request."""
        now = datetime.now(UTC)
        recorded = self._recorded(app, state, attempt, progress)
        ended = op.finish(recorded, progress.phase, progress.message, now)
        due = op.retry_at(ended)
        if due is not None:
            await self._writer.state(app, ended)
            return Outcome(again_in_s=(due - now).total_seconds())
        if op.is_recorded(ended):
            app = await self._writer.patch(app, {"status": {"history": op.with_history(app, ended, now)}})
        await self._writer.state(app, ended, extra={"operation": None})
        type_, message = op.completion_event(ended)
        self._writer.event(app, type_, "OperationCompleted", message)
        rehearsal = bool(((ended.get("operation") or {}).get("sync") or {}).get("dryRun"))
        level = 0 if rehearsal else 2 if op.is_automated(ended) else 3
        return Outcome(completed=True, refresh=level)


def _load_error(failure: GitError | ManifestError) -> str:
    """Word a failure to read the desired state the way the comparison does."""
    text = f"failed to generate manifest for source 1 of 1: {failure.message}"
    return f"ComparisonError: Failed to load target state: {text}"
