"""Why does an Application stand still, and which object is at fault? With its conditions, events, pods and logs.

The controller's message names one object; the rows of the running sync and the live objects name the others. What a
status alone tells is decided in ``rules.standstill``. Ending an operation belongs to ``ending``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from platform_lib.errors import ApiError, NotFound
from platform_lib.inspection.lookup import Kinds, named, rows_of
from platform_lib.inspection.objecttree import World
from platform_lib.model import App, Obj, Platform, _Table
from platform_lib.redact import of_process
from platform_lib.rules import application as rules
from platform_lib.rules import health as health_rules
from platform_lib.rules import manifests, standstill, syncwindows, workload
from platform_lib.rules.manifests import ObjectKey
from platform_lib.wait import now
from platform_lib.wire import argocd
from platform_lib.wire.kube import Kube, connect

APP_PROJECTS = "argoproj.io/v1alpha1/appprojects"
LOG_LINES = 10
_MOST_OBJECTS = 5
_WITH_PODS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod")
_MOST_PODS = 3
_MOST_EVENTS = 4
_LINE = 200
"""Longer log lines are cut: a binary or a stack trace on one line would hide the rest."""


@dataclass(frozen=True, slots=True)
class Blocker(_Table):
    """One object that keeps a sync or the health of an Application from its end.

    Attributes:
        object: ``batch/Job/migrate``.
        role: ``PreSync hook``, ``wave 2``, or ``not healthy``.
        state: Health and its message, or that the object is absent.
        since: When it began: its creation, or the operation's start for an object that is absent.
        conditions: ``Type=Status Reason: message`` of those that say something.
        events: The last events about it and its pods, the newest first.
        pods: Name and state of its pods.
        logs: The last lines of those pods that failed or still run.
    """

    object: str
    namespace: str
    role: str
    state: str
    since: datetime | None
    conditions: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, str]]:
        """Return the object, its state, conditions, events, pods and log lines."""
        since = f", since {self.since:%Y-%m-%d %H:%M:%S}Z" if self.since else ""
        place = f" in {self.namespace}" if self.namespace else ""
        rows = [("blocked by", f"{self.object}{place} ({self.role}): {self.state}{since}")]
        rows += [("  condition", text) for text in self.conditions]
        rows += [("  pod", text) for text in self.pods]
        rows += [("  event", text) for text in self.events]
        return rows + [("  log", text) for text in self.logs]


@dataclass(frozen=True, slots=True)
class Explanation(_Table):
    """Why an Application is where it is.

    Attributes:
        standing: One line of sync, health and operation.
        findings: What holds it, and the way out of each.
        blockers: The objects at fault.
    """

    app: str
    standing: str
    findings: tuple[standstill.Finding, ...]
    blockers: tuple[Blocker, ...]

    @property
    def stuck(self) -> bool:
        """Whether anything holds the Application."""
        return bool(self.blockers or self.findings)

    def rows(self) -> list[tuple[str, str]]:
        """Return where it stands, each finding with its way out, then the objects at fault."""
        rows = [(self.app, self.standing)]
        for one in self.findings:
            rows += [(one.what, one.detail), ("  way out", one.way_out)]
        for blocker in self.blockers:
            rows += blocker.rows()
        return rows if self.stuck else [*rows, ("", "nothing holds it")]

    def headline(self) -> str:
        """Return the most pressing reason in one line; empty when nothing holds it."""
        if self.blockers:
            first = self.blockers[0]
            pod = f"; pod {first.pods[0]}" if first.pods else ""
            return f"{first.object} ({first.role}): {first.state}{pod}"
        return f"{self.findings[0].what}: {self.findings[0].detail}" if self.findings else ""


def explain(platform: Platform, app: App, *, log_lines: int = LOG_LINES) -> Explanation:
    """Say what an Application waits for and what can be done.

    Args:
        platform: Where.
        app: What.
        log_lines: Lines of each pod at fault; 0 reads no logs.

    Raises:
        NotFound: There is no such Application.
    """
    kube, at = connect(platform), now()
    application = argocd.read(platform, app, kube)
    parents = [one for one in argocd.parents(platform, app) if not rules.automated(argocd.read(platform, one, kube))]
    window = _window(platform, application, kube, at)
    findings = standstill.findings(application, at, paused_parents=parents, window=window)
    found = tuple(_blockers(application, World(kube, Kinds(kube)), log_lines))
    said = tuple(one._replace(detail=of_process().scrub(one.detail)) for one in findings)
    return Explanation(app.name, of_process().scrub(rules.describe(application)), said, found)


def _window(platform: Platform, application: Obj, kube: Kube, at: datetime) -> str:
    """Say which window of the project keeps automation from syncing, and until when; empty when none does."""
    project = str(manifests.spec(application).get("project") or "default")
    try:
        found = kube.find(APP_PROJECTS, project, platform.argocd_namespace)
    except ApiError as error:
        return f"AppProject/{project} cannot be read: {error.reason or error.status}" if error.status == 403 else ""
    if found is None:
        return ""
    windows, about = manifests.spec(found).get("syncWindows") or [], syncwindows.about(application)
    manual = not rules.automated(application)
    closed = syncwindows.blocking(windows, about, at, manual=manual)
    if not closed:
        return ""
    opens = syncwindows.opens_at(windows, about, at, manual=manual)
    until = f"opens at {opens:%Y-%m-%d %H:%M}Z" if opens else "does not open within a year"
    return f"{'; '.join(syncwindows.describe(one) for one in closed)}; {until}"


def _blockers(application: Obj, world: World, log_lines: int) -> Iterator[Blocker]:
    """Return what the running sync waits for, else what keeps the Application from being healthy."""
    found = list(_waited_for(application, world) if rules.busy(application) else _unwell(application, world))
    for key, role, live in found[:_MOST_OBJECTS]:
        yield _blocker(application, key, role, live, world, log_lines)


def _waited_for(application: Obj, world: World) -> Iterator[tuple[ObjectKey, str, Obj | None]]:
    """Return the objects that a running sync waits for: unfinished rows whose object is not well, hooks first."""
    state = rules.operation_state(application)
    told_of = standstill.waiting_for(str(state.get("message") or ""))
    told: set[ObjectKey] = set()
    for api_version, key, row in ((v, k, r) for k, v, r in standstill.unfinished(application)):
        live = world.kinds.live(api_version, key)
        judged = health_rules.health_of(live) if live else None
        same = told_of is not None and key._replace(namespace="") == told_of.key
        waiting = live is None or manifests.deleting(live) or (judged is not None and judged.status != "Healthy")
        if not same and not waiting:
            continue
        told.add(key._replace(namespace=""))
        wave = f", wave {manifests.sync_wave(live)}" if live and manifests.sync_wave(live) else ""
        role = f"{row['hookType']} hook{wave}" if row.get("hookType") else f"{row.get('syncPhase') or 'Sync'}{wave}"
        yield key, role, live
    if told_of is not None and told_of.key not in told:
        for api_version, key, _ in rows_of(application):
            if key._replace(namespace="") == told_of.key:
                yield key, told_of.what, world.kinds.live(api_version, key)
                return
        yield told_of.key, told_of.what, None


def _unwell(application: Obj, world: World) -> Iterator[tuple[ObjectKey, str, Obj | None]]:
    """Return the managed objects that are not healthy, or whose pods fail while they count as healthy; worst first."""
    found = []
    for api_version, key, row in rows_of(application):
        live = world.kinds.live(api_version, key)
        judged = health_rules.health_of(live) if live else None
        status = judged.status if judged else "Healthy" if live or row.get("hook") else "Missing"
        role = "not healthy"
        if status == "Healthy" and live is not None and key.kind in _WITH_PODS:
            world.look([key.namespace])
            role = "its pods fail" if any(workload.failure_reason(pod) for pod in _pods(live, world)) else ""
            status = "Degraded" if role else status
        if status != "Healthy":
            found.append((health_rules.SEVERITY.index(status), key, role, live))
    for _, key, role, live in sorted(found, key=lambda one: -one[0]):
        yield key, role, live


def _blocker(application: Obj, key: ObjectKey, role: str, live: Obj | None, world: World, log_lines: int) -> Blocker:
    """Look at one object and at the pods below it."""
    if live is None:
        started = workload.parse_time(rules.operation_state(application).get("startedAt"))
        return Blocker(named(key), key.namespace, role, "absent: deleted meanwhile, or never created", started)
    world.look([key.namespace])
    pods = list(_pods(live, world))
    judged = health_rules.health_of(live)
    state = f"{judged.status} {judged.message}".strip() if judged else "present"
    state += _counts(live)
    if manifests.deleting(live):
        state = f"being deleted since {manifests.metadata(live)['deletionTimestamp']}, kept by {_kept(live)}"
    events = [line for one in (live, *pods) for line in world.told(one, limit=_MOST_EVENTS, warnings=False)]
    return Blocker(
        named(key),
        key.namespace,
        role,
        of_process().scrub(state),
        workload.parse_time(manifests.metadata(live).get("creationTimestamp")),
        tuple(_condition(item) for item in manifests.conditions(live).values()),
        tuple(sorted(dict.fromkeys(events), reverse=True)[:_MOST_EVENTS]),
        tuple(f"{manifests.name(pod)}: {workload.pod_state(pod).line()}" for pod in pods[:_MOST_PODS]),
        tuple(line for pod in pods[:_MOST_PODS] for line in last_lines(world.kube, pod, log_lines)),
    )


def _counts(obj: Obj) -> str:
    """Say how far a Job is; its health has no message while it runs."""
    if manifests.kind(obj) != "Job":
        return ""
    status, spec = manifests.status(obj), manifests.spec(obj)
    tries = int(spec.get("backoffLimit", 6)) + 1
    limit = f", deadline {spec['activeDeadlineSeconds']} s" if spec.get("activeDeadlineSeconds") else ", no deadline"
    failed, active = int(status.get("failed") or 0), int(status.get("active") or 0)
    return f" ({active} active, {failed} of {tries} tries failed{limit})"


def _kept(obj: Obj) -> str:
    """Name what keeps an object from going."""
    return ", ".join(manifests.finalizers(obj)) or "its grace period"


def _pods(obj: Obj, world: World) -> Iterator[Obj]:
    """Yield the pods below an object, those in trouble first."""
    if manifests.kind(obj) == "Pod":
        yield obj
        return
    found: list[Obj] = []
    queue = [obj]
    while queue:
        for child in world.below(queue.pop()):
            found += [child] if manifests.kind(child) == "Pod" else []
            queue += [child] if manifests.kind(child) != "Pod" else []
    yield from sorted(found, key=lambda pod: (not workload.failure_reason(pod), manifests.condition_true(pod, "Ready")))


def _condition(item: dict[str, str]) -> str:
    """Write a condition in one line."""
    text = f"{item.get('type')}={item.get('status')} {item.get('reason') or ''}: {item.get('message') or ''}"
    return of_process().scrub(text.strip(" :"))


def last_lines(kube: Kube, pod: Obj, limit: int) -> list[str]:
    """Return the last log lines of a pod's first container; of the run before, when it waits for a restart."""
    if limit <= 0 or not manifests.containers(pod):
        return []
    name, container = manifests.name(pod), str(manifests.containers(pod)[0]["name"])
    statuses = [one for one in workload.container_statuses(pod) if one.get("name") == container]
    previous = any((one.get("state") or {}).get("waiting") and one.get("restartCount") for one in statuses)
    try:
        text = kube.logs(name, manifests.namespace(pod), container=container, previous=previous, tail_lines=limit)
    except (NotFound, ApiError) as error:
        return [f"{name}: no log: {error.message}"]
    return [f"{name}: {of_process().scrub(line)[:_LINE]}" for line in text.splitlines()[-limit:]]
