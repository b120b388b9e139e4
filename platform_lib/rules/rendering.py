"""Which objects does a folder of the desired state describe? Argo CD's directory source, as pure functions.

Helm, Kustomize and plugins need their own tools and are refused by name; reading git belongs to ``inspection``.

Source: Argo CD v3.5.1, repo-server, directory application; tool detection of its documentation.
"""

from __future__ import annotations

import base64
import posixpath
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from platform_lib.errors import InvalidInput, ManifestError
from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.appproject import glob_matches

SKIP_MARKER = "+argocd:skip-file-rendering"
_SERVED = (".yaml", ".yml", ".json")
_KUSTOMIZATIONS = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})
_EXCLUDED = frozenset(
    {("", "Event"), ("", "Endpoints"), ("discovery.k8s.io", "EndpointSlice"), ("coordination.k8s.io", "Lease")}
)


class Rendered(NamedTuple):
    """What a folder asks for: ordinary objects, hooks, and what is to be said about them."""

    targets: tuple[Obj, ...]
    hooks: tuple[Obj, ...]
    warnings: tuple[str, ...]


def source_of(application: Obj) -> dict[str, Any]:
    """Return the single git source of an Application.

    Raises:
        InvalidInput: It has several sources, a chart, or its source is hydrated.
    """
    name, spec = manifests.name(application), manifests.spec(application)
    if spec.get("sources"):
        raise InvalidInput(
            f"{name} - has {len(spec['sources'])} sources, one directory in git was expected",
            hint="several sources are rendered by Argo CD alone; see argocd app diff",
        )
    source: dict[str, Any] = spec.get("source") or {}
    if spec.get("sourceHydrator") or source.get("chart") or not source.get("repoURL"):
        what = "a hydrated source" if spec.get("sourceHydrator") else f"source {source.get('chart') or 'absent'}"
        raise InvalidInput(
            f"{name} - {what}, one directory in git was expected",
            hint="what Argo CD renders by another tool is compared by argocd app diff",
        )
    return source


def only_argocd_renders(application: Obj) -> bool:
    """Tell whether Argo CD's own tools are needed: several sources, a chart, Helm, Kustomize or a plugin."""
    spec, status = manifests.spec(application), manifests.status(application)
    kinds = {*(status.get("sourceTypes") or ()), status.get("sourceType") or "Directory"}
    several = bool(spec.get("sources") or spec.get("sourceHydrator") or (spec.get("source") or {}).get("chart"))
    return several or kinds != {"Directory"}


def tool_of(source: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return what renders a source: ``directory``, ``helm``, ``kustomize`` or ``plugin``."""
    for tool in ("helm", "kustomize", "plugin"):
        if source.get(tool):
            return tool
    present = set(names)
    if source.get("directory"):
        return "directory"
    if "Chart.yaml" in present:
        return "helm"
    return "kustomize" if present & _KUSTOMIZATIONS else "directory"


def selected(names: Iterable[str], directory: Mapping[str, Any]) -> list[str]:
    """Choose the manifests among the files of a folder, in lexical order.

    Args:
        names: Paths relative to the folder.
        directory: ``spec.source.directory``: ``recurse``, ``include``, ``exclude``.
    """
    include, exclude = str(directory.get("include") or ""), str(directory.get("exclude") or "")
    chosen = []
    for name in sorted(names):
        deep = "/" in name and not directory.get("recurse")
        if deep or not name.endswith(_SERVED) or (exclude and glob_matches(exclude, name)):
            continue
        if not include or glob_matches(include, name):
            chosen.append(name)
    return chosen


def objects_of(files: Mapping[str, str]) -> list[Obj]:
    """Read the objects of chosen files; text that was never meant to be a manifest is left out, as Argo CD does.

    Raises:
        ManifestError: A manifest cannot be read; names file and document.
    """
    found: list[Obj] = []
    for name in sorted(files):
        if SKIP_MARKER in files[name]:
            continue
        try:
            found += manifests.parse_manifests(files[name], posixpath.basename(name))
        except ManifestError:
            if name.endswith(".json") or manifests.looks_like_manifest(files[name]):
                raise
    return found


def placed(objects: Iterable[Obj], app: str, namespace: str, namespaced: Callable[[Obj], bool | None]) -> Rendered:
    """Put objects where the Application puts them: namespace, tracking, the last of equal ones.

    Args:
        objects: Parsed manifests.
        app: Name that is tracked.
        namespace: Destination, for objects that name none.
        namespaced: Whether a kind is namespaced; None where the API does not know it.
    """
    found: dict[manifests.ObjectKey, Obj] = {}
    hooks: list[Obj] = []
    warnings: list[str] = []
    for obj in objects:
        group, _, kind = manifests.gvk(obj)
        if (group, kind) in _EXCLUDED or group in ("events.k8s.io", "metrics.k8s.io"):
            warnings.append(f"{kind}/{manifests.name(obj)}: a kind that Argo CD leaves alone")
            continue
        there = _in_namespace(obj, namespace, namespaced(obj))
        if manifests.hooks(there):
            hooks.append(there)
            continue
        key = manifests.key(there)
        if key in found:
            warnings.append(f"{kind}/{key.name}: appears more than once, the last one counts")
        found[key] = manifests.with_tracking(stored(there), app, namespace)
    return Rendered(tuple(found.values()), tuple(hooks), tuple(warnings))


def _in_namespace(obj: Obj, namespace: str, namespaced: bool | None) -> Obj:
    """Return an object with the namespace it gets; one of an unknown kind stays as it is."""
    meta = dict(manifests.metadata(obj))
    if namespaced is False:
        meta.pop("namespace", None)
    elif namespaced and not meta.get("namespace"):
        meta["namespace"] = namespace
    return {**obj, "metadata": meta}


def stored(obj: Obj) -> Obj:
    """Return a Secret as the API stores it: ``stringData`` is encoded into ``data``."""
    if manifests.gvk(obj)[0::2] != ("", "Secret") or not obj.get("stringData"):
        return obj
    encoded = {name: base64.b64encode(str(text).encode()).decode() for name, text in obj["stringData"].items()}
    rest = {name: value for name, value in obj.items() if name != "stringData"}
    return rest | {"data": {**(obj.get("data") or {}), **encoded}}
