"""What does an object look like after a strategic merge patch? Lists merge by key as the schema says.

Source: Kubernetes "Update API Objects in Place Using kubectl patch" and the strategic-merge-patch notes of
the API machinery group. The order of merged lists follows Kubernetes: items of the patch come first unless
``$setElementOrder`` or their place in the stored list says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from platform_lib.embedded.copying import clone
from platform_lib.errors import Invalid
from platform_lib.model import Obj

if TYPE_CHECKING:
    from platform_lib.embedded.kinds import Kind
    from platform_lib.embedded.schema import Node, Schemas

DIRECTIVE, RETAIN = "$patch", "$retainKeys"
ORDER, REMOVE = "$setElementOrder/", "$deleteFromPrimitiveList/"


def strategic_merge(obj: Obj, patch: Any, schemas: Schemas, kind: Kind) -> Obj:
    """Return the object after a strategic merge patch.

    Args:
        obj: Current object; not changed.
        patch: A map, with the directives ``$patch``, ``$retainKeys``, ``$setElementOrder/<list>`` and
            ``$deleteFromPrimitiveList/<list>``.
        schemas: Where merge keys come from.
        kind: Kind of the object.

    Raises:
        Invalid: 400 for a malformed patch; 415 for custom resources, which have no merge keys.
    """
    if kind.custom:
        raise Invalid(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            status=415,
            reason="UnsupportedMediaType",
        )
    if not isinstance(patch, dict):
        raise _bad(f"strategic merge patch - got {type(patch).__name__}, wanted a JSON object")
    return _merge_map(clone(obj), patch, schemas.node(kind))


def _merge_map(target: dict[str, Any], patch: dict[str, Any], node: Node) -> dict[str, Any]:
    """Merge a patch into a map in place and return the map to keep."""
    directive = patch.get(DIRECTIVE)
    if directive == "replace":
        return {key: _plain(value) for key, value in patch.items() if key != DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise _bad(f"Wrong value {directive!r} for $patch, wanted merge, replace or delete")
    if RETAIN in patch:
        _retain(target, patch)
    for key, value in patch.items():
        if key[0:1] != "$":
            _merge_entry(target, key, value, patch, node)
        elif key.startswith(REMOVE):
            _remove_from(target, key[len(REMOVE) :], value)
        elif key.startswith(ORDER) and key[len(ORDER) :] not in patch:
            _reorder(target, key[len(ORDER) :], value, node)
        elif key not in (DIRECTIVE, RETAIN) and not key.startswith(ORDER):
            target[key] = clone(value)
    return target


def _retain(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """Drop what the patch does not list, such as rollingUpdate when the type becomes Recreate."""
    keep = patch[RETAIN]
    if not isinstance(keep, list):
        raise _bad("$retainKeys - wanted a list of field names")
    named = {key for key, value in patch.items() if key[0:1] != "$" and value is not None}
    if named - set(keep):
        raise _bad("$retainKeys - the list must contain every field of the patch beside it")
    for key in [key for key in target if key not in keep]:
        del target[key]


def _merge_entry(target: dict[str, Any], key: str, value: Any, patch: dict[str, Any], node: Node) -> None:
    if value is None:
        target.pop(key, None)
        return
    old = target.get(key)
    below = node.child(key)
    if isinstance(value, dict):
        if isinstance(old, dict) and "replace" not in below.strategies:
            target[key] = _merge_map(old, value, below)
        else:
            target[key] = _plain(value)
    elif isinstance(value, list) and "merge" in below.strategies:
        target[key] = _merge_list(old if isinstance(old, list) else [], value, below, patch.get(ORDER + key))
    else:
        target[key] = _plain(value)


def _merge_list(old: list[Any], patch: list[Any], node: Node, order: Any) -> list[Any]:
    if any(_directive(item) == "replace" for item in patch):
        return [_plain(item) for item in patch if _directive(item) != "replace"]
    merged = _merge_keyed(old, patch, node) if node.merge_key else _united(old, patch)
    wanted = patch if order is None else _checked_list(order, ORDER)
    return _ordered(merged, wanted, old, node.merge_key)


def _merge_keyed(old: list[Any], patch: list[Any], node: Node) -> list[Any]:
    """Merge items that have the same merge key; ``$patch: delete`` items remove theirs."""
    by_key = {_key(item, node.merge_key): item for item in old}
    for item in patch:
        key = _key(item, node.merge_key)
        if item.get(DIRECTIVE) == "delete":
            by_key.pop(key, None)
        elif key in by_key and node.item is not None:
            by_key[key] = _merge_map(dict(by_key[key]), item, node.item)
        else:
            by_key[key] = _plain(item)
    return list(by_key.values())


def _directive(item: Any) -> Any:
    if not isinstance(item, dict):
        return None
    return item.get(DIRECTIVE)


def _united(old: list[Any], patch: list[Any]) -> list[Any]:
    """Join lists of plain values, each value once."""
    return list(dict.fromkeys(_checked_scalar(item) for item in [*old, *patch]))


def _key(item: Any, merge_key: str) -> Any:
    if not isinstance(item, dict):
        raise _bad(f"strategic merge patch - list item is {type(item).__name__}, wanted an object")
    if merge_key not in item:
        raise _bad(f"map: {item} does not contain declared merge key: {merge_key}")
    return _checked_scalar(item[merge_key])


def _checked_scalar(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        raise _bad(f"strategic merge patch - got {type(value).__name__}, wanted a plain value in {value}")
    return value


def _checked_list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _bad(f"strategic merge patch - {where} holds {type(value).__name__}, wanted a list")
    return value


def _ordered(merged: list[Any], wanted: list[Any], old: list[Any], merge_key: str) -> list[Any]:
    """Sort: wanted items in wanted order; others keep their stored order relative to them."""
    rank = _positions(wanted, merge_key)
    stored = _positions(old, merge_key)
    chosen = sorted(
        (i for i in merged if _identity(i, merge_key) in rank), key=lambda item: rank[_identity(item, merge_key)]
    )
    others = sorted(
        (i for i in merged if _identity(i, merge_key) not in rank),
        key=lambda item: stored.get(_identity(item, merge_key), 0),
    )
    result: list[Any] = []
    while chosen and others:
        first = stored.get(_identity(others[0], merge_key))
        second = stored.get(_identity(chosen[0], merge_key))
        before = first is not None and second is not None and first < second
        result.append((others if before else chosen).pop(0))
    return result + chosen + others


def _positions(items: list[Any], merge_key: str) -> dict[Any, int]:
    return {_identity(item, merge_key): index for index, item in enumerate(items)}


def _identity(item: Any, merge_key: str) -> Any:
    return _checked_scalar(item.get(merge_key) if merge_key and isinstance(item, dict) else item)


def _remove_from(target: dict[str, Any], key: str, values: Any) -> None:
    old = target.get(key)
    if isinstance(old, list):
        gone = {_checked_scalar(value) for value in _checked_list(values, REMOVE)}
        target[key] = [item for item in old if item not in gone]


def _reorder(target: dict[str, Any], key: str, order: Any, node: Node) -> None:
    """Apply an order to a list that the patch does not change otherwise."""
    old = target.get(key)
    if isinstance(old, list):
        target[key] = _ordered(old, _checked_list(order, ORDER), old, node.child(key).merge_key)


def _plain(value: Any) -> Any:
    """Copy a value of the patch without directives, null entries and items marked for deletion."""
    if isinstance(value, dict):
        if value.get(DIRECTIVE) == "delete":
            return {}
        return {k: _plain(v) for k, v in value.items() if v is not None and k[0:1] != "$"}
    if isinstance(value, list):
        return [_plain(item) for item in value if _directive(item) not in ("delete", "replace")]
    return value


def _bad(message: str) -> Invalid:
    return Invalid(message, status=400, reason="BadRequest")
