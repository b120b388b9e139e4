"""Which fields of two objects differ, and does a difference mean anything? Pure.

An object is compared as Argo CD compares it: without status, bookkeeping and tracking. List items are paired by what
identifies them. Who manages a field is told by ``rules.ownership``, why two values differ by ``rules.falsediff``.

Source: Argo CD v3.5.1, normalisation before the diff; server-side diff of its documentation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.ownership import Item, Owner, Path, Step, jq_path, pointer

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
INSTANCE_LABEL = "app.kubernetes.io/instance"
_VOLATILE = frozenset(
    {"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink", "deletionTimestamp"}
)
_ANNOTATIONS = frozenset(
    {
        LAST_APPLIED,
        manifests.TRACKING_ANNOTATION,
        "argocd.argoproj.io/installation-id",
        "deployment.kubernetes.io/revision",
    }
)
_KEYS = (
    ("name",),
    ("containerPort", "protocol"),
    ("port", "protocol"),
    ("mountPath",),
    ("devicePath",),
    ("topologyKey", "whenUnsatisfiable"),
    ("ip",),
    ("type",),
    ("key",),
    ("uid",),
)
"""What identifies an item of the lists that Kubernetes merges by key; the first that all items have is taken."""
_DEFAULTS = {"protocol": "TCP"}


class _Absent:
    """The value of a field that is not there; one object, which reads as ``absent``."""

    def __repr__(self) -> str:
        return "absent"

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()


class Difference(NamedTuple):
    """One field; ``live`` or ``wanted`` is ``ABSENT`` where it is not set."""

    path: Path
    live: Any
    wanted: Any


def normalised(obj: Obj) -> Obj:
    """Return an object without what nobody declares: status, bookkeeping, tracking, and empty metadata."""
    meta = {name: value for name, value in manifests.metadata(obj).items() if name not in _VOLATILE}
    for field, dropped in (("annotations", _ANNOTATIONS), ("labels", frozenset[str]())):
        kept = {name: value for name, value in (meta.get(field) or {}).items() if name not in dropped}
        meta.pop(field, None)
        meta |= {field: kept} if kept else {}
    meta = {name: value for name, value in meta.items() if value not in ({}, [], None)}
    plain = {name: value for name, value in obj.items() if name != "status" and value is not None}
    if plain.get("rules") == []:
        plain.pop("rules")
    return {**plain, "metadata": meta}


def differences(live: Any, wanted: Any, path: Path = ()) -> Iterator[Difference]:
    """Yield the fields in which two values differ, as deep as both are maps or lists of identified items.

    Args:
        live: What is there.
        wanted: What shall be there.
        path: Where the values stand; for the recursion.
    """
    if isinstance(live, Mapping) and isinstance(wanted, Mapping):
        for name in [*live, *(name for name in wanted if name not in live)]:
            yield from differences(live.get(name, ABSENT), wanted.get(name, ABSENT), (*path, str(name)))
    elif isinstance(live, list) and isinstance(wanted, list):
        yield from _of_lists(live, wanted, path)
    elif not equal(live, wanted):
        yield Difference(path, live, wanted)


def declared(live: Any, target: Any) -> Iterator[Difference]:
    """Yield the differences in fields that a manifest declares; what only the live object has does not count."""
    return (found for found in differences(live, target) if found.wanted is not ABSENT)


def equal(one: Any, other: Any) -> bool:
    """Compare as JSON does: ``1`` equals ``1.0`` and is not ``true``."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    return bool(one == other)


def _of_lists(live: list[Any], wanted: list[Any], path: Path) -> Iterator[Difference]:
    """Compare lists: item by item where something identifies them, else by position."""
    names = identifying(live, wanted)
    if not names:
        if len(live) != len(wanted) or not all(isinstance(item, Mapping) for item in [*live, *wanted]):
            if not equal(live, wanted):
                yield Difference(path, live, wanted)
            return
        for position, (one, other) in enumerate(zip(live, wanted, strict=True)):
            yield from differences(one, other, (*path, Item(position)))
        return
    ours, theirs = _by_key(live, names), _by_key(wanted, names)
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        position = (ours.get(key) or theirs[key])[0]
        step = Item(position, tuple(zip(names, key, strict=True)))
        nothing = (0, ABSENT)
        yield from differences(ours.get(key, nothing)[1], theirs.get(key, nothing)[1], (*path, step))


def identifying(*lists: Sequence[Any]) -> tuple[str, ...]:
    """Return the fields that identify the items of all lists; empty where nothing does."""
    items = [item for one in lists for item in one]
    if not items or not all(isinstance(item, Mapping) for item in items):
        return ()
    for names in _KEYS:
        keyed = [[_key_of(item, names) for item in one] for one in lists]
        known = all(names[0] in item and all(map(_plain, _key_of(item, names))) for item in items)
        if known and all(len(set(map(repr, keys))) == len(keys) for keys in keyed):
            return names
    return ()


def _key_of(item: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Any, ...]:
    """Return what identifies an item."""
    return tuple(item.get(name, _DEFAULTS.get(name)) for name in names)


def _plain(value: Any) -> bool:
    """Tell whether a value can identify something."""
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _by_key(items: list[Any], names: tuple[str, ...]) -> dict[tuple[Any, ...], tuple[int, Any]]:
    """Index items by what identifies them, with their position."""
    return {_key_of(item, names): (position, item) for position, item in enumerate(items)}


def rules_for(application: Obj, key: manifests.ObjectKey) -> list[dict[str, Any]]:
    """Return the ``ignoreDifferences`` of an Application that are about one object.

    Source: Argo CD v3.5.1: group and kind are globs, an empty name or namespace is any.
    """
    found = []
    for rule in manifests.spec(application).get("ignoreDifferences") or []:
        fits = fnmatchcase(key.group, str(rule.get("group") or "")) and fnmatchcase(
            key.kind, str(rule.get("kind") or "")
        )
        place = rule.get("name") in (None, "", key.name) and rule.get("namespace") in (None, "", key.namespace)
        if fits and place:
            found.append(rule)
    return found


def ignored_by(found: Difference, rules: Sequence[Mapping[str, Any]], owners: Sequence[Owner]) -> str:
    """Say which rule excludes a difference; empty when none does.

    Args:
        found: The difference.
        rules: What ``rules_for`` returned.
        owners: Who manages the live field.

    jq expressions are understood as far as they name paths: ``.a.b``, ``[]``, ``[0]`` and ``select(.x == "y")``.
    """
    for rule in rules:
        for text in rule.get("jsonPointers") or []:
            if pointer(found.path) == text or pointer(found.path).startswith(f"{text}/"):
                return f"jsonPointers {text}"
        for text in rule.get("jqPathExpressions") or []:
            if _jq_names(str(text), found.path):
                return f"jqPathExpressions {text}"
        for manager in rule.get("managedFieldsManagers") or []:
            if any(owner.manager == manager for owner in owners):
                return f"managedFieldsManagers {manager}"
    return ""


def unread(rules: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the jq expressions that name no plain path; Argo CD may ignore more than is known here."""
    texts = [str(text) for rule in rules for text in rule.get("jqPathExpressions") or []]
    return [text for text in texts if not _PLAIN_JQ.fullmatch(_squeezed(text))]


_PLAIN_JQ = re.compile(r'(\.?\["[^"]+"\]|\.?\[\d*\]|\|?select\([^()|]+\)\|?|\.[\w-]+|\."[^"]+")+')


def _squeezed(text: str) -> str:
    """Return a jq expression without white space outside of its texts."""
    return re.sub(r'("[^"]*")|\s+', lambda found: found.group(1) or "", text)


def _jq_names(text: str, path: Path) -> bool:
    """Tell whether a jq path names a field or something that it is part of."""
    pattern, squeezed = "", _squeezed(text)
    for step in path:
        pattern += _jq_step(step)
        if re.fullmatch(pattern, squeezed):
            return True
    return False


def _jq_step(step: Step) -> str:
    """Return a pattern for the ways to write one step in jq."""
    if isinstance(step, str):
        name = re.escape(step)
        return rf'\|?(?:\.{name}|\.?\["{name}"\]|\."{name}")'
    tests = "and".join(_squeezed(f".{name}=={json.dumps(value)}") for name, value in step.key)
    selected = rf"\|select\({re.escape(tests)}\)" if tests else "(?!)"
    return rf"(?:\.?\[{step.position}\]|\.?\[\](?:{selected})?)"


def entry(key: manifests.ObjectKey, path: Path, *, manager: str = "") -> dict[str, Any]:
    """Return an ``ignoreDifferences`` entry, ready for the Application.

    Args:
        key: The object.
        path: The field.
        manager: Ignore whatever this manager owns, instead of one field.
    """
    found: dict[str, Any] = {"group": key.group} if key.group else {}
    found |= {"kind": key.kind, "name": key.name}
    if manager:
        return found | {"managedFieldsManagers": [manager]}
    keyed = any(isinstance(step, Item) for step in path)
    return found | ({"jqPathExpressions": [jq_path(path)]} if keyed else {"jsonPointers": [pointer(path)]})
