"""Who manages this field? Reads ``metadata.managedFields`` of a live object. Pure.

A path is a tuple of steps: a text is a field or map key, an ``Item`` is a place in a list. ``fieldsV1`` names the
same places as ``f:name``, ``k:{"name":"x"}``, ``v:"x"`` and ``i:0``.

Source: Kubernetes "Server-Side Apply"; sigs.k8s.io/structured-merge-diff, package ``fieldpath``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.workload import parse_time

ARGOCD = frozenset({"argocd-controller", "argocd-application-controller", "argocd-server"})
"""Names under which Argo CD writes: server-side apply, client-side apply, and actions of its user interface."""
_PEOPLE = ("kubectl", "k9s", "lens", "headlamp", "openshift", "rancher", "mozilla", "curl")
"""Beginnings of managers behind which a person sits; ``kubectl-edit``, ``kubectl-patch``, a browser's name."""
_ABSENT: Any = object()
_KEY_DEFAULTS = {"protocol": "TCP"}
"""Keys of list items that the API fills in."""


class Item(NamedTuple):
    """A place in a list: by what identifies the item where something does, else by its position."""

    position: int
    key: tuple[tuple[str, Any], ...] = ()


Step = str | Item
Path = tuple[Step, ...]


class Owner(NamedTuple):
    """Who wrote a field last; ``operation`` is ``Apply`` or ``Update``, ``subresource`` mostly empty."""

    manager: str
    operation: str
    subresource: str
    at: datetime | None

    def __str__(self) -> str:
        through = f" through {self.subresource}" if self.subresource else ""
        since = f" since {self.at:%Y-%m-%d %H:%M:%S}Z" if self.at else ""
        return f"{self.manager} ({self.operation}{through}){since}"

    @property
    def argocd(self) -> bool:
        """Whether it is Argo CD itself."""
        return self.manager in ARGOCD

    @property
    def person(self) -> bool:
        """Whether it is a tool that people use by hand."""
        return self.manager.lower().startswith(_PEOPLE)


def owners_of(obj: Obj, path: Path) -> tuple[Owner, ...]:
    """Return everybody who manages a field, the newest first.

    A field inside of a value that is managed as a whole (an atomic list) belongs to whoever manages that value.

    Args:
        obj: Live object, with its ``metadata.managedFields``.
        path: The field; need not exist any more.
    """
    found = [_owner(e) for e in _entries(obj) if _covers(e.get("fieldsV1") or {}, obj, path)]
    return tuple(sorted(found, key=lambda owner: (owner.at is not None, owner.at), reverse=True))


def tracked(obj: Obj) -> bool:
    """Tell whether an object says who manages its fields at all."""
    return bool(_entries(obj))


def _entries(obj: Obj) -> list[dict[str, Any]]:
    """Return the entries of managedFields."""
    return list(manifests.metadata(obj).get("managedFields") or [])


def _owner(entry: Mapping[str, Any]) -> Owner:
    """Read one entry."""
    return Owner(
        str(entry.get("manager") or "unknown"),
        str(entry.get("operation") or ""),
        str(entry.get("subresource") or ""),
        parse_time(entry.get("time")),
    )


def _covers(fields: Mapping[str, Any], obj: Any, path: Path) -> bool:
    """Tell whether a set of fields holds a path, or a part of what is there, or a whole it is part of."""
    node, value = fields, obj
    for depth, step in enumerate(path):
        if not node:
            return depth > 0  # an empty map: the value above is managed as a whole; at the top: nothing is
        below = _step(node, value, step)
        if below is None:
            return False
        node, value = below
    return bool(path)


def _step(node: Mapping[str, Any], value: Any, step: Step) -> tuple[Mapping[str, Any], Any] | None:
    """Follow one step in the set and in the value; None when the set does not name it."""
    if isinstance(step, str):
        inner = node.get(f"f:{step}")
        return None if inner is None else (inner, value.get(step) if isinstance(value, dict) else None)
    item = item_at(value, step)
    for element, inner in node.items():
        if _names(element, step, item):
            return inner, None if item is _ABSENT else item
    return None


def item_at(value: Any, step: Item) -> Any:
    """Return the item of a list that a step names; a private marker where there is none."""
    if not isinstance(value, list):
        return _ABSENT
    if step.key:
        return next((one for one in value if isinstance(one, dict) and _has(one, dict(step.key))), _ABSENT)
    return value[step.position] if step.position < len(value) else _ABSENT


def _names(element: str, step: Item, item: Any) -> bool:
    """Tell whether an element of a set (``k:``, ``v:``, ``i:``) names an item."""
    prefix, _, text = element.partition(":")
    if prefix == "i":
        return text == str(step.position)
    if prefix not in ("k", "v"):
        return False
    wanted = json.loads(text)
    if prefix == "v":
        return item is not _ABSENT and _same(item, wanted)
    return _has(dict(step.key) if item is _ABSENT else item, wanted)


def _has(item: Any, wanted: Mapping[str, Any]) -> bool:
    """Tell whether an item carries some keys."""
    if not isinstance(item, Mapping) or not wanted:
        return False
    return all(_same(item.get(name, _KEY_DEFAULTS.get(name)), value) for name, value in wanted.items())


def _same(one: Any, other: Any) -> bool:
    """Compare as JSON does: a number is no truth value."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def managed_paths(fields: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the managed places of a ``fieldsV1`` as the elements that it names.

    Args:
        fields: ``fieldsV1`` of one entry.
        path: Elements above, for the recursion.
    """
    for element, inner in fields.items():
        if element == ".":
            yield path
        elif inner:
            yield from managed_paths(inner, (*path, element))
        else:
            yield (*path, element)


def shown(path: Path) -> str:
    """Write a path for people: ``.spec.template.spec.containers[name=web].image``."""
    parts = []
    for step in path:
        if isinstance(step, Item):
            keys = ",".join(f"{name}={value}" for name, value in step.key)
            parts.append(f"[{keys or step.position}]")
        else:
            parts.append(f".{step}" if _plain(step) else f'["{step}"]')
    return "".join(parts)


def pointer(path: Path) -> str:
    """Write a path as a JSON pointer (RFC 6901); list items go by their position."""
    steps = (str(step.position) if isinstance(step, Item) else step for step in path)
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def jq_path(path: Path) -> str:
    """Write a path as jq: ``.spec.containers[] | select(.name == "web") | .image``."""
    text = ""
    for step in path:
        if isinstance(step, Item) and step.key:
            tests = " and ".join(f".{name} == {json.dumps(value)}" for name, value in step.key)
            text += f"[] | select({tests}) | "
        elif isinstance(step, Item):
            text += f"[{step.position}]"
        else:
            dot = "." if not text or text.endswith("| ") else ""
            text += f".{step}" if _plain(step) else f"{dot}[{json.dumps(step)}]"
    return text.removesuffix(" | ")


def _plain(name: str) -> bool:
    """Tell whether a name needs no quotes in a path."""
    return bool(name) and name.replace("_", "a").isalnum() and not name[0].isdigit()
