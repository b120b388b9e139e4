"""What has to be done in one sync, and in which order? Pure: tasks from targets, live objects and waves.

Source: Argo CD v3.5.1, gitops-engine sync tasks. What happens next belongs to ``engine``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from platform_lib.model import Obj
from platform_lib.rules import manifests as m

PHASES = ("PreSync", "Sync", "PostSync", "SyncFail")
_PHASE_INDEX = {phase: index for index, phase in enumerate(PHASES)}
HOOK_POLICIES = ("HookSucceeded", "HookFailed", "BeforeHookCreation")

TaskId = tuple[str, m.ObjectKey]


@dataclass(frozen=True, slots=True)
class Task:
    """One object in one phase: to apply, or to prune when there is no target."""

    phase: str
    wave: int
    target: Obj | None
    live: Obj | None
    hook: bool = False
    untracked: bool = False
    """The Namespace made for ``CreateNamespace=true``: created if missing, otherwise left alone."""

    @property
    def obj(self) -> Obj:
        """The target, or the live object that is to go."""
        return self.target if self.target is not None else self.live or {}

    @property
    def key(self) -> m.ObjectKey:
        """Key of the object."""
        return m.key(self.obj)

    @property
    def id(self) -> TaskId:
        """What tells this task from the others of the sync."""
        return self.phase, self.key

    @property
    def prune(self) -> bool:
        """Whether the object is to be removed."""
        return self.target is None

    @property
    def step(self) -> tuple[int, int]:
        """(phase, wave) as numbers that sort."""
        return _PHASE_INDEX[self.phase], self.wave

    @property
    def order(self) -> tuple[int, int, int, str, m.ObjectKey]:
        """Sort key: phase, wave, kind, name; the rest of the key only settles a tie."""
        return (*self.step, m.kind_rank(self.key.kind), self.key.name, self.key)

    def policies(self) -> list[str]:
        """Return the delete policies of a hook."""
        found = [p for p in m.csv_annotation(self.obj, m.HOOK_DELETE_ANNOTATION) if p in HOOK_POLICIES]
        return found or ["BeforeHookCreation"]


def hook_tasks(
    hooks: Iterable[Obj], live_of: Callable[[m.ObjectKey], Obj | None], *, revision: str, started_at_unix: int
) -> list[Task]:
    """Make one task for each phase a hook names.

    Args:
        hooks: Hook manifests.
        live_of: Finds the live object of a key.
        revision: Commit that is synced; part of generated names.
        started_at_unix: Start of the operation; a retry keeps it, so it finds its own hooks again.
    """
    found = []
    for hook in hooks:
        for phase in m.hooks(hook):
            if phase in _PHASE_INDEX:
                target = _named(hook, f"{revision[:7]}-{phase}-{started_at_unix}".lower())
                found.append(Task(phase, m.sync_wave(hook), target, live_of(m.key(target)), hook=True))
    return found


def _named(hook: Obj, suffix: str) -> Obj:
    """Give a hook that only has ``generateName`` a name that is unique to phase and operation."""
    if m.name(hook):
        return hook
    meta = dict(m.metadata(hook))
    meta["name"] = str(meta.pop("generateName", "")) + suffix
    tracking = m.annotations(hook).get(m.TRACKING_ANNOTATION)
    if tracking:  # written before the name was known, so it ends with an empty one
        meta["annotations"] = {**m.annotations(hook), m.TRACKING_ANNOTATION: tracking + meta["name"]}
    return {**hook, "metadata": meta}


def order_tasks(tasks: Iterable[Task], *, prune_last: bool = False) -> list[Task]:
    """Sort tasks the way they run.

    Namespaces and definitions move before the first task that needs them; prunes run in the reverse of the
    order of creation, or last when asked.

    Args:
        tasks: Tasks of one sync.
        prune_last: ``PruneLast=true`` for the whole application.
    """
    everything = list(tasks)
    applied = _before_their_users(sorted((t for t in everything if not t.prune), key=lambda t: t.order))
    pruned = _prune_waves([task for task in everything if task.prune])
    highest = max((task.wave for task in (*applied, *pruned) if task.phase == "Sync"), default=0)
    last = max(0, highest) + 1
    pruned = [
        replace(task, wave=last) if prune_last or m.has_option(task.obj, "PruneLast=true") else task for task in pruned
    ]
    return sorted((*applied, *pruned), key=lambda task: task.order)


def _prune_waves(tasks: list[Task]) -> list[Task]:
    """Mirror the waves of objects that go: what came last goes first."""
    waves = sorted({task.wave for task in tasks})
    mirrored = dict(zip(waves, reversed(waves), strict=True))
    return [replace(task, wave=mirrored[task.wave]) for task in tasks]


def _before_their_users(tasks: list[Task]) -> list[Task]:
    """Let a Namespace or definition adopt phase and wave of the first task that needs it."""
    found = []
    for task in tasks:
        first = next((other for other in tasks if other.step < task.step and _needs(other, task)), None)
        found.append(replace(task, phase=first.phase, wave=first.wave) if first else task)
    return found


def _needs(user: Task, needed: Task) -> bool:
    """Tell whether one task cannot run before another was applied."""
    if needed.key.kind == "Namespace" and needed.key.group == "":
        return user.key.namespace == needed.key.name
    return defines(needed.obj) == (user.key.group, user.key.kind)


def defines(obj: Obj) -> tuple[str, str] | None:
    """Return the (group, kind) that a CustomResourceDefinition introduces, else None."""
    if m.kind(obj) != "CustomResourceDefinition":
        return None
    spec = m.spec(obj)
    return str(spec.get("group") or ""), str((spec.get("names") or {}).get("kind") or "")
