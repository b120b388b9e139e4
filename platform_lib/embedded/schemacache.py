"""How is the small schema file derived from the official JSON schemas? Run at set-up or on first use.

The package ``kubernetes-validate`` carries the schemas that Kubernetes publishes, over a megabyte with
descriptions. The platform needs the types that its own kinds reach, without prose: about a tenth of it.
Nothing of the package is copied into the repository.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from platform_lib.embedded.kinds import KINDS
from platform_lib.errors import ToolMissing

KUBERNETES_VERSION = "1.33.0"
"""Version whose schemas are served; kubectl 1.32 to 1.34 are within its supported skew."""

FORMAT = 1
"""Counts up when the layout of the cache file changes; part of its name."""

PREFIX = "io.k8s."
META = "apimachinery.pkg.apis.meta.v1.ObjectMeta"
_EXTRA_ROOTS = (
    "api.autoscaling.v1.Scale",
    "api.policy.v1.Eviction",
    "api.authentication.v1.TokenRequest",
    "apimachinery.pkg.apis.meta.v1.DeleteOptions",
    META,
)
_RAW = frozenset({"apimachinery.pkg.runtime.RawExtension", "apimachinery.pkg.apis.meta.v1.FieldsV1"})
_SHORT = {
    "x-kubernetes-patch-merge-key": "mk",
    "x-kubernetes-patch-strategy": "ps",
    "x-kubernetes-list-type": "lt",
    "x-kubernetes-list-map-keys": "lk",
    "x-kubernetes-map-type": "mt",
    "format": "f",
}


def cache_name() -> str:
    """Return the file name under which this version of the cache is kept."""
    return f"schemas-{KUBERNETES_VERSION}-{FORMAT}.json"


def read_definitions() -> dict[str, Any]:
    """Read the official definitions from the installed package, prefix ``io.k8s.`` removed.

    Raises:
        ToolMissing: The package is not installed or carries another version.
    """
    spec = importlib.util.find_spec("kubernetes_validate")
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        path = Path(place) / "kubernetes-json-schema" / f"v{KUBERNETES_VERSION}-local" / "_definitions.json"
        if path.is_file():
            definitions = orjson.loads(path.read_bytes())["$defs"]
            return {name.removeprefix(PREFIX): body for name, body in definitions.items()}
    raise ToolMissing(
        f"Kubernetes schemas - package kubernetes-validate with v{KUBERNETES_VERSION} not found, "
        "wanted once to derive the schema cache",
        hint="install the extra: pip install 'apqx[embedded]'",
    )


def build_cache(out_path: Path) -> Path:
    """Derive the trimmed schema file and the OpenAPI documents beside it; replaces what is there.

    Args:
        out_path: File to write; the OpenAPI documents go to ``<stem>.openapi/`` next to it.

    Returns:
        ``out_path``.

    Raises:
        ToolMissing: The source package is not installed.

    Source: x-kubernetes-* extensions of the Kubernetes OpenAPI documents.
    """
    from platform_lib.embedded.openapi import write_documents

    definitions = read_definitions()
    roots = _roots(definitions)
    reached = reachable(definitions, [*roots.values(), *_EXTRA_ROOTS])
    document = {
        "version": KUBERNETES_VERSION,
        "gvk": roots,
        "types": {name: _trim_type(name, definitions[name]) for name in sorted(reached)},
    }
    out_path.parent.mkdir(parents=True, exist_ok=True)
    write_documents(definitions, roots, openapi_dir(out_path))
    write_atomically(out_path, orjson.dumps(document))
    return out_path


def openapi_dir(cache_path: Path) -> Path:
    """Return the folder of the OpenAPI documents that belong to a cache file."""
    return cache_path.with_suffix(".openapi")


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside, then rename, so that a reader never sees half a file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(path)


def _roots(definitions: dict[str, Any]) -> dict[str, str]:
    """Map ``apiVersion/Kind`` of each built-in kind to its type name."""
    by_gvk: dict[tuple[str, str, str], str] = {}
    for name, body in definitions.items():
        for gvk in body.get("x-kubernetes-group-version-kind") or ():
            by_gvk.setdefault((gvk["group"], gvk["version"], gvk["kind"]), name)
    found = {}
    for kind in KINDS:
        known = by_gvk.get((kind.group, kind.version, kind.kind))
        if known is not None:
            found[f"{kind.api_version}/{kind.kind}"] = known
    return found


def reachable(definitions: dict[str, Any], roots: Iterable[str]) -> set[str]:
    """Return the names of all types that the given types refer to, themselves included."""
    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += _references(definitions[name])
    return seen


def _references(body: Any) -> Iterable[str]:
    if isinstance(body, dict):
        for key, value in body.items():
            if key == "$ref" and isinstance(value, str):
                yield reference(value)
            else:
                yield from _references(value)
    elif isinstance(body, list):
        for value in body:
            yield from _references(value)


def reference(text: str) -> str:
    """Turn ``#/$defs/io.k8s.api.core.v1.Pod`` into ``api.core.v1.Pod``."""
    return text.rsplit("/", 1)[1].removeprefix(PREFIX)


def _trim_type(name: str, body: dict[str, Any]) -> dict[str, Any]:
    trimmed = _trim(body)
    if name in _RAW or (not body.get("properties") and not trimmed.get("t")):
        return {"t": "any"}
    return trimmed


def _trim(body: dict[str, Any]) -> dict[str, Any]:
    """Keep what checks and patches need, under short keys (see ``schema.Node``)."""
    out: dict[str, Any] = {short: body[key] for key, short in _SHORT.items() if key in body}
    if isinstance(body.get("$ref"), str):
        out["$"] = reference(body["$ref"])
        return out
    out["t"] = _type_of(body)
    if "properties" in body:
        out["p"] = {name: _trim(item) for name, item in body["properties"].items()}
        if body.get("required"):
            out["r"] = body["required"]
    if isinstance(body.get("items"), dict):
        out["i"] = _trim(body["items"])
    if isinstance(body.get("additionalProperties"), dict):
        out["v"] = _trim(body["additionalProperties"])
    return out


def _type_of(body: dict[str, Any]) -> str:
    if "oneOf" in body:
        choices = {_type_of(choice) for choice in body["oneOf"]}
        return "quantity" if "number" in choices else "int-or-string"
    names = body.get("type")
    if isinstance(names, list):
        return str(next(name for name in names if name != "null"))
    return str(names) if names else ""
