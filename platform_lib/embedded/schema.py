"""What shape has an object of a kind? Types, merge keys and list keys, and the strict reading of bodies.

``Schemas`` holds the built-in types (from the cache file of ``schemacache``) and those of CRDs. It answers:
which fields are unknown, which have a wrong type, how lists merge. Rules beyond the shape are in
``validate``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from platform_lib.embedded import argocd_schema
from platform_lib.embedded.decoding import find_unknown, find_wrong_type, prune
from platform_lib.embedded.fielderrors import FieldError
from platform_lib.embedded.kinds import Kind
from platform_lib.embedded.schemacache import META, build_cache, cache_name
from platform_lib.embedded.schematypes import ANY, STRING, Node, custom_node, go_name, read_settings
from platform_lib.embedded.validate import validate
from platform_lib.model import Obj

__all__ = ["FieldError", "Node", "Schemas", "build_cache", "cache_name"]


class Schemas:
    """All types the API server knows."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.version: str = document["version"]
        self._gvk: dict[str, str] = document["gvk"]
        self._raw: dict[str, Any] = document["types"]
        self._types: dict[str, Node] = {}
        self._kinds: dict[str, Node] = {}
        for gvk, body in argocd_schema.BODIES.items():
            self._kinds[gvk] = self._custom_root(body)

    @classmethod
    def load(cls, path: Path) -> Schemas:
        """Read the cache file; derive it first when it is not there.

        Args:
            path: The cache file, usually ``cache_dir / cache_name()``.

        Raises:
            ToolMissing: Neither the file nor the package to derive it from is there.
        """
        if not path.is_file():
            build_cache(path)
        return cls(orjson.loads(path.read_bytes()))

    def node(self, kind: Kind) -> Node:
        """Return the schema of a kind; ``ANY`` when none is known."""
        return self.node_of(f"{kind.api_version}/{kind.kind}")

    def node_of(self, gvk: str) -> Node:
        """Return the schema of ``apiVersion/Kind``; ``ANY`` when none is known."""
        known = self._kinds.get(gvk)
        if known is None:
            name = self._gvk.get(gvk)
            known = self._kinds[gvk] = self.type(name) if name else ANY
        return known

    def type(self, name: str) -> Node:
        """Return a built-in type by name (``api.core.v1.Pod``), compiled on first use."""
        known = self._types.get(name)
        if known is None:
            body = self._raw.pop(name)
            known = self._types[name] = Node(body.get("t", "any"), go_name(name))
            self._fill(known, body)
        return known

    def add_crd(self, crd: Obj) -> None:
        """Learn the types of a CustomResourceDefinition (each version), replacing earlier ones."""
        spec = crd["spec"]
        for version in spec.get("versions") or ():
            body = (version.get("schema") or {}).get("openAPIV3Schema") or {}
            gvk = f"{spec['group']}/{version['name']}/{spec['names']['kind']}"
            self._kinds[gvk] = self._custom_root(body)

    def remove_crd(self, crd: Obj) -> None:
        """Forget the types of a deleted CustomResourceDefinition."""
        spec = crd["spec"]
        for version in spec.get("versions") or ():
            self._kinds.pop(f"{spec['group']}/{version['name']}/{spec['names']['kind']}", None)

    def unknown_fields(self, kind: Kind, obj: Obj) -> list[str]:
        """Return the strict decoding errors of a body, as kubectl shows them.

        Returns:
            Texts like ``unknown field "spec.bogus"``, in the order of the body; empty when all is known.
        """
        found: list[str] = []
        find_unknown(self.node(kind), obj, "", found)
        return found

    def type_error(self, kind: Kind, obj: Obj) -> FieldError | None:
        """Return the first value of a wrong type, or None.

        The message is Go's: ``json: cannot unmarshal string into Go struct field
        DeploymentSpec.spec.replicas of type int32``.
        """
        return find_wrong_type(self.node(kind), obj, "", "", kind.kind)

    def prune(self, kind: Kind, obj: Obj) -> None:
        """Make a body what decoding and encoding by Kubernetes would make of it, in place.

        Nulls, unknown fields and empty optional lists and maps disappear; quantities become canonical
        (``0.5`` -> ``500m``). Templates written by clients and by Go then compare equal.
        """
        prune(self.node(kind), obj)

    def errors(self, kind: Kind, obj: Obj, old: Obj | None = None) -> list[FieldError]:
        """Return everything Kubernetes would refuse in an object, after defaults were applied.

        Args:
            kind: Kind of the object.
            obj: The new object.
            old: The stored object, for the rules about fields that may not change.
        """
        wrong = self.type_error(kind, obj)
        return [wrong] if wrong else validate(kind, obj, old, self.node(kind))

    def _custom_root(self, body: dict[str, Any]) -> Node:
        node = custom_node(body)
        node.type = "object"
        node.fields = dict(node.fields or {})
        node.fields.update(apiVersion=STRING, kind=STRING, metadata=self.type(META))
        return node

    def _fill(self, node: Node, body: dict[str, Any]) -> None:
        read_settings(node, body)
        if "p" in body:
            node.fields = {}
            node.required = tuple(body.get("r", ()))
            for field, item in body["p"].items():
                node.fields[field] = self._build(item)
        if "i" in body:
            node.item = self._build(body["i"])
        if "v" in body:
            node.values = self._build(body["v"])
        if node.type == "object" and node.fields is None and node.values is None:
            node.fields = {}

    def _build(self, body: dict[str, Any]) -> Node:
        if "$" not in body:
            node = Node(body.get("t") or "any")
            self._fill(node, body)
            return node
        target = self.type(body["$"])
        if len(body) == 1 or (target.fields is None and target.type == "object"):
            return target
        node = target.copy()
        read_settings(node, body)
        return node
