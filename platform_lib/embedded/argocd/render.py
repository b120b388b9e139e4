"""Which objects does a folder of the desired state describe? Directory rendering of Argo CD, as pure functions.

Helm, Kustomize and plugins are refused with a sentence; reading git belongs to ``repository``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from platform_lib.errors import ManifestError
from platform_lib.model import Obj
from platform_lib.rules import manifests as m
from platform_lib.rules.appproject import glob_matches

SKIP_MARKER = "+argocd:skip-file-rendering"
MAX_BYTES = 10 * 1024 * 1024
_SERVED = re.compile(r"\.(yaml|yml|json)$")
_KUSTOMIZATIONS = {"kustomization.yaml", "kustomization.yml", "Kustomization"}
_EXCLUDED_GROUPS = {"events.k8s.io", "metrics.k8s.io"}
_EXCLUDED = {
    ("", "Event"),
    ("", "Endpoints"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("coordination.k8s.io", "Lease"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """The wanted objects of an Application with what is to be said about them.

    Attributes:
        targets: Objects with namespace and tracking set; each key once.
        warnings: (condition type, message).
    """

    targets: tuple[Obj, ...]
    warnings: tuple[tuple[str, str], ...] = ()


def refuse_other_tools(source: dict[str, Any], names: Iterable[str]) -> None:
    """Refuse a source that is not a plain directory of manifests.

    Raises:
        ManifestError: The source needs a tool that is not served.
    """
    found = next((tool for tool in ("helm", "kustomize", "plugin", "chart") if source.get(tool)), "")
    if not found and not source.get("directory"):
        present = set(names)
        found = "helm" if "Chart.yaml" in present else "kustomize" if present & _KUSTOMIZATIONS else ""
    if found:
        raise ManifestError(
            f"source type {found} is not served by the embedded platform",
            hint="commit plain manifests, or use the k3d provider",
            path=str(source.get("path") or ""),
        )


def select_files(files: dict[str, str], directory: dict[str, Any]) -> dict[str, str]:
    """Choose the files that are manifests.

    Args:
        files: Path relative to the source folder -> text.
        directory: ``spec.source.directory`` (``include`` and ``exclude`` globs).
    """
    exclude, include = str(directory.get("exclude") or ""), str(directory.get("include") or "")
    chosen = {}
    for path in sorted(files):
        if not _SERVED.search(path) or (exclude and glob_matches(exclude, path)):
            continue
        if (not include or glob_matches(include, path)) and SKIP_MARKER not in files[path]:
            chosen[path] = files[path]
    return chosen


def read_objects(files: dict[str, str]) -> list[Obj]:
    """Parse chosen files in lexical order.

    A file that is not YAML and does not look like a manifest is skipped, as Argo CD does.

    Raises:
        ManifestError: A manifest cannot be read, or together they are larger than 10 MB.
    """
    if sum(len(text) for text in files.values()) > MAX_BYTES:
        raise ManifestError("manifests are larger than 10 MB in total", hint="split the application")
    found: list[Obj] = []
    for path, text in files.items():
        try:
            found += m.parse_manifests(text, path)
        except ManifestError:
            if path.endswith(".json") or m.looks_like_manifest(text):
                raise
    return found


def place(
    objects: Iterable[Obj], app: str, destination_namespace: str, namespaced: Callable[[Obj], bool | None]
) -> Rendered:
    """Set namespace and tracking, drop what is excluded, keep the last of equal objects.

    Args:
        objects: Parsed manifests, not changed.
        app: Name to track by.
        destination_namespace: For namespaced objects that name none.
        namespaced: Says of an object whether its kind is namespaced; None for an unknown kind.
    """
    targets: dict[m.ObjectKey, Obj] = {}
    count: dict[m.ObjectKey, int] = {}
    warnings = []
    for index, obj in enumerate(objects):
        if is_excluded(obj):
            group, _, kind = m.gvk(obj)
            said = f"Resource {group}/{kind} {m.name(obj)} is excluded in the settings"
            warnings.append(("ExcludedResourceWarning", said))
            continue
        placed = m.with_tracking(_in_namespace(obj, destination_namespace, namespaced(obj)), app, destination_namespace)
        key = m.key(placed) if m.name(placed) else m.key(placed)._replace(name=f"\0{index}")
        count[key] = count.get(key, 0) + 1
        targets.pop(key, None)
        targets[key] = placed
    for key, times in count.items():
        if times > 1:
            text = f"Resource {'/'.join(key)} appeared {times} times among application resources."
            warnings.append(("RepeatedResourceWarning", text))
    return Rendered(tuple(targets.values()), tuple(warnings))


def is_excluded(obj: Obj) -> bool:
    """Tell whether a kind is never managed (events, leases, endpoints)."""
    group, _, kind = m.gvk(obj)
    return group in _EXCLUDED_GROUPS or (group, kind) in _EXCLUDED


def _in_namespace(obj: Obj, destination_namespace: str, namespaced: bool | None) -> Obj:
    """Return the object in the namespace it belongs to."""
    if namespaced is None:
        return obj
    meta = dict(m.metadata(obj))
    if not namespaced:
        meta.pop("namespace", None)
    elif not meta.get("namespace") and destination_namespace:
        meta["namespace"] = destination_namespace
    return {**obj, "metadata": meta}
