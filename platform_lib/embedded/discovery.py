"""What does the API server say it serves? Discovery documents, legacy and aggregated, from the table of kinds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from platform_lib.embedded.kinds import Kind
from platform_lib.model import Obj

AGGREGATED_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""Media type of the aggregated document, in ``Accept`` and in the answer's ``Content-Type``."""


@dataclass(frozen=True, slots=True)
class _Below:
    """A subresource: its verbs and the kind it speaks, where that is not the kind above it."""

    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""
    kind: str = ""


_BELOW = {
    "status": _Below(("get", "patch", "update")),
    "finalize": _Below(("update",)),
    "log": _Below(("get",)),
    "scale": _Below(("get", "patch", "update"), "autoscaling", "v1", "Scale"),
    "binding": _Below(("create",), "", "v1", "Binding"),
    "eviction": _Below(("create",), "policy", "v1", "Eviction"),
    "token": _Below(("create",), "authentication.k8s.io", "v1", "TokenRequest"),
}


def document(path: str, kinds: Iterable[Kind], *, aggregated: bool = False) -> Obj | None:
    """Return the discovery document of a path, or None when there is none.

    Args:
        path: ``/api``, ``/apis``, ``/api/v1``, ``/apis/<group>`` or ``/apis/<group>/<version>``.
        kinds: Everything that is served, CRDs included.
        aggregated: Whether the client takes ``AGGREGATED_TYPE``; concerns ``/api`` and ``/apis`` only.

    Source: Kubernetes API reference, "API discovery".
    """
    groups = _by_group(kinds)
    parts = path.strip("/").split("/")
    if parts == ["api"]:
        return _aggregate({"": groups.get("", {})}) if aggregated else _api_versions()
    if parts == ["apis"]:
        named = {name: versions for name, versions in groups.items() if name}
        return _aggregate(named) if aggregated else _group_list(named)
    if parts[0] == "api" and len(parts) == 2:
        return _resource_list("", parts[1], groups)
    if parts[0] == "apis" and len(parts) == 2 and parts[1] in groups:
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1], groups[parts[1]])}
    if parts[0] == "apis" and len(parts) == 3:
        return _resource_list(parts[1], parts[2], groups)
    return None


def _by_group(kinds: Iterable[Kind]) -> dict[str, dict[str, list[Kind]]]:
    groups: dict[str, dict[str, list[Kind]]] = {}
    for kind in kinds:
        groups.setdefault(kind.group, {}).setdefault(kind.version, []).append(kind)
    return groups


def _api_versions() -> Obj:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
    }


def _group_list(groups: dict[str, dict[str, list[Kind]]]) -> Obj:
    items = [_group(name, versions) for name, versions in groups.items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": items}


def _group(name: str, versions: dict[str, list[Kind]]) -> Obj:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resource_list(group: str, version: str, groups: dict[str, dict[str, list[Kind]]]) -> Obj | None:
    kinds = groups.get(group, {}).get(version)
    if kinds is None:
        return None
    resources = [resource for kind in kinds for resource in _resources(kind)]
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}


def _resources(kind: Kind) -> Iterable[Obj]:
    """Yield the legacy entries of a kind and its subresources."""
    entry: dict[str, Any] = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    yield entry
    for name in sorted(kind.subresources):
        below = _BELOW[name]
        entry = {
            "name": f"{kind.plural}/{name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": below.kind or kind.kind,
            "verbs": list(below.verbs),
        }
        if below.group:
            entry |= {"group": below.group, "version": below.version}
        yield entry


def _aggregate(groups: dict[str, dict[str, list[Kind]]]) -> Obj:
    items = [
        {
            "metadata": {"name": name} if name else {},
            "versions": [
                {
                    "version": version,
                    "resources": [_aggregated_resource(kind) for kind in kinds],
                    "freshness": "Current",
                }
                for version, kinds in versions.items()
            ],
        }
        for name, versions in groups.items()
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated_resource(kind: Kind) -> Obj:
    entry: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if kind.subresources:
        entry["subresources"] = [_aggregated_below(kind, name) for name in sorted(kind.subresources)]
    return entry


def _aggregated_below(kind: Kind, name: str) -> Obj:
    below = _BELOW[name]
    if below.kind:
        answers = {"group": below.group, "version": below.version, "kind": below.kind}
    else:
        answers = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    return {"subresource": name, "responseKind": answers, "verbs": list(below.verbs)}
