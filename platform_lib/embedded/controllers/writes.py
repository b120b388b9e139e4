"""What does a controller read, and what may it ask for? The values between ``runner`` and the controllers.

No controller's rules belong here, and nothing that touches the API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from platform_lib.embedded.controllers.resources import Resources
from platform_lib.errors import ApiError
from platform_lib.model import Obj
from platform_lib.rules import manifests

PODS = "v1/pods"
NODES = "v1/nodes"
NAMESPACES = "v1/namespaces"
SERVICES = "v1/services"
EVENTS = "v1/events"
LEASES = "coordination.k8s.io/v1/leases"
DEPLOYMENTS = "apps/v1/deployments"
REPLICASETS = "apps/v1/replicasets"
ENDPOINTSLICES = "discovery.k8s.io/v1/endpointslices"
INGRESSES = "networking.k8s.io/v1/ingresses"
INGRESSCLASSES = "networking.k8s.io/v1/ingressclasses"
BUDGETS = "policy/v1/poddisruptionbudgets"
AUTOSCALERS = "autoscaling/v2/horizontalpodautoscalers"
JOBS = "batch/v1/jobs"

Key = tuple[str, str]
"""(namespace, name) of the object a controller looks at; the namespace is empty for cluster-wide kinds."""

Verb = Literal["create", "update", "merge", "status_merge", "delete", "bind", "finalize", "event"]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one object; ``type`` is ADDED, MODIFIED or DELETED, ``old`` the state before."""

    type: str
    gvr: str
    obj: Obj
    old: Obj | None = None


class Snapshot(Protocol):
    """The cluster as it is now. What it hands out is shared: copy before changing."""

    def get(self, gvr: str, namespace: str, name: str) -> Obj | None:
        """Return an object, or None."""
        ...

    def list(self, gvr: str, namespace: str | None = None) -> Sequence[Obj]:
        """Return the objects of a resource, of one namespace or of all."""
        ...

    def labelled(self, gvr: str, namespace: str, labels: Mapping[str, str]) -> Sequence[Obj]:
        """Return the objects of a namespace that carry all these labels."""
        ...

    def owned_by(self, uid: str) -> Sequence[Obj]:
        """Return the objects that name this uid among their owners."""
        ...

    def unowned(self, gvr: str, namespace: str) -> Sequence[Obj]:
        """Return the objects of a namespace that no controller owns."""
        ...

    def by_uid(self, uid: str) -> Obj | None:
        """Return the object with this uid, or None."""
        ...

    def pods_on(self, node: str) -> Sequence[Obj]:
        """Return the pods bound to a node."""
        ...

    def requested_on(self, node: str) -> Resources:
        """Return what the pods on a node ask for together, terminating ones included."""
        ...

    def unscheduled(self) -> Sequence[Obj]:
        """Return the pods that are bound to no node."""
        ...

    def content(self, namespace: str) -> Iterable[tuple[str, Obj]]:
        """Yield (gvr, object) for everything in a namespace."""
        ...

    def gvr_of(self, uid: str) -> str:
        """Return the resource of the object with this uid; empty when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Write:
    """One thing to do to the cluster.

    Attributes:
        verb: ``create``, ``update`` (whole object), ``merge`` and ``status_merge`` (merge patches of the object
            and of its status), ``delete``, ``bind`` (body: node name under ``target``), ``finalize`` (namespace),
            ``event`` (record an event; body from ``event``).
        gvr: Resource.
        namespace: Namespace; empty for cluster-wide objects.
        name: Name; empty for a create with ``generateName``.
        body: Object, patch or delete options.
        uid: The write is refused as a Conflict when the object has another uid by then.
        version: The same for ``metadata.resourceVersion``.
        announce: Event to record after success; ``{name}`` in its message becomes the name that was written.
        on_error: Pure function from a refusal to further writes that report it, before the key backs off.
    """

    verb: Verb
    gvr: str
    namespace: str
    name: str
    body: Obj = field(default_factory=dict)
    uid: str = ""
    version: str = ""
    announce: Write | None = None
    on_error: Callable[[ApiError], Sequence[Write]] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What one reconcile wants.

    Attributes:
        writes: In this order; the first one that fails ends the rest.
        requeue_after_s: Look again after this time, 0 for at once, None for only when something changes.
        memory: Value handed to the next reconcile of the key by a controller that needs one (autoscaler).
    """

    writes: Sequence[Write] = ()
    requeue_after_s: float | None = None
    memory: Any = None


NOTHING = Result()


def create(gvr: str, obj: Obj, **options: Any) -> Write:
    """Create ``obj``."""
    return Write("create", gvr, manifests.namespace(obj), manifests.name(obj), obj, **options)


def merge(gvr: str, obj: Obj, patch: Obj, *, guarded: bool = False, **options: Any) -> Write:
    """Merge-patch ``obj``; ``guarded`` refuses when it changed since it was read."""
    version = manifests.resource_version(obj) if guarded else ""
    return Write("merge", gvr, *_where(obj), patch, manifests.uid(obj), version, **options)


def set_status(gvr: str, obj: Obj, status: Mapping[str, Any]) -> list[Write]:
    """Replace the status of ``obj``; no write when it is the same already."""
    old = manifests.status(obj)
    patch = {name: value for name, value in status.items() if old.get(name) != value}
    patch |= dict.fromkeys(old.keys() - status.keys())
    if not patch:
        return []
    return [Write("status_merge", gvr, *_where(obj), {"status": patch}, manifests.uid(obj))]


def set_conditions(gvr: str, obj: Obj, conditions: Sequence[Obj]) -> list[Write]:
    """Replace ``status.conditions``, guarded: another writer may have changed one of them."""
    if conditions == (manifests.status(obj).get("conditions") or []):
        return []
    body = {"status": {"conditions": list(conditions)}}
    version = manifests.resource_version(obj)
    return [Write("status_merge", gvr, *_where(obj), body, manifests.uid(obj), version)]


def delete(gvr: str, obj: Obj, options: Obj | None = None, **more: Any) -> Write:
    """Delete ``obj`` if it still has the same uid."""
    return Write("delete", gvr, *_where(obj), options or {}, manifests.uid(obj), **more)


def event(obj: Obj, reason: str, message: str, *, warning: bool = False) -> Write:
    """Record an event about ``obj``."""
    involved = {
        "apiVersion": obj.get("apiVersion", "v1"),
        "kind": manifests.kind(obj),
        "name": manifests.name(obj),
        "uid": manifests.uid(obj),
        "resourceVersion": manifests.resource_version(obj),
    }
    if manifests.namespace(obj):
        involved["namespace"] = manifests.namespace(obj)
    body = {
        "involvedObject": {field: value for field, value in involved.items() if value},
        "reason": reason,
        "message": message,
        "type": "Warning" if warning else "Normal",
    }
    # Events about cluster-wide objects live in the namespace "default", as client-go's recorder does it.
    return Write("event", EVENTS, manifests.namespace(obj) or "default", "", body)


def _where(obj: Obj) -> tuple[str, str]:
    return manifests.namespace(obj), manifests.name(obj)
