"""What does a sync do next? Pure steps over tasks, recorded results and live objects.

All state is in the result rows and in the live objects, so a step can be repeated and a restarted controller
continues where it was. Doing what a step asks for belongs to ``executor``.

Source: Argo CD v3.5.1, gitops-engine sync context.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from platform_lib.embedded.argocd.tasks import Task, TaskId
from platform_lib.model import Obj
from platform_lib.rules import health as h
from platform_lib.rules import manifests as m

RUNNING, SUCCEEDED, FAILED, ERROR = "Running", "Succeeded", "Failed", "Error"
DONE = (SUCCEEDED, FAILED, ERROR)


@dataclass(frozen=True, slots=True)
class Row:
    """What happened to one object in one phase: a row of ``syncResult.resources``."""

    key: m.ObjectKey
    version: str
    sync_phase: str
    status: str = ""
    message: str = ""
    hook_phase: str = ""
    hook_type: str = ""
    images: tuple[str, ...] = ()

    @property
    def id(self) -> TaskId:
        """The task the row belongs to."""
        return self.sync_phase, self.key

    def to_json(self) -> Obj:
        """Write the row as the resource carries it."""
        fields: Obj = {**self.key._asdict(), "version": self.version}
        optional = {
            "status": self.status,
            "message": self.message,
            "hookType": self.hook_type,
            "hookPhase": self.hook_phase,
            "syncPhase": self.sync_phase,
            "images": list(self.images),
        }
        return fields | {name: value for name, value in optional.items() if value}

    @classmethod
    def from_json(cls, row: Obj) -> Row:
        """Read a row of the resource."""
        key = m.ObjectKey(*(str(row.get(part) or "") for part in m.ObjectKey._fields))
        return cls(
            key,
            str(row.get("version") or ""),
            str(row.get("syncPhase") or "Sync"),
            str(row.get("status") or ""),
            str(row.get("message") or ""),
            str(row.get("hookPhase") or ""),
            str(row.get("hookType") or ""),
            tuple(row.get("images") or ()),
        )


Rows = dict[TaskId, Row]


def row_for(task: Task, status: str, message: str, hook_phase: str) -> Row:
    """Build the row that records what was done for a task."""
    version = m.gvk(task.obj)[1]
    hook_type = task.phase if task.hook else ""
    images = tuple(m.images(task.obj))
    return Row(task.key, version, task.phase, status, message, hook_phase, hook_type, images)


@dataclass(frozen=True, slots=True)
class Step:
    """The next step of a sync.

    Attributes:
        phase: Running, Succeeded or Failed.
        message: Text for ``operationState.message``.
        rows: Results so far.
        run: Tasks to run now; their results go to ``conclude``.
        final: No other phase or wave follows ``run``.
        failing: ``run`` holds SyncFail tasks of a sync that has failed with ``message``.
        delete: Hook objects to delete now.
        release: Completed hooks that lose their finalizer.
    """

    phase: str
    message: str
    rows: Rows
    run: tuple[Task, ...] = ()
    final: bool = False
    failing: bool = False
    delete: tuple[Obj, ...] = ()
    release: tuple[Obj, ...] = ()


def plan(tasks: Sequence[Task], rows: Rows) -> Step:
    """Decide the next step from what was recorded and what is live.

    Args:
        tasks: Every task of the sync, ordered, with current live objects.
        rows: Results so far.

    Returns:
        A step that waits, that ends the sync, or whose ``run`` is to be executed and concluded.
    """
    rows = observe(tasks, rows)
    release = _completed_hooks(tasks, rows)
    several_steps = len({task.step for task in tasks}) > 1
    running = [task for task in tasks if (several_steps or task.hook) and _is(task, rows, RUNNING)]
    if running:
        return Step(RUNNING, waiting_message(running), rows, release=release)
    leaving = [t for t in tasks if t.prune and _status(t, rows) == "Pruned" and t.live and m.deleting(t.live)]
    if leaving:
        return Step(RUNNING, waiting_message(leaving, leaving=True), rows, release=release)
    if any(_done(task, rows) and not _is(task, rows, SUCCEEDED) for task in tasks):
        failure = "one or more synchronization tasks completed unsuccessfully"
        return replace(_fail(tasks, rows, failure), release=release)
    pending = [task for task in tasks if task.id not in rows and task.phase != "SyncFail"]
    if not pending:
        hooks = _hooks(tasks, "HookSucceeded")
        return Step(SUCCEEDED, "successfully synced (no more tasks)", rows, delete=hooks, release=release)
    now = [task for task in pending if task.step == pending[0].step]
    return Step(
        RUNNING, "one or more tasks are running", rows, tuple(now), final=len(now) == len(pending), release=release
    )


def conclude(tasks: Sequence[Task], step: Step, results: Iterable[Row]) -> Step:
    """Decide what the results of a step's tasks mean.

    Args:
        tasks: Every task of the sync.
        step: What ``plan`` returned, with ``run`` executed.
        results: One row for each task that was run.

    Returns:
        A step without ``run``, or the SyncFail tasks to run next.
    """
    rows = dict(step.rows)
    for row in results:
        rows[row.id] = row
    failed = any(rows[task.id].status == "SyncFailed" for task in step.run if task.id in rows)
    if step.failing:
        return replace(step, phase=FAILED if failed else RUNNING, rows=rows, run=())
    if failed:
        hooks = [task for task in tasks if task.hook and _is(task, rows, RUNNING)]
        if hooks:
            return Step(RUNNING, waiting_message(hooks), rows)
        return _fail(tasks, rows, "one or more objects failed to apply")
    ran = {task.id for task in step.run}
    remaining = [
        task
        for task in tasks
        if task.phase != "SyncFail" and (task.hook or (task.id not in ran and task.id not in rows))
    ]
    remaining = [task for task in remaining if not _is(task, rows, SUCCEEDED)]
    if not remaining:
        hooks_to_delete = _hooks(tasks, "HookSucceeded")
        return Step(SUCCEEDED, "successfully synced (all tasks run)", rows, delete=hooks_to_delete)
    return Step(RUNNING, waiting_message(remaining), rows)


def terminate(tasks: Sequence[Task], rows: Rows) -> Step:
    """End a sync on request: running hooks go, everything else stays as it is."""
    rows = dict(rows)
    gone = []
    for task in tasks:
        if task.hook and _is(task, rows, RUNNING):
            rows[task.id] = replace(rows[task.id], hook_phase=FAILED, message="Terminated")
            if task.live is not None:
                gone.append(task.live)
    return Step(FAILED, "Operation terminated", rows, delete=tuple(gone))


def observe(tasks: Sequence[Task], rows: Rows) -> Rows:
    """Update the rows of running tasks from the health of their live objects."""
    rows = dict(rows)
    for task in tasks:
        if not _is(task, rows, RUNNING):
            continue
        row = rows[task.id]
        if task.live is None:
            if not task.prune:
                text = f"Resource {task.key} is missing, it might have been deleted"
                rows[task.id] = replace(row, status="SyncFailed", hook_phase=ERROR, message=text)
            continue
        health = h.health_of(task.live)
        phase = _hook_phase(health) if task.hook else _object_phase(health)
        if phase != RUNNING:
            message = health.message if health is not None else row.message
            rows[task.id] = replace(row, hook_phase=phase, message=message or row.message)
    return rows


def _hook_phase(health: h.Health | None) -> str:
    """Judge a hook by its health."""
    if health is None or health.status == "Healthy":
        return SUCCEEDED
    return FAILED if health.status in ("Degraded", "Unknown") else RUNNING


def _object_phase(health: h.Health | None) -> str:
    """Judge an ordinary object by its health."""
    if health is None or health.status == "Healthy":
        return SUCCEEDED
    return FAILED if health.status == "Degraded" else RUNNING


def waiting_message(tasks: Sequence[Task], *, leaving: bool = False) -> str:
    """Say what a sync waits for; hooks come first.

    Args:
        tasks: At least one task.
        leaving: The wait is for deletion.
    """
    ordered = [task for task in tasks if task.hook] or list(tasks)
    first, more = ordered[0], len(ordered) - 1
    what = "deletion of" if leaving else "completion of hook" if first.hook else "healthy state of"
    rest = f" and {more} more {'hooks' if first.hook else 'resources'}" if more else ""
    return f"waiting for {what} {first.key}{rest}"


def _fail(tasks: Sequence[Task], rows: Rows, failure: str) -> Step:
    """Fail a sync: run its SyncFail tasks first, if there are any."""
    messages = [row.message for row in rows.values() if row.status == "SyncFailed" and row.sync_phase != "SyncFail"]
    text = f"{failure}, reason: {','.join(messages)}" if messages else failure
    delete = _hooks([task for task in tasks if _done(task, rows)], "HookFailed")
    reactions = [task for task in tasks if task.phase == "SyncFail"]
    waiting = [task for task in reactions if task.id not in rows]
    if waiting:
        return Step(RUNNING, text, rows, tuple(waiting), failing=True, delete=delete)
    if any(_is(task, rows, RUNNING) for task in reactions):
        return Step(RUNNING, waiting_message([t for t in reactions if _is(t, rows, RUNNING)]), rows)
    bad = [rows[task.id].message for task in reactions if not _is(task, rows, SUCCEEDED)]
    if bad:
        text += "\none or more SyncFail hooks failed, reason: " + ",".join(bad)
    return Step(FAILED, text, rows, delete=delete)


def _hooks(tasks: Iterable[Task], policy: str) -> tuple[Obj, ...]:
    """Return the live hooks that a delete policy removes."""
    return tuple(task.live for task in tasks if task.hook and task.live and policy in task.policies())


def _completed_hooks(tasks: Iterable[Task], rows: Rows) -> tuple[Obj, ...]:
    """Return live hooks that completed and still carry the finalizer that kept them visible."""
    done = (task.live for task in tasks if task.hook and _done(task, rows))
    return tuple(live for live in done if live is not None and h.HOOK_FINALIZER in m.finalizers(live))


def _is(task: Task, rows: Rows, phase: str) -> bool:
    """Tell whether a task was recorded in a phase."""
    return task.id in rows and rows[task.id].hook_phase == phase


def _done(task: Task, rows: Rows) -> bool:
    """Tell whether a task was recorded as completed."""
    return task.id in rows and rows[task.id].hook_phase in DONE


def _status(task: Task, rows: Rows) -> str:
    """Return the recorded status of a task."""
    return rows[task.id].status if task.id in rows else ""


def rows_of(result: dict[str, Any]) -> Rows:
    """Read the rows of a ``syncResult``."""
    return {row.id: row for row in map(Row.from_json, result.get("resources") or [])}
