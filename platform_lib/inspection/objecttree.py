"""What is below an Application, and what is the worst of it? Resources, ReplicaSets, Pods and Jobs, with health.

Argo CD judges a Deployment by its counters, so a pod that crashes again and again hides behind ``Progressing``. Here
the pods are looked at, and the worst reason stands on top. An Application of Applications is followed downwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from platform_lib.errors import ApiError, NotFound
from platform_lib.inspection.lookup import IN_CLUSTER, Kinds, rows_of
from platform_lib.model import App, Obj, Platform, _Table
from platform_lib.redact import of_process
from platform_lib.rules import health as health_rules
from platform_lib.rules import manifests, workload
from platform_lib.wire import argocd
from platform_lib.wire.kube import APPLICATIONS, Kube, connect

CHILD_KINDS = (("apps/v1", "ReplicaSet"), ("batch/v1", "Job"), ("v1", "Pod"))
"""Kinds that controllers make below what git names."""
_EVENTS = 2
_BAD = ("Degraded", "Unknown", "Missing")


@dataclass(frozen=True, slots=True)
class Node(_Table):
    """One object of a tree.

    Attributes:
        object: ``Deployment/web``.
        health: Health by Argo CD's rules; empty for a kind without one.
        sync: Argo CD's sync status; empty for what git does not name.
        reason: What is wrong, in words; empty when nothing is.
        note: Restarts, exit codes, revision.
        events: The last warnings about the object, the newest first.
        children: What its controller made of it.
    """

    object: str
    namespace: str
    health: str = ""
    sync: str = ""
    reason: str = ""
    note: str = ""
    events: tuple[str, ...] = ()
    children: tuple[Node, ...] = ()

    def walk(self, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
        """Yield every node with the names of those above it."""
        yield above, self
        for child in self.children:
            yield from child.walk((*above, self.object))

    def worst(self) -> list[tuple[tuple[str, ...], Node]]:
        """Return the nodes that are not well, the worst first; of a chain only the lowest, which knows why."""
        ill = [(above, node) for above, node in self.walk() if node.ill and not any(c.any_ill() for c in node.children)]
        return sorted(ill, key=lambda found: -_rank(found[1]))

    @property
    def ill(self) -> bool:
        """Whether something is wrong with the object itself."""
        return bool(self.reason) or self.health not in ("", "Healthy")

    def any_ill(self) -> bool:
        """Whether something is wrong here or below."""
        return any(node.ill for _, node in self.walk())

    def line(self) -> str:
        """Return health, sync, reason and note in one line."""
        sync = self.sync if self.sync not in ("", "Synced") else ""
        return ", ".join(part for part in (self.health or "present", sync, self.reason, self.note) if part)

    def rows(self) -> list[tuple[str, str]]:
        """Return the worst reasons, then the tree, one row per object."""
        found = self.worst()
        top = [
            ("worst" if not i else "", f"{' > '.join((*above, n.object))}: {n.line()}")
            for i, (above, n) in enumerate(found[:5])
        ]
        return [*(top or [("worst", "nothing is wrong")]), *self._branch("", "")]

    def _branch(self, first: str, rest: str) -> list[tuple[str, str]]:
        """Return the rows of a subtree; ``first`` and ``rest`` are what is drawn before its lines."""
        rows = [(f"{first}{self.object}", self.line())]
        rows += [(f"{rest}  !", event) for event in self.events]
        for index, child in enumerate(self.children):
            last = index == len(self.children) - 1
            rows += child._branch(f"{rest}{'└─' if last else '├─'} ", f"{rest}{'   ' if last else '│  '}")
        return rows


def _rank(node: Node) -> int:
    """Order nodes by how bad they are; a named reason counts more than a counter that is not full yet."""
    status: Any = node.health if node.health in health_rules.SEVERITY else "Healthy"
    return health_rules.SEVERITY.index("Degraded" if node.reason and status in ("Healthy", "Progressing") else status)


@dataclass(slots=True)
class World:
    """What was read of a cluster for one tree: children by owner and events by object."""

    kube: Kube
    kinds: Kinds
    children: dict[str, list[Obj]] = field(default_factory=dict)
    events: dict[str, list[Obj]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    def look(self, namespaces: Iterable[str]) -> None:
        """Read what controllers made in namespaces that were not read yet."""
        for namespace in {name for name in namespaces if name} - self.read:
            self.read.add(namespace)
            for api_version, kind in CHILD_KINDS:
                for obj in self.kinds.all_of(api_version, kind, namespace):
                    for owner in manifests.metadata(obj).get("ownerReferences") or []:
                        self.children.setdefault(str(owner.get("uid")), []).append(obj)
            for event in self.kinds.all_of("v1", "Event", namespace):
                self.events.setdefault(str((event.get("involvedObject") or {}).get("uid")), []).append(event)

    def below(self, obj: Obj) -> list[Obj]:
        """Return what an object owns, by kind and name."""
        return sorted(self.children.get(manifests.uid(obj), []), key=lambda o: (manifests.kind(o), manifests.name(o)))

    def told(self, obj: Obj, *, limit: int = _EVENTS, warnings: bool = True) -> list[str]:
        """Return the last events about an object in words, the newest first."""
        found = [e for e in self.events.get(manifests.uid(obj), []) if not warnings or e.get("type") == "Warning"]
        return [event_line(event) for event in sorted(found, key=event_time, reverse=True)[:limit]]


def event_time(event: Obj) -> str:
    """Return when an event happened last, as text that sorts."""
    series = event.get("series") or {}
    return str(event.get("lastTimestamp") or series.get("lastObservedTime") or event.get("eventTime") or "")


def event_line(event: Obj) -> str:
    """Write an event in one line."""
    count = int(event.get("count") or (event.get("series") or {}).get("count") or 1)
    times = f" ({count} times)" if count > 1 else ""
    text = f"{event_time(event)[11:19]} {event.get('reason')}: {event.get('message') or event.get('note') or ''}{times}"
    return of_process().scrub(" ".join(text.split()))


def tree(platform: Platform, app: App | str) -> Node:
    """Return an Application with everything below it.

    Args:
        platform: Where.
        app: Application, or the name of one; an Application of Applications is followed.

    Raises:
        NotFound: There is no such Application.
    """
    kube = connect(platform)
    world = World(kube, Kinds(kube))
    return _application(platform, argocd.read(platform, app, kube), world, "", frozenset())


def _application(platform: Platform, application: Obj, world: World, sync: str, above: frozenset[str]) -> Node:
    """Return the node of an Application."""
    name, status = manifests.name(application), manifests.status(application)
    rows = rows_of(application)
    destination = manifests.spec(application).get("destination") or {}
    here = str(destination.get("server") or destination.get("name") or "") in IN_CLUSTER
    if here:
        world.look(key.namespace for _, key, _ in rows if key.kind != "Application")
    children = []
    for api_version, key, row in rows if here else ():
        if key.kind == "Application" and key.group == "argoproj.io" and key.name not in above | {name}:
            children.append(_child(platform, key, row, world, above | {name}))
        else:
            children.append(_resource(api_version, key, row, world))
    compared, note = status.get("sync") or {}, str((status.get("sync") or {}).get("revision") or "")[:7]
    errors = [str(c.get("message")) for c in status.get("conditions") or [] if str(c.get("type")).endswith("Error")]
    own = str(compared.get("status") or "Unknown")
    return Node(
        f"Application/{name}",
        manifests.namespace(application) or platform.argocd_namespace,
        str((status.get("health") or {}).get("status") or "Unknown"),
        own if own != "Synced" else sync or own,
        of_process().scrub("; ".join(errors)),
        f"at {note}" if here and note else note if here else f"in another cluster ({destination.get('server')})",
        children=tuple(children),
    )


def _child(
    platform: Platform, key: manifests.ObjectKey, row: Mapping[str, Any], world: World, above: frozenset[str]
) -> Node:
    """Return a child Application, also where it is missing."""
    try:
        found = world.kube.get(APPLICATIONS, key.name, key.namespace or platform.argocd_namespace)
    except NotFound:
        return Node(f"Application/{key.name}", key.namespace, "Missing", str(row.get("status") or ""), "absent")
    return _application(platform, found, world, str(row.get("status") or ""), above)


def _resource(api_version: str, key: manifests.ObjectKey, row: Mapping[str, Any], world: World) -> Node:
    """Return the node of an object that Argo CD lists."""
    sync = "hook" if row.get("hook") else str(row.get("status") or "")
    if row.get("requiresPruning"):
        sync += ", to be pruned"
    try:
        live = world.kinds.live(api_version, key)
    except ApiError as error:
        return Node(f"{key.kind}/{key.name}", key.namespace, "Unknown", sync, error.message)
    if live is None:
        return Node(f"{key.kind}/{key.name}", key.namespace, "Missing", sync)
    return node_of(live, world, sync)


def node_of(obj: Obj, world: World, sync: str = "") -> Node:
    """Return the node of a live object and of what it owns; a ReplicaSet without pods is left out."""
    judged = health_rules.health_of(obj)
    children = [child for child in world.below(obj) if not _retired(child)]
    reason, note = _said(obj, judged)
    return Node(
        f"{manifests.kind(obj)}/{manifests.name(obj)}",
        manifests.namespace(obj),
        judged.status if judged else "",
        sync,
        of_process().scrub(reason),
        note,
        tuple(world.told(obj)) if reason or (judged and judged.status != "Healthy") else (),
        tuple(node_of(child, world) for child in children),
    )


def _retired(obj: Obj) -> bool:
    """Tell whether a ReplicaSet is only kept for a rollback."""
    return (
        manifests.kind(obj) == "ReplicaSet"
        and not manifests.replicas(obj)
        and not manifests.status(obj).get("replicas")
    )


def _said(obj: Obj, judged: health_rules.Health | None) -> tuple[str, str]:
    """Return what is wrong with an object and what else is worth knowing."""
    if manifests.kind(obj) == "Pod":
        state = workload.pod_state(obj)
        restarts = f"{state.restarts} restarts" if state.restarts else ""
        ready = "" if state.ready or state.phase == "Succeeded" else f"{state.phase}, not ready"
        return state.reason or _crashed(obj), ", ".join(part for part in (ready, restarts, state.node) if part)
    message = judged.message if judged and judged.status != "Healthy" else ""
    replicas = f"{int(manifests.status(obj).get('readyReplicas') or 0)} of {manifests.replicas(obj)} ready"
    counted = manifests.kind(obj) in ("Deployment", "ReplicaSet", "StatefulSet")
    return message if judged and judged.status in _BAD else "", ", ".join(
        part for part in (message if judged and judged.status not in _BAD else "", replicas if counted else "") if part
    )


def _crashed(pod: Obj) -> str:
    """Say that a pod which runs and is not ready has crashed before, with the exit code."""
    if manifests.condition_true(pod, "Ready"):
        return ""
    for status in workload.container_statuses(pod):
        ended = (status.get("lastState") or {}).get("terminated") or {}
        if ended and int(ended.get("exitCode") or 0):
            return (
                f"container {status.get('name')} ended with {ended.get('reason') or 'Error'} exit {ended['exitCode']}"
            )
    return ""
