"""What does an object look like after a patch? JSON patch, merge patch and (from ``strategic``) strategic merge.

All functions are pure: the input is never changed and the result shares nothing with it.
Server-side apply is in ``apply``.
"""

from __future__ import annotations

from typing import Any

from platform_lib.embedded.copying import clone
from platform_lib.embedded.strategic import strategic_merge
from platform_lib.errors import Invalid
from platform_lib.model import Obj

__all__ = ["MAX_JSON_PATCH_OPERATIONS", "json_patch", "merge_patch", "strategic_merge"]

MAX_JSON_PATCH_OPERATIONS = 10_000
"""Kubernetes refuses longer JSON patches with 413."""


def merge_patch(obj: Obj, patch: Any) -> Obj:
    """Return the object after a JSON merge patch.

    Args:
        obj: Current object.
        patch: A map; null deletes an entry, maps merge, everything else replaces.

    Raises:
        Invalid: 400, the patch is not a map.

    Source: RFC 7396.

    Example:
        >>> merge_patch({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}})
        {'b': {'c': 2, 'd': 3}}
    """
    if not isinstance(patch, dict):
        raise _bad(f"merge patch - got {type(patch).__name__}, wanted a JSON object")
    result = clone(obj)
    _merge_into(result, patch)
    return result


def _merge_into(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            inner = target.get(key)
            if not isinstance(inner, dict):
                inner = target[key] = {}
            _merge_into(inner, value)
        else:
            target[key] = clone(value) if isinstance(value, list) else value


def json_patch(obj: Any, operations: Any) -> Any:
    """Return the object after a JSON patch.

    Args:
        obj: Current object.
        operations: List of ``{op, path, value | from}``.

    Raises:
        Invalid: 400 for a malformed patch; 422 for a path that does not exist or a failed test.

    Source: RFC 6902 and RFC 6901.
    """
    if not isinstance(operations, list):
        raise _bad(f"JSON patch - got {type(operations).__name__}, wanted a list of operations")
    if len(operations) > MAX_JSON_PATCH_OPERATIONS:
        raise Invalid(
            f"The allowed maximum operations in a JSON patch is {MAX_JSON_PATCH_OPERATIONS}, got {len(operations)}",
            status=413,
            reason="RequestEntityTooLarge",
        )
    result = clone(obj)
    for operation in operations:
        result = _apply_operation(result, operation)
    return result


def _apply_operation(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
        raise _bad("JSON patch - an operation has no path, wanted {op, path, ...}")
    op, path = operation.get("op"), _pointer(operation["path"])
    if op in ("add", "replace", "test") and "value" not in operation:
        raise _bad(f"JSON patch - operation {op} {operation['path']} has no value")
    if op == "add":
        return _add(document, path, clone(operation["value"]))
    if op == "replace":
        return _replace(document, path, clone(operation["value"]))
    if op == "remove":
        return _remove(document, path)
    if op == "test":
        return _test(document, path, operation["value"])
    if op in ("move", "copy") and isinstance(operation.get("from"), str):
        return _transfer(document, path, _pointer(operation["from"]), move=op == "move")
    raise _bad(f"JSON patch - unexpected operation {op!r}, wanted add, remove, replace, move, copy or test")


def _transfer(document: Any, path: list[str], source: list[str], *, move: bool) -> Any:
    if move and len(path) > len(source) and path[: len(source)] == source:
        raise _bad("JSON patch - a value cannot be moved into itself")
    value = clone(_find(document, source))
    if move:
        document = _remove(document, source)
    return _add(document, path, value)


def _pointer(text: str) -> list[str]:
    """Split a JSON pointer; the empty pointer is the whole document."""
    if not text:
        return []
    if not text.startswith("/"):
        raise _bad(f"JSON patch - path {text!r} does not start with '/'")
    return [step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/")]


def _find(document: Any, path: list[str]) -> Any:
    value = document
    for step in path:
        if isinstance(value, dict):
            if step not in value:
                raise _missing(path)
            value = value[step]
        elif isinstance(value, list):
            value = value[_index(step, len(value), path)]
        else:
            raise _missing(path)
    return value


def _index(step: str, length: int, path: list[str]) -> int:
    """Read an array index that must be below ``length`` (no sign, no leading zero)."""
    if not step.isascii() or not step.isdigit() or (len(step) > 1 and step[0] == "0"):
        raise _missing(path)
    if int(step) >= length:
        raise _missing(path)
    return int(step)


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _find(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        position = len(parent) if last == "-" else _index(last, len(parent) + 1, path)
        parent.insert(position, value)
    else:
        raise _missing(path)
    return document


def _replace(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    _find(document, path)
    parent, last = _find(document, path[:-1]), path[-1]
    parent[last if isinstance(parent, dict) else int(last)] = value
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        raise _bad("JSON patch - the whole document cannot be removed")
    _find(document, path)
    parent, last = _find(document, path[:-1]), path[-1]
    del parent[last if isinstance(parent, dict) else int(last)]
    return document


def _test(document: Any, path: list[str], wanted: Any) -> Any:
    if not same(_find(document, path), wanted):
        raise Invalid(
            f"the server rejected our request due to an error in our request: testing value /{'/'.join(path)} failed",
            status=422,
            reason="Invalid",
        )
    return document


def same(left: Any, right: Any) -> bool:
    """Compare JSON values strictly: true is not 1 (as Python would have it), 1 equals 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def _bad(message: str) -> Invalid:
    return Invalid(message, status=400, reason="BadRequest")


def _missing(path: list[str]) -> Invalid:
    return Invalid(
        f"the server rejected our request due to an error in our request: JSON patch path "
        f"/{'/'.join(path)} does not exist",
        status=422,
        reason="Invalid",
    )
