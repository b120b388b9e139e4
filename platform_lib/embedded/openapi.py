"""What does kubectl read in the OpenAPI v3 documents? Written once at set-up, served as bytes from the file.

kubectl looks for the ``fieldValidation`` parameter of an operation (then it leaves validation to the server)
and explains fields by the component schemas. The documents stay on disk until somebody asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from platform_lib.embedded.kinds import KINDS, Kind
from platform_lib.embedded.schemacache import (
    KUBERNETES_VERSION,
    META,
    PREFIX,
    build_cache,
    openapi_dir,
    reachable,
    reference,
    write_atomically,
)
from platform_lib.model import Obj

_INDEX = "index.json"
_COMPONENTS = "#/components/schemas/"


def path_of(kind: Kind) -> str:
    """Return the key of a kind's group and version in the index: ``api/v1`` or ``apis/apps/v1``."""
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.api_version}"


class OpenApi:
    """The documents of one API server.

    Args:
        cache_path: The schema cache file; its documents are in the folder beside it.
    """

    def __init__(self, cache_path: Path) -> None:
        self._folder = openapi_dir(cache_path)
        if not (self._folder / _INDEX).is_file():
            build_cache(cache_path)
        self._hashes: dict[str, str] = orjson.loads((self._folder / _INDEX).read_bytes())
        self._crds: dict[str, Obj] = {}
        self._documents: dict[str, bytes] = {}

    def set_crds(self, crds: Iterable[Obj]) -> None:
        """Replace the custom resources whose documents are served."""
        self._crds = {crd["metadata"]["name"]: crd for crd in crds}
        self._documents = _custom_documents(self._crds.values(), built_in=self._hashes)

    def index(self) -> Obj:
        """Return the answer to ``GET /openapi/v3``."""
        hashes = dict(self._hashes)
        hashes |= {path: _hash(data) for path, data in self._documents.items()}
        return {
            "paths": {
                path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={value}"}
                for path, value in sorted(hashes.items())
            }
        }

    def document(self, path: str) -> bytes | None:
        """Return the document of ``apis/apps/v1`` as JSON, or None when there is none.

        With the hash of the index in the query the answer may be cached for ever.
        """
        if path in self._documents:
            return self._documents[path]
        if path not in self._hashes:
            return None
        return (self._folder / _file_name(path)).read_bytes()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest().upper()


def _file_name(path: str) -> str:
    return path.replace("/", "_") + ".json"


def write_documents(definitions: dict[str, Any], roots: Mapping[str, str], folder: Path) -> None:
    """Write one document for each group and version of the built-in kinds, and the index of their hashes.

    Args:
        definitions: Official definitions by type name.
        roots: Type name by ``apiVersion/Kind``.
        folder: Where the files go; made when missing.
    """
    from platform_lib.embedded.argocd_schema import BODIES

    folder.mkdir(parents=True, exist_ok=True)
    groups: dict[str, list[Kind]] = {}
    for kind in KINDS:
        gvk = f"{kind.api_version}/{kind.kind}"
        if gvk in roots or gvk in BODIES:
            groups.setdefault(path_of(kind), []).append(kind)
    hashes = {}
    for path, kinds in groups.items():
        data = orjson.dumps(_document(definitions, roots, BODIES, kinds))
        write_atomically(folder / _file_name(path), data)
        hashes[path] = _hash(data)
    write_atomically(folder / _INDEX, orjson.dumps(hashes))


def _document(
    definitions: dict[str, Any], roots: Mapping[str, str], bodies: Mapping[str, Any], kinds: list[Kind]
) -> Obj:
    names = {kind: _component(kind, roots) for kind in kinds}
    types = [roots[gvk] for kind in kinds if (gvk := f"{kind.api_version}/{kind.kind}") in roots]
    schemas = {f"{PREFIX}{name}": _convert(definitions[name]) for name in sorted(reachable(definitions, types))}
    for kind in kinds:
        body = bodies.get(f"{kind.api_version}/{kind.kind}")
        if body is not None:
            schemas |= {f"{PREFIX}{n}": _convert(definitions[n]) for n in reachable(definitions, [META])}
            schemas[names[kind]] = custom_component(kind, body)
    return _wrap(schemas, _paths(names))


def _component(kind: Kind, roots: Mapping[str, str]) -> str:
    name = roots.get(f"{kind.api_version}/{kind.kind}")
    return f"{PREFIX}{name}" if name else custom_name(kind)


def _wrap(schemas: Obj, paths: Obj) -> Obj:
    info = {"title": "Kubernetes", "version": f"v{KUBERNETES_VERSION}"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def custom_name(kind: Kind) -> str:
    """Return the component name of a custom resource: ``io.argoproj.v1alpha1.Application``."""
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])


def custom_component(kind: Kind, body: Obj) -> Obj:
    """Return the component schema of a custom resource from the schema of its CRD."""
    properties = dict(body.get("properties") or {})
    properties["apiVersion"] = properties["kind"] = {"type": "string"}
    properties["metadata"] = {"$ref": f"{_COMPONENTS}{PREFIX}{META}"}
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    return {**body, "type": "object", "properties": properties, "x-kubernetes-group-version-kind": [gvk]}


def _custom_documents(crds: Iterable[Obj], built_in: Mapping[str, str]) -> dict[str, bytes]:
    """Build the documents of CRDs; a group that is built in already keeps its own."""
    from platform_lib.embedded.kinds import kind_from_crd

    parts: dict[str, tuple[Obj, Obj]] = {}
    for crd in crds:
        versions = {v["name"]: v for v in crd["spec"].get("versions") or ()}
        for kind in kind_from_crd(crd):
            if path_of(kind) in built_in:
                continue
            body = (versions[kind.version].get("schema") or {}).get("openAPIV3Schema") or {}
            schemas, paths = parts.setdefault(path_of(kind), (_metadata_component(), {}))
            schemas[custom_name(kind)] = custom_component(kind, body)
            paths |= _paths({kind: custom_name(kind)})
    return {path: orjson.dumps(_wrap(*part)) for path, part in parts.items()}


def _metadata_component() -> Obj:
    """Metadata of custom resources, only named here: its fields are explained by the built-in kinds."""
    return {f"{PREFIX}{META}": {"type": "object", "description": "Standard object metadata."}}


def _convert(body: Any) -> Any:
    """Turn an official definition into an OpenAPI v3 schema (no null types, component references)."""
    if isinstance(body, list):
        return [_convert(item) for item in body]
    if not isinstance(body, dict):
        return body
    out: Obj = {}
    for key, value in body.items():
        if key == "$ref" and isinstance(value, str):
            out["allOf"] = [{"$ref": f"{_COMPONENTS}{PREFIX}{reference(value)}"}]
        elif key == "type" and isinstance(value, list):
            out["type"] = next(name for name in value if name != "null")
        elif key == "oneOf" and _is_scalar_choice(value):
            out |= {"oneOf": [{"type": "string"}, {"type": _number_type(value)}], "format": "int-or-string"}
        else:
            out[key] = _convert(value)
    return out


def _is_scalar_choice(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item.get("type"), list) for item in value)


def _number_type(choices: list[Any]) -> str:
    names = {name for item in choices for name in item["type"]}
    return "number" if "number" in names else "integer"


def _paths(names: Mapping[Kind, str]) -> Obj:
    paths: Obj = {}
    for kind, component in names.items():
        root = f"/{path_of(kind)}"
        base = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
        gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        paths[base] = {"post": _operation("post", gvk, component)}
        if kind.stored:
            paths[base]["get"] = _operation("list", gvk, component)
            paths[f"{base}/{{name}}"] = {
                action: _operation(action, gvk, component) for action in ("get", "put", "patch", "delete")
            }
    return paths


def _operation(action: str, gvk: Obj, component: str) -> Obj:
    writes = action in ("post", "put", "patch")
    names = ("dryRun", "fieldManager", "fieldValidation") if writes else ()
    content = {"application/json": {"schema": {"$ref": f"{_COMPONENTS}{component}"}}}
    return {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk,
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names],
        "responses": {"200": {"description": "OK", "content": content}},
    }
