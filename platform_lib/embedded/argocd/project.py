"""What may an Application do? Checks of its specification and of its AppProject. Pure.

Source: Argo CD v3.5.1, AppProject rules. When a sync may run belongs to ``windows``.
"""

from __future__ import annotations

from typing import Any

from platform_lib.embedded.argocd.render import glob_matches
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

IN_CLUSTER_SERVER = "https://kubernetes.default.svc"
IN_CLUSTER_NAME = "in-cluster"


def project_name(app: Obj) -> str:
    """Return the project of an Application."""
    return str(m.spec(app).get("project") or "default")


def source_of(app: Obj) -> dict[str, Any]:
    """Return the source of an Application (the only one of ``sources`` when that list is used)."""
    spec = m.spec(app)
    sources = spec.get("sources") or []
    source: dict[str, Any] = sources[0] if len(sources) == 1 else spec.get("source") or {}
    return source


def destination_of(app: Obj) -> dict[str, str]:
    """Return the destination of an Application."""
    found: dict[str, str] = m.spec(app).get("destination") or {}
    return found


def spec_errors(app: Obj, project: Obj | None) -> list[str]:
    """Say what is wrong with the specification of an Application; empty when it may be compared.

    Args:
        app: The Application.
        project: Its AppProject, None when there is none of that name.
    """
    spec, source, destination = m.spec(app), source_of(app), destination_of(app)
    name = project_name(app)
    found = _destination_errors(destination)
    if len(spec.get("sources") or []) > 1:
        found.append("multiple sources are not served by the embedded platform")
    elif not source.get("repoURL"):
        found.append(
            "spec.source.repoURL and either spec.source.path, spec.source.chart, or spec.source.ref are required"
        )
    if project is None:
        found.append(f"Application referencing project {name} which does not exist")
    if found or project is None:
        return found
    if not source_permitted(project, str(source["repoURL"])):
        found.append(f"application repo {source['repoURL']} is not permitted in project '{name}'")
    if not destination_permitted(project, destination, str(destination.get("namespace") or "")):
        found.append(
            f"application destination server '{destination.get('server') or destination.get('name')}' and namespace "
            f"'{destination.get('namespace', '')}' do not match any of the allowed destinations in project '{name}'"
        )
    return found


def _destination_errors(destination: dict[str, str]) -> list[str]:
    """Check that the destination is this cluster, named once."""
    server, name = destination.get("server"), destination.get("name")
    if server and name:
        return [f"application destination can't have both name and server defined: {name} {server}"]
    if not server and not name:
        return ["Destination server missing from app spec"]
    if server and server.rstrip("/") != IN_CLUSTER_SERVER:
        return [f'unable to find destination server: error getting cluster by server "{server}": cluster not found']
    if name and name != IN_CLUSTER_NAME:
        return [f"unable to find destination server: there are no clusters with this name: {name}"]
    return []


def source_permitted(project: Obj, url: str) -> bool:
    """Tell whether a project permits a repository."""
    return _permitted(m.spec(project).get("sourceRepos") or [], url)


def _permitted(patterns: list[Any], value: str) -> bool:
    """Match globs of which a leading ``!`` denies."""
    allowed = False
    for pattern in map(str, patterns):
        if pattern.startswith("!"):
            if glob_matches(pattern[1:], value):
                return False
        elif pattern == "*" or glob_matches(pattern, value):
            allowed = True
    return allowed


def destination_permitted(project: Obj, destination: dict[str, str], namespace: str) -> bool:
    """Tell whether a project permits a namespace of a cluster."""
    server = str(destination.get("server") or IN_CLUSTER_SERVER)
    name = str(destination.get("name") or IN_CLUSTER_NAME)
    allowed = False
    for entry in m.spec(project).get("destinations") or []:
        cluster, deny_cluster = _cluster_matches(entry, server, name)
        wanted = str(entry.get("namespace") or "")
        deny_namespace = wanted.startswith("!")
        in_namespace = glob_matches(wanted.removeprefix("!"), namespace)
        if cluster and in_namespace:
            if deny_cluster or deny_namespace:
                return False
            allowed = True
    return allowed


def _cluster_matches(entry: dict[str, Any], server: str, name: str) -> tuple[bool, bool]:
    """Return (matches, denies) of the cluster part of a destination."""
    field, value = ("server", server) if entry.get("server") else ("name", name)
    pattern = str(entry.get(field) or "")
    return glob_matches(pattern.removeprefix("!"), value), pattern.startswith("!")


def object_refusal(project: Obj, app: Obj, obj: Obj, *, namespaced: bool) -> str:
    """Say why a project does not permit an object; empty when it does."""
    group, _, kind = m.gvk(obj)
    name = project_name(app)
    if not kind_permitted(project, group, kind, m.name(obj), namespaced=namespaced):
        return f"resource {group}:{kind} is not permitted in project {name}"
    if namespaced and not destination_permitted(project, destination_of(app), m.namespace(obj)):
        return f"namespace {m.namespace(obj)} is not permitted in project '{name}'"
    return ""


def kind_permitted(project: Obj, group: str, kind: str, name: str = "", *, namespaced: bool) -> bool:
    """Tell whether a project permits a kind; without a list no cluster-wide kind is permitted."""
    spec = m.spec(project)
    if namespaced:
        allow, deny = spec.get("namespaceResourceWhitelist"), spec.get("namespaceResourceBlacklist") or []
        permitted = allow is None or any(_entry_matches(entry, group, kind, name) for entry in allow)
    else:
        allow, deny = spec.get("clusterResourceWhitelist") or [], spec.get("clusterResourceBlacklist") or []
        permitted = any(_entry_matches(entry, group, kind, name) for entry in allow)
    return permitted and not any(_entry_matches(entry, group, kind, name) for entry in deny)


def _entry_matches(entry: dict[str, Any], group: str, kind: str, name: str) -> bool:
    """Match a group/kind entry with an optional name."""
    if not glob_matches(str(entry.get("group") or ""), group) or not glob_matches(str(entry.get("kind") or ""), kind):
        return False
    return not entry.get("name") or glob_matches(str(entry["name"]), name)
