"""Which fields of an object do not count as a difference? ``ignoreDifferences`` of an Application. Pure.

JSON pointers, managers of fields, and the part of jq that names paths: ``.a.b``, ``["x"]``, ``[2]``, ``[]``
and ``[] | select(.name == "x")``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any

from platform_lib.errors import ManifestError
from platform_lib.model import Obj
from platform_lib.rules import manifests as m
from platform_lib.rules.appproject import glob_matches

Path = tuple[str | int, ...]

_STEP = re.compile(
    r"""\.?\[(?P<index>\d+)\]|\.?\["(?P<quoted>[^"]+)"\]|(?P<each>\.?\[\])"""
    r"""|\s*\|\s*select\(\s*\.(?P<field>[\w.-]+)\s*==\s*"(?P<value>[^"]*)"\s*\)(?:\s*\|\s*(?=\.))?|\.(?P<name>[\w-]+)"""
)


def rules_for(app: Obj, key: m.ObjectKey) -> list[dict[str, Any]]:
    """Return the rules of an Application that are about one object."""
    found = []
    for rule in m.spec(app).get("ignoreDifferences") or []:
        if not glob_matches(str(rule.get("group") or ""), key.group):
            continue
        if not glob_matches(str(rule.get("kind") or ""), key.kind):
            continue
        if rule.get("name") in (None, "", key.name) and rule.get("namespace") in (None, "", key.namespace):
            found.append(rule)
    return found


def ignored_paths(obj: Obj, live: Obj | None, rules: Sequence[dict[str, Any]]) -> list[Path]:
    """Return the paths of an object that rules exclude.

    Args:
        obj: The object whose paths are wanted.
        live: Its live form, which knows the managers of fields.
        rules: What ``rules_for`` returned.

    Raises:
        ManifestError: A jq expression is outside of what is served.
    """
    found: list[Path] = []
    for rule in rules:
        found += [_pointer(obj, str(pointer)) for pointer in rule.get("jsonPointers") or []]
        for expression in rule.get("jqPathExpressions") or []:
            found += list(_jq(obj, str(expression)))
        managers = set(rule.get("managedFieldsManagers") or [])
        for entry in (m.metadata(live or {}).get("managedFields") or []) if managers else []:
            if entry.get("manager") in managers:
                found += list(_owned(obj, entry.get("fieldsV1") or {}, ()))
    return found


_GONE = object()


def without(obj: Obj, paths: Sequence[Path]) -> Obj:
    """Return a copy of an object without some paths."""
    if not paths:
        return obj
    result = copy.deepcopy(obj)
    for path in paths:
        parent: Any = _walk(result, path[:-1])
        last = path[-1]
        known = isinstance(parent, dict) and last in parent
        if known or (isinstance(parent, list) and isinstance(last, int) and last < len(parent)):
            parent[last] = _GONE  # marked first: removing from a list would move its later items
    swept: Obj = _swept(result)
    return swept


def _swept(value: Any) -> Any:
    """Drop what was marked."""
    if isinstance(value, dict):
        return {name: _swept(item) for name, item in value.items() if item is not _GONE}
    if isinstance(value, list):
        return [_swept(item) for item in value if item is not _GONE]
    return value


def respecting(target: Obj, live: Obj | None, rules: Sequence[dict[str, Any]]) -> Obj:
    """Return a target whose ignored fields have the live values (``RespectIgnoreDifferences=true``).

    Args:
        target: The manifest.
        live: The live object; without one the manifest decides.
        rules: What ``rules_for`` returned.
    """
    if live is None or not rules:
        return target
    kept = [path for path in ignored_paths(target, live, rules) if _walk(target, path) is not None]
    result = without(target, [path for path in kept if _walk(live, path) is None])
    result = copy.deepcopy(result)
    for path in kept:
        value, parent = _walk(live, path), _walk(result, path[:-1])
        if value is not None and parent is not None:
            parent[path[-1]] = copy.deepcopy(value)
    return result


def _walk(value: Any, path: Path) -> Any:
    """Follow a path; None where it leads nowhere."""
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def _pointer(obj: Obj, pointer: str) -> Path:
    """Read a JSON pointer against an object, so that list indexes become numbers."""
    path: list[str | int] = []
    value: Any = obj
    for raw in pointer.lstrip("/").split("/"):
        part: str | int = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and isinstance(part, str) and part.isdigit():
            part = int(part)
        path.append(part)
        value = _walk(value, (part,))
    return tuple(path)


def _jq(obj: Obj, expression: str) -> Iterator[Path]:
    """Evaluate the path part of jq."""
    paths: list[Path] = [()]
    position = 0
    text = expression.strip()
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None:
            raise ManifestError(
                f"ignoreDifferences jqPathExpression {expression!r} is not served by the embedded platform",
                hint="use jsonPointers",
            )
        paths = [longer for path in paths for longer in _extend(obj, path, step)]
        position = step.end()
    yield from (path for path in paths if path)


def _extend(obj: Obj, path: Path, step: re.Match[str]) -> Iterator[Path]:
    """Extend one path by one step of an expression."""
    if step["each"]:
        value = _walk(obj, path)
        if isinstance(value, list):
            yield from ((*path, index) for index in range(len(value)))
        elif isinstance(value, dict):
            yield from ((*path, name) for name in value)
    elif step["field"]:
        if str(_walk(obj, (*path, *step["field"].split(".")))) == step["value"]:
            yield path
    elif step["index"]:
        yield (*path, int(step["index"]))
    else:
        yield (*path, step["quoted"] or step["name"])


def _owned(value: Any, fields: dict[str, Any], path: Path) -> Iterator[Path]:
    """Return the leaves that one managedFields entry names."""
    for name, inner in fields.items():
        part = _part(value, name)
        if part is None:
            continue
        deeper = {key: item for key, item in inner.items() if key != "."} if isinstance(inner, dict) else {}
        if deeper:
            yield from _owned(_walk(value, (part,)), deeper, (*path, part))
        else:
            yield (*path, part)


def _part(value: Any, name: str) -> str | int | None:
    """Translate one key of fieldsV1 into a step of a path."""
    prefix, _, rest = name.partition(":")
    if prefix == "f":
        return rest
    if not isinstance(value, list) or prefix not in ("k", "v"):
        return None
    import json

    wanted = json.loads(rest)
    for index, item in enumerate(value):
        same = item == wanted if prefix == "v" else isinstance(item, dict) and wanted.items() <= item.items()
        if same:
            return index
    return None
