"""What is known of one place in an object? The compiled form of a schema; ``schema`` builds and keeps it."""

from __future__ import annotations

from typing import Any


class Node:
    """The schema of one place in an object.

    Attributes:
        type: ``object``, ``array``, ``string``, ``integer``, ``number``, ``boolean``, ``int-or-string``,
            ``quantity`` or ``any`` (anything goes, nothing is looked at).
        name: Go type name for messages (``v1.PodSpec``).
        fields: Known fields of an object, None for maps and other types.
        values: Schema of the values of a map.
        item: Schema of list items.
        merge_key, strategies: For strategic merge patch (``merge``, ``replace``, ``retainKeys``).
        list_type, list_keys: ``atomic``, ``set`` or ``map`` with its keys, for server-side apply.
        atomic: A map or object that server-side apply replaces as a whole.
        preserve: Unknown fields are kept.
    """

    __slots__ = (
        "atomic", "choices", "default", "fields", "format", "item", "list_keys", "list_type", "merge_key",
        "name", "preserve", "required", "strategies", "type", "values",
    )  # fmt: skip

    def __init__(self, kind: str = "any", name: str = "") -> None:
        self.type = kind
        self.name = name
        self.fields: dict[str, Node] | None = None
        self.required: tuple[str, ...] = ()
        self.item: Node | None = None
        self.values: Node | None = None
        self.format = ""
        self.merge_key = ""
        self.strategies: tuple[str, ...] = ()
        self.list_type = "atomic"
        self.list_keys: tuple[str, ...] = ()
        self.atomic = False
        self.preserve = False
        self.default: Any = None
        self.choices: tuple[Any, ...] = ()

    def child(self, key: str) -> Node:
        """Return the schema below a key; ``ANY`` where nothing is known."""
        if self.fields is not None and key in self.fields:
            return self.fields[key]
        return self.values or ANY

    def copy(self) -> Node:
        """Return a node that shares the children and may carry its own list and merge settings."""
        other = Node.__new__(Node)
        for slot in Node.__slots__:
            setattr(other, slot, getattr(self, slot))
        return other


ANY = Node()
STRING = Node("string")


def read_settings(node: Node, body: dict[str, Any]) -> None:
    """Take list, map and merge settings from a trimmed schema (short keys of ``schemacache``)."""
    node.merge_key = body.get("mk", node.merge_key)
    node.strategies = tuple(body["ps"].split(",")) if "ps" in body else node.strategies
    node.list_type = body.get("lt", node.list_type)
    node.list_keys = tuple(body.get("lk", node.list_keys))
    node.atomic = body.get("mt") == "atomic" if "mt" in body else node.atomic
    node.format = body.get("f", node.format)


def go_name(name: str) -> str:
    """Turn ``api.core.v1.PodSpec`` into ``v1.PodSpec``."""
    return ".".join(name.split(".")[-2:])


def custom_node(body: dict[str, Any]) -> Node:
    """Compile a structural schema of a CRD."""
    if body.get("x-kubernetes-int-or-string"):
        return Node("int-or-string")
    node = Node(body.get("type", "any"))
    node.preserve = bool(body.get("x-kubernetes-preserve-unknown-fields"))
    node.format = body.get("format", "")
    node.default = body.get("default")
    node.choices = tuple(body.get("enum") or ())
    node.list_type = body.get("x-kubernetes-list-type", "atomic")
    node.list_keys = tuple(body.get("x-kubernetes-list-map-keys") or ())
    node.atomic = body.get("x-kubernetes-map-type") == "atomic"
    node.required = tuple(body.get("required") or ())
    if "properties" in body:
        node.fields = {name: custom_node(item) for name, item in body["properties"].items()}
    if isinstance(body.get("items"), dict):
        node.item = custom_node(body["items"])
    if isinstance(body.get("additionalProperties"), dict):
        node.values = custom_node(body["additionalProperties"])
    if node.type == "object" and node.fields is None and node.values is None:
        node.fields, node.preserve = {}, node.preserve or bool(body.get("additionalProperties"))
    if body.get("x-kubernetes-embedded-resource"):
        node.preserve = True
    return node
