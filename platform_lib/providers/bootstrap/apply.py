"""How do objects of any kind reach a cluster? By server-side apply, first as a question, then for real.

The question is a dry run: the server answers what the object would be, and equality with what is there means
that nothing has to change. So an installation can be planned, repeated and resumed without a record of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from platform_lib.errors import ManifestError, NotFound
from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.wire.kube import Kube

MANAGER = "apqx"
APPLY_PATCH = "application/apply-patch+yaml"
_SERVERS_OWN = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink")
_CLUSTER_SCOPED = {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}


@dataclass(frozen=True, slots=True)
class Change:
    """What applying one object would do."""

    action: Literal["create", "update"]
    target: str


def label(obj: Obj) -> str:
    """Return ``Kind/name`` for people."""
    return f"{manifests.kind(obj)}/{manifests.name(obj)}"


def in_namespace(objects: Iterable[Obj], namespace: str) -> list[Obj]:
    """Return the objects with a namespace where theirs is left open, as ``kubectl apply -n`` does."""
    return [
        obj
        if manifests.kind(obj) in _CLUSTER_SCOPED or manifests.namespace(obj)
        else obj | {"metadata": obj["metadata"] | {"namespace": namespace}}
        for obj in objects
    ]


class Applier:
    """Applies objects to one cluster; finds the address of each kind by discovery.

    Args:
        connection: The cluster; its guard sees every change, and no dry run.
        manager: Owner of the fields that are applied.
    """

    def __init__(self, connection: Kube, *, manager: str = MANAGER) -> None:
        self._connection, self._manager = connection, manager
        self._resources: dict[str, dict[str, tuple[str, bool]]] = {}

    def change(self, obj: Obj) -> Change | None:
        """Ask what applying an object would do; None when it is there already.

        Raises:
            Invalid, Forbidden: The server would refuse the object.
        """
        path = self.path(obj)
        if path is None:
            return Change("create", label(obj))
        try:
            live = self._connection.json("GET", path)
        except NotFound:
            live = None
        would = self._send(path, obj, dry_run=True)
        if live is None:
            return Change("create", label(obj))
        return None if _content(live) == _content(would) else Change("update", label(obj))

    def apply(self, obj: Obj) -> Obj:
        """Apply an object and return it as it is now.

        Raises:
            ManifestError: The cluster does not know its kind.
            Invalid, Forbidden: The server refused the object.
        """
        path = self.path(obj)
        if path is None:
            raise ManifestError(
                f"{label(obj)} - the cluster does not know {obj.get('apiVersion')} {manifests.kind(obj)}",
                hint="its definition has to be applied first",
                path=label(obj),
            )
        return self._send(path, obj)

    def path(self, obj: Obj) -> str | None:
        """Return the URL path of an object; None when the cluster does not know its kind."""
        version = str(obj.get("apiVersion", ""))
        found = self._known(version).get(manifests.kind(obj))
        if found is None:
            return None
        plural, namespaced = found
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        middle = f"/namespaces/{manifests.namespace(obj)}" if namespaced else ""
        return f"{root}{middle}/{plural}/{manifests.name(obj)}"

    def _known(self, version: str) -> dict[str, tuple[str, bool]]:
        """Return kind -> (plural, namespaced) of a group version; what is absent is asked for again."""
        if not self._resources.get(version):
            root = f"/apis/{version}" if "/" in version else f"/api/{version}"
            try:
                listed = self._connection.json("GET", root).get("resources") or []
            except NotFound:
                listed = []
            self._resources[version] = {
                entry["kind"]: (entry["name"], bool(entry["namespaced"]))
                for entry in listed
                if "/" not in entry["name"]
            }
        return self._resources[version]

    def forget(self) -> None:
        """Ask again which kinds there are: definitions were applied."""
        self._resources.clear()

    def _send(self, path: str, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Send a server-side apply; conflicts with other managers are taken over."""
        params = {"fieldManager": self._manager, "force": "true", "dryRun": "All" if dry_run else None}
        return self._connection.json("PATCH", path, body=json.dumps(obj), params=params, content_type=APPLY_PATCH)


def _content(obj: Obj) -> Any:
    """Return an object without what the server writes by itself at each change."""
    metadata = {key: value for key, value in manifests.metadata(obj).items() if key not in _SERVERS_OWN}
    return obj | {"metadata": metadata}
