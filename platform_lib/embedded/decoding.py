"""What does reading a body strictly find, and what does Kubernetes make of it? Pure walks over a schema.

Source: Go's ``encoding/json`` and ``sigs.k8s.io/json`` (their messages are what kubectl prints).
"""

from __future__ import annotations

import re
from typing import Any

from platform_lib.embedded.fielderrors import FieldError
from platform_lib.embedded.quantity import canonical_quantity, parse_quantity
from platform_lib.embedded.schematypes import ANY, Node


def find_unknown(node: Node, value: Any, path: str, found: list[str]) -> None:
    """Collect ``unknown field "path"`` texts, in the order of the body."""
    if node.type == "any" or value is None:
        return
    if isinstance(value, dict):
        fields, values = node.fields, node.values
        for key, item in value.items():
            below = fields.get(key) if fields is not None else None
            if below is not None:
                find_unknown(below, item, f"{path}.{key}" if path else key, found)
            elif values is not None:
                find_unknown(values, item, f"{path}.{key}", found)
            elif fields is not None and not node.preserve:
                found.append(f'unknown field "{path}.{key}"' if path else f'unknown field "{key}"')
    elif isinstance(value, list) and node.item is not None:
        for index, item in enumerate(value):
            find_unknown(node.item, item, f"{path}[{index}]", found)


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "int-or-string": (int, str),
    "quantity": (int, float, str),
}
_JSON_NAMES = {dict: "object", list: "array", str: "string", int: "number", float: "number", bool: "bool"}
_INTEGER_LIMITS = {"int32": 2**31, "int64": 2**63}
_TIME_FORM = re.compile(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")


def find_wrong_type(node: Node, value: Any, path: str, dotted: str, owner: str) -> FieldError | None:
    """Return the first value of a wrong type; ``dotted`` is the path without positions, as Go prints it."""
    if value is None or node.type == "any":
        return None
    wanted = _PYTHON_TYPES[node.type]
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        return _mismatch(node, value, path, dotted, owner)
    if isinstance(value, dict):
        return _wrong_in_map(node, value, path, dotted, owner)
    if isinstance(value, list):
        return _wrong_in_list(node.item or ANY, value, path, dotted, owner)
    if node.format or node.type == "quantity":
        return _bad_scalar(node, value, path, dotted, owner)
    return None


def _wrong_in_map(node: Node, value: dict[str, Any], path: str, dotted: str, owner: str) -> FieldError | None:
    struct = _struct(node, owner)
    for key, item in value.items():
        place = f"{path}.{key}" if path else key
        wrong = find_wrong_type(node.child(key), item, place, f"{dotted}.{key}", struct)
        if wrong:
            return wrong
    return None


def _wrong_in_list(item_node: Node, value: list[Any], path: str, dotted: str, owner: str) -> FieldError | None:
    for index, item in enumerate(value):
        place = f"{path}[{index}]"
        if item is None and item_node.type == "object":
            return _mismatch(item_node, item, place, dotted, owner)
        wrong = find_wrong_type(item_node, item, place, dotted, owner)
        if wrong:
            return wrong
    return None


def _struct(node: Node, owner: str) -> str:
    return node.name.rsplit(".", 1)[-1] if node.name else owner


def _mismatch(node: Node, value: Any, path: str, dotted: str, owner: str) -> FieldError:
    seen = _JSON_NAMES.get(type(value), "null")
    return FieldError(
        path,
        "FieldValueTypeInvalid",
        f"json: cannot unmarshal {seen} into Go struct field {owner}{dotted} of type {_go_type(node)}",
    )


def _bad_scalar(node: Node, value: Any, path: str, dotted: str, owner: str) -> FieldError | None:
    limit = _INTEGER_LIMITS.get(node.format)
    if limit and isinstance(value, int) and not -limit <= value < limit:
        text = f"json: cannot unmarshal number {value} into Go struct field {owner}{dotted} of type {node.format}"
        return FieldError(path, "FieldValueTypeInvalid", text)
    if node.type == "quantity" and not _is_quantity(value):
        return FieldError(
            path,
            "FieldValueTypeInvalid",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        )
    if node.format == "date-time" and value and not _TIME_FORM.match(value):
        text = f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse'
        return FieldError(path, "FieldValueTypeInvalid", text)
    return None


def _is_quantity(value: Any) -> bool:
    try:
        parse_quantity(value)
    except ValueError:
        return False
    return True


def _go_type(node: Node) -> str:
    if node.type == "array":
        return f"[]{_go_type(node.item or ANY)}"
    if node.type == "object":
        return node.name or f"map[string]{_go_type(node.values) if node.values else 'interface {}'}"
    return {"boolean": "bool", "integer": node.format or "int64", "number": "float64"}.get(node.type, "string")


def prune(node: Node, value: Any) -> None:
    """Tidy a value in place, as decoding into Go's types and encoding again would."""
    if isinstance(value, list):
        _prune_list(node, value)
    elif isinstance(value, dict) and node.type != "any":
        _prune_map(node, value)


def _prune_list(node: Node, value: list[Any]) -> None:
    item_node = node.item
    if item_node is None or item_node.type not in ("object", "array"):
        return
    if None in value and item_node.type == "object":
        value[:] = [{} if item is None else item for item in value]
    for item in value:
        prune(item_node, item)


def _prune_map(node: Node, value: dict[str, Any]) -> None:
    closed = node.fields if node.values is None and not node.preserve else None
    for key in list(value):
        item = value[key]
        if item is None or (closed is not None and key not in closed):
            del value[key]
            continue
        below = node.child(key)
        if isinstance(item, (dict, list)):
            prune(below, item)
            if not item and key not in node.required and _omitted_when_empty(below):
                del value[key]
        elif below.type == "quantity":
            value[key] = canonical_quantity(item)


def _omitted_when_empty(node: Node) -> bool:
    """Go leaves empty lists and maps out; an empty object (``emptyDir: {}``) is a statement and stays."""
    return node.type == "array" or (node.type == "object" and node.values is not None)
