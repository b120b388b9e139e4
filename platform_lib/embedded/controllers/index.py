"""What does the cluster look like now? The snapshot that controllers read, kept from changes, with indexes.

It holds references to the store's objects, no copies. With the indexes a change of one pod costs what the pod's
own owner, node and labels hold, whatever the size of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from platform_lib.embedded import kinds
from platform_lib.embedded.controllers.objects import FINISHED, node_name, phase
from platform_lib.embedded.controllers.resources import Resources, pod_requests
from platform_lib.embedded.controllers.writes import ENDPOINTSLICES, PODS, REPLICASETS, Change
from platform_lib.model import Obj
from platform_lib.rules.manifests import labels, metadata, name, namespace, owner, resource_version, uid

_LABELLED = frozenset({PODS, ENDPOINTSLICES})
_ADOPTABLE = frozenset({PODS, REPLICASETS})

_K = TypeVar("_K")
_V = TypeVar("_V")

Place = tuple[str, str, str]
"""(gvr, namespace, name)."""


class Index:
    """All objects of the cluster by name, owner, label and node; implements ``Snapshot``."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, dict[str, Obj]]] = {}
        self._uids: dict[str, Place] = {}
        self._owned: dict[str, dict[Place, None]] = {}
        self._unowned: dict[tuple[str, str], dict[str, None]] = {}
        self._labelled: dict[tuple[str, str, str, str], dict[str, None]] = {}
        self._nodes: dict[str, dict[tuple[str, str], None]] = {}
        self._requests: dict[str, Resources] = {}
        self._taken: dict[str, Resources] = {}

    @classmethod
    def of(cls, objects: Iterable[Obj]) -> Index:
        """Build a snapshot of these objects (built-in kinds)."""
        index = cls()
        for obj in objects:
            index.apply(Change("ADDED", kinds.by_kind(obj["apiVersion"], obj["kind"]).gvr, obj))
        return index

    # --- keeping it

    def apply(self, change: Change) -> None:
        """Take one change in; an older reading of an object than the one held is ignored."""
        place = (change.gvr, namespace(change.obj), name(change.obj))
        held = self.get(*place)
        if held is not None:
            if _version(change.obj) < _version(held):
                return
            self._forget(place, held)
        if change.type != "DELETED":
            self._keep(place, change.obj)
        elif change.gvr == PODS:
            self._requests.pop(uid(change.obj), None)

    def _keep(self, place: Place, obj: Obj) -> None:
        gvr, space, called = place
        self._objects.setdefault(gvr, {}).setdefault(space, {})[called] = obj
        self._uids[uid(obj)] = place
        for reference in metadata(obj).get("ownerReferences") or ():
            self._owned.setdefault(reference.get("uid", ""), {})[place] = None
        if gvr in _ADOPTABLE and owner(obj) is None:
            self._unowned.setdefault((gvr, space), {})[called] = None
        if gvr in _LABELLED:
            for label, value in labels(obj).items():
                self._labelled.setdefault((gvr, space, label, value), {})[called] = None
        if gvr == PODS:
            self._nodes.setdefault(node_name(obj), {})[space, called] = None
            self._charge(obj, 1)

    def _forget(self, place: Place, obj: Obj) -> None:
        gvr, space, called = place
        del self._objects[gvr][space][called]
        if self._uids.get(uid(obj)) == place:
            del self._uids[uid(obj)]
        for reference in metadata(obj).get("ownerReferences") or ():
            _discard(self._owned, reference.get("uid", ""), place)
        _discard(self._unowned, (gvr, space), called)
        if gvr in _LABELLED:
            for label, value in labels(obj).items():
                _discard(self._labelled, (gvr, space, label, value), called)
        if gvr == PODS:
            _discard(self._nodes, node_name(obj), (space, called))
            self._charge(obj, -1)

    def _charge(self, pod: Obj, sign: int) -> None:
        """Add a pod's requests to what its node has given away, or take them off."""
        if not node_name(pod) or phase(pod) in FINISHED:
            return
        asked = self._requests.get(uid(pod))
        if asked is None:
            asked = self._requests[uid(pod)] = pod_requests(pod)
        taken = self._taken.get(node_name(pod), Resources())
        self._taken[node_name(pod)] = taken.plus(asked) if sign > 0 else taken.minus(asked)

    # --- reading it

    def get(self, gvr: str, namespace: str, name: str) -> Obj | None:
        """Return an object, or None."""
        return self._objects.get(gvr, {}).get(namespace, {}).get(name)

    def list(self, gvr: str, namespace: str | None = None) -> Sequence[Obj]:
        """Return the objects of a resource, of one namespace or of all."""
        spaces = self._objects.get(gvr, {})
        if namespace is not None:
            return list(spaces.get(namespace, {}).values())
        return [obj for space in spaces.values() for obj in space.values()]

    def labelled(self, gvr: str, namespace: str, labels: Mapping[str, str]) -> Sequence[Obj]:
        """Return the pods or endpoint slices of a namespace that carry all these labels; none for no labels."""
        sets = [self._labelled.get((gvr, namespace, *item), {}) for item in labels.items()]
        if not sets:
            return []
        sets.sort(key=len)
        held = self._objects.get(gvr, {}).get(namespace, {})
        return [held[name] for name in sets[0] if all(name in other for other in sets[1:])]

    def owned_by(self, uid: str) -> Sequence[Obj]:
        """Return the objects that name this uid among their owners."""
        return [self._objects[gvr][space][called] for gvr, space, called in self._owned.get(uid, {}) if uid]

    def unowned(self, gvr: str, namespace: str) -> Sequence[Obj]:
        """Return the pods or ReplicaSets of a namespace that no controller owns."""
        held = self._objects.get(gvr, {}).get(namespace, {})
        return [held[name] for name in self._unowned.get((gvr, namespace), {})]

    def by_uid(self, uid: str) -> Obj | None:
        """Return the object with this uid, or None."""
        place = self._uids.get(uid) if uid else None
        return self.get(*place) if place else None

    def gvr_of(self, uid: str) -> str:
        """Return the resource of the object with this uid; empty when there is none."""
        place = self._uids.get(uid) if uid else None
        return place[0] if place else ""

    def pods_on(self, node: str) -> Sequence[Obj]:
        """Return the pods bound to a node."""
        pods = self._objects.get(PODS, {})
        return [pods[space][called] for space, called in self._nodes.get(node, {})]

    def requested_on(self, node: str) -> Resources:
        """Return what the pods on a node ask for together, terminating ones included."""
        return self._taken.get(node, Resources())

    def unscheduled(self) -> Sequence[Obj]:
        """Return the pods that are bound to no node."""
        return self.pods_on("")

    def content(self, namespace: str) -> Iterator[tuple[str, Obj]]:
        """Yield (gvr, object) for everything in a namespace."""
        for gvr, spaces in self._objects.items():
            for obj in list(spaces.get(namespace, {}).values()) if namespace else ():
                yield gvr, obj

    def everything(self) -> Iterator[tuple[str, Obj]]:
        """Yield (gvr, object) for every object."""
        for gvr in list(self._objects):
            for obj in self.list(gvr):
                yield gvr, obj


def _version(obj: Obj) -> int:
    text = resource_version(obj)
    return int(text) if text.isdigit() else 0


def _discard(sets: dict[_K, dict[_V, None]], key: _K, value: _V) -> None:
    """Take a value out of an index, and the entry when it is empty."""
    found = sets.get(key)
    if found is not None:
        found.pop(value, None)
        if not found:
            del sets[key]
