"""What may an Application do, by its AppProject? Repositories, destinations, kinds; pure.

When a sync may run belongs to ``syncwindows``; what the workbench asks before a change to ``syncchecks``.

Source: Argo CD v3.5.1, AppProject rules.
"""

from __future__ import annotations

import re
from typing import Any

from platform_lib.model import Obj
from platform_lib.rules import manifests as m

IN_CLUSTER_SERVER = "https://kubernetes.default.svc"
IN_CLUSTER_NAME = "in-cluster"


def glob_matches(pattern: str, text: str) -> bool:
    """Match a glob in which ``*`` also crosses ``/`` and ``{a,b}`` gives alternatives."""
    return re.fullmatch(_glob_to_regex(pattern), text) is not None


def _glob_to_regex(pattern: str) -> str:
    """Translate a glob."""
    out, depth, index = "", 0, 0
    while index < len(pattern):
        char = pattern[index]
        close = pattern.find("]", index + 2) if char == "[" else -1
        if char == "*":
            out += ".*"
        elif char == "?":
            out += "."
        elif close > 0:
            inner = pattern[index + 1 : close].replace("\\", "\\\\")
            out += f"[^{inner[1:]}]" if inner[0] == "!" else f"[{inner}]"
            index = close
        elif char == "{":
            out, depth = out + "(?:", depth + 1
        elif char == "}" and depth:
            out, depth = out + ")", depth - 1
        elif char == "," and depth:
            out += "|"
        else:
            out += re.escape(char)
        index += 1
    return out + ")" * depth


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


def in_cluster(destination: dict[str, str]) -> bool:
    """Tell whether a destination is Argo CD's own cluster: of any other, only Argo CD knows both name and address."""
    server, name = destination.get("server") or IN_CLUSTER_SERVER, destination.get("name") or IN_CLUSTER_NAME
    return (server, name) == (IN_CLUSTER_SERVER, IN_CLUSTER_NAME)


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
