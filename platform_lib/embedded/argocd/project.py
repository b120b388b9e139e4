"""What may an Application do? Checks of its specification and of its AppProject. Pure.

Source: Argo CD v3.5.1, AppProject rules. What a project permits is in ``rules.appproject``; when a sync may run
belongs to ``windows``.
"""

from __future__ import annotations

from typing import Any

from platform_lib.model import Obj
from platform_lib.rules import manifests as m
from platform_lib.rules.appproject import (
    IN_CLUSTER_NAME,
    IN_CLUSTER_SERVER,
    destination_permitted,
    kind_permitted,
    source_permitted,
)

__all__ = [
    "IN_CLUSTER_NAME",
    "IN_CLUSTER_SERVER",
    "destination_of",
    "destination_permitted",
    "kind_permitted",
    "object_refusal",
    "project_name",
    "source_of",
    "source_permitted",
    "spec_errors",
]


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


def object_refusal(project: Obj, app: Obj, obj: Obj, *, namespaced: bool) -> str:
    """Say why a project does not permit an object; empty when it does."""
    group, _, kind = m.gvk(obj)
    name = project_name(app)
    if not kind_permitted(project, group, kind, m.name(obj), namespaced=namespaced):
        return f"resource {group}:{kind} is not permitted in project {name}"
    if namespaced and not destination_permitted(project, destination_of(app), m.namespace(obj)):
        return f"namespace {m.namespace(obj)} is not permitted in project '{name}'"
    return ""
