"""Which fields does a value have, and how are sets of fields joined and parted? The arithmetic of fieldsV1.

A set is the nested map that ``metadata.managedFields[].fieldsV1`` carries: ``f:name`` is a field,
``k:{"name":"x"}`` an item of a keyed list, ``v:"x"`` an item of a set. An empty map is an owned place;
``.`` marks an owned place that has owned places below it. The empty map at the top means no field at all.

Source: sigs.k8s.io/structured-merge-diff, package ``fieldpath``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from platform_lib.embedded.schematypes import ANY, Node

FieldSet = dict[str, Any]
SELF = "."
MISSING: Any = object()

_KEY_DEFAULTS = {"protocol": "TCP"}
"""Keys of list items that the API server fills in; identity has to hold before and after."""


def granular(node: Node, value: Any) -> bool:
    """Tell whether parts of a value can have owners of their own."""
    if isinstance(value, dict):
        return not node.atomic and node.type in ("object", "any")
    return isinstance(value, list) and node.list_type in ("map", "set")


def item_key(node: Node, item: Any) -> str:
    """Return the path element of a list item."""
    if node.list_type == "set" or not isinstance(item, dict):
        return "v:" + orjson.dumps(item).decode()
    keys = {name: item.get(name, _KEY_DEFAULTS.get(name)) for name in node.list_keys}
    known = {name: value for name, value in keys.items() if value is not None}
    return "k:" + orjson.dumps(known, option=orjson.OPT_SORT_KEYS).decode()


def entries(node: Node, value: Any) -> Iterator[tuple[str, Node, Any]]:
    """Yield (path element, schema, value) of the parts of a granular value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"f:{key}", node.child(key), item
    else:
        for item in value:
            yield item_key(node, item), node.item or ANY, item


def field_set(node: Node, value: Any) -> FieldSet:
    """Return all fields that a value sets."""
    found: FieldSet = {}
    if not granular(node, value):
        return found
    for element, below, item in entries(node, value):
        inner = field_set(below, item)
        if inner and _owned_itself(node, element):
            inner[SELF] = {}
        if inner or not granular(below, item) or item == {} or _owned_itself(node, element):
            found[element] = inner
    return found


def _owned_itself(node: Node, element: str) -> bool:
    """List items and map entries are owned as such; declared fields only through what is below them."""
    return element[0] != "f" or node.fields is None or element[2:] not in node.fields


def is_member(fields: FieldSet) -> bool:
    """Tell whether the place itself is owned (not for the top of a set)."""
    return not fields or SELF in fields


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Return the places that are in one of two sets."""
    if not left or not right:
        return left or right
    return _union(left, right)


def _union(left: FieldSet, right: FieldSet) -> FieldSet:
    joined = {
        key: _union(left[key], right[key]) if key in left and key in right else left.get(key, right.get(key))
        for key in {**left, **right}
        if key != SELF
    }
    if joined and (is_member(left) or is_member(right)):
        joined[SELF] = {}
    return joined


def subtract(left: FieldSet, right: FieldSet) -> FieldSet:
    """Return the places of ``left`` that are not in ``right``."""
    rest = {}
    for key, inner in left.items():
        kept = _subtract(inner, right[key]) if key in right else inner
        if kept is not None:
            rest[key] = kept
    return rest


def _subtract(left: FieldSet, right: FieldSet) -> FieldSet | None:
    rest: FieldSet = {}
    for key, inner in left.items():
        if key == SELF:
            continue
        kept = _subtract(inner, right[key]) if key in right else inner
        if kept is not None:
            rest[key] = kept
    stays = is_member(left) and not is_member(right)
    if not rest:
        return {} if stays else None
    if stays:
        rest[SELF] = {}
    return rest


def lookup(value: Any, element: str) -> Any:
    """Return the part of a value that a path element names, or ``MISSING``."""
    kind, text = element[0], element[2:]
    if kind == "f":
        return value.get(text, MISSING) if isinstance(value, dict) else MISSING
    if not isinstance(value, list):
        return MISSING
    position = find_item(value, element)
    return MISSING if position is None else value[position]


def find_item(items: list[Any], element: str) -> int | None:
    """Return the position of the list item that a path element (``k:`` or ``v:``) names."""
    wanted = orjson.loads(element[2:])
    for position, item in enumerate(items):
        if element[0] == "v":
            if item == wanted:
                return position
        elif isinstance(item, dict) and all(
            item.get(key, _KEY_DEFAULTS.get(key)) == value for key, value in wanted.items()
        ):
            return position
    return None


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """Yield the owned places as Kubernetes prints them: ``.spec.containers[name="web"].image``."""
    for key in sorted(fields):
        if key == SELF:
            continue
        place = prefix + _shown(key)
        if is_member(fields[key]):
            yield place
        yield from paths(fields[key], place)


def _shown(element: str) -> str:
    kind, text = element[0], element[2:]
    if kind == "f":
        return f".{text}"
    if kind == "v":
        return f"[={text}]"
    keys = orjson.loads(text)
    return "[" + ",".join(f"{name}={orjson.dumps(keys[name]).decode()}" for name in sorted(keys)) + "]"


def differing(mine: FieldSet, theirs: FieldSet, old: Any, new: Any) -> FieldSet:
    """Return the places in both sets whose value differs between two objects."""
    found: FieldSet = {}
    for key, inner in mine.items():
        if key == SELF or key not in theirs:
            continue
        before, after = lookup(old, key), lookup(new, key)
        if inner.keys() - {SELF} and theirs[key].keys() - {SELF}:
            below = differing(inner, theirs[key], before, after)
            if below:
                found[key] = below
        elif not _is_container(inner, theirs[key]) and before != after:
            found[key] = {}
    return found


def _is_container(mine: FieldSet, theirs: FieldSet) -> bool:
    """One side owns only the place, the other owns parts of it: its existence is no value to fight for."""
    return bool(mine) != bool(theirs)


def changes(node: Node, old: Any, new: Any) -> tuple[FieldSet, FieldSet]:
    """Return (places added or changed, places removed) from an old to a new value."""
    before = {element: item for element, _, item in entries(node, old)}
    touched: FieldSet = {}
    removed: FieldSet = {}
    for element, below, item in entries(node, new):
        earlier = before.pop(element, MISSING)
        if earlier is MISSING:
            touched[element] = _with_self(node, element, field_set(below, item))
        elif granular(below, item) and granular(below, earlier):
            _collect(touched, removed, element, changes(below, earlier, item))
        elif earlier != item:
            touched[element] = {}
    for element, below, item in entries(node, old):
        if element in before:
            removed[element] = _with_self(node, element, field_set(below, item))
    return touched, removed


def _with_self(node: Node, element: str, inner: FieldSet) -> FieldSet:
    if inner and _owned_itself(node, element):
        inner[SELF] = {}
    return inner


def _collect(touched: FieldSet, removed: FieldSet, element: str, below: tuple[FieldSet, FieldSet]) -> None:
    for target, inner in zip((touched, removed), below, strict=True):
        if inner:
            target[element] = inner
