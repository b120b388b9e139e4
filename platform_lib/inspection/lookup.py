"""Where does an Application live, and how does the API serve its objects? Reading only."""

from __future__ import annotations

from typing import NamedTuple

from platform_lib import applications
from platform_lib.errors import Forbidden, InvalidInput, NotFound
from platform_lib.model import App, Obj, Platform
from platform_lib.rules import manifests
from platform_lib.settings import settings
from platform_lib.wire import argocd
from platform_lib.wire.kube import Kube

IN_CLUSTER = frozenset({"https://kubernetes.default.svc", "in-cluster", ""})


class Served(NamedTuple):
    """How the API serves a kind."""

    gvr: str
    namespaced: bool


def app_of(platform: Platform, name: str) -> App:
    """Return the application as apqx.toml describes it, else as its Application object does: destination and folder.

    Raises:
        NotFound: There is no such Application.
    """
    if name in settings().apps:
        return applications.named(name)
    application = argocd.read(platform, name)
    spec = manifests.spec(application)
    source: Obj = spec.get("source") or next(iter(spec.get("sources") or ()), {})
    namespace = (spec.get("destination") or {}).get("namespace") or name
    home = manifests.namespace(application)
    return App(
        name,
        namespace=namespace,
        path=str(source.get("path") or ""),
        argocd_namespace="" if home == platform.argocd_namespace else home,
    )


def require_this_cluster(application: Obj) -> None:
    """Refuse an Application whose objects live in another cluster.

    Raises:
        InvalidInput: The destination is another cluster.
    """
    destination = manifests.spec(application).get("destination") or {}
    place = str(destination.get("server") or destination.get("name") or "")
    if place not in IN_CLUSTER:
        raise InvalidInput(
            f"{manifests.name(application)} - lives in cluster {place}, only the cluster of Argo CD itself can be read",
            hint="connect to that cluster as a platform of its own",
        )


class Kinds:
    """How the kinds of one API are served, asked once per group and version.

    Args:
        kube: Connection.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._known: dict[str, dict[str, Served]] = {}

    def find(self, api_version: str, kind: str) -> Served | None:
        """Return how a kind is served; None when the API does not know it."""
        if api_version not in self._known:
            self._known[api_version] = self._read(api_version)
        return self._known[api_version].get(kind)

    def _read(self, api_version: str) -> dict[str, Served]:
        """Read the resource list of one group and version."""
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            answer = self._kube.json("GET", root)
        except NotFound:
            return {}
        rows = [row for row in answer.get("resources") or [] if "/" not in row["name"]]
        return {row["kind"]: Served(f"{api_version}/{row['name']}", bool(row["namespaced"])) for row in rows}

    def namespaced(self, obj: Obj) -> bool | None:
        """Tell whether an object's kind is namespaced; None for an unknown kind."""
        served = self.find(str(obj.get("apiVersion") or ""), manifests.kind(obj))
        return None if served is None else served.namespaced

    def live(self, api_version: str, key: manifests.ObjectKey) -> Obj | None:
        """Read one object, None when it is absent or of an unknown kind."""
        served = self.find(api_version, key.kind)
        if served is None:
            return None
        found = self._kube.find(served.gvr, key.name, key.namespace or None if served.namespaced else None)
        return found and {**found, "apiVersion": api_version, "kind": key.kind}

    def all_of(self, api_version: str, kind: str, namespace: str) -> list[Obj]:
        """Return the objects of a kind in a namespace; none where the kind is unknown or may not be read."""
        served = self.find(api_version, kind)
        if served is None:
            return []
        try:
            items, _ = self._kube.list(served.gvr, namespace)
        except Forbidden:
            return []
        # Items of a list do not say what they are.
        return [{**item, "apiVersion": api_version, "kind": kind} for item in items]


def named(key: manifests.ObjectKey) -> str:
    """Name an object for people: ``apps/Deployment/web``, ``Service/web``."""
    return str(key).removeprefix("/")


def rows_of(application: Obj) -> list[tuple[str, manifests.ObjectKey, Obj]]:
    """Return (apiVersion, key, row) of each object that Argo CD lists for an Application."""
    found = []
    for row in manifests.status(application).get("resources") or []:
        group, version = str(row.get("group") or ""), str(row.get("version") or "v1")
        api_version = f"{group}/{version}" if group else version
        parts = (group, str(row.get("kind") or ""), str(row.get("namespace") or ""), str(row.get("name") or ""))
        found.append((api_version, manifests.ObjectKey(*parts), row))
    return found
