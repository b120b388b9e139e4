"""What does a server-side apply make of an object, and who owns which field afterwards?

Ownership is tracked eagerly for Apply managers only. A plain update is recorded where an Apply manager would
need to know of it (``record_update``); an object that nobody applied carries no managedFields.

Source: Kubernetes "Server-Side Apply" and structured-merge-diff (merge, prune, conflict).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from platform_lib.embedded.copying import clone, drop_nulls
from platform_lib.embedded.fieldsets import (
    FieldSet,
    changes,
    differing,
    entries,
    field_set,
    find_item,
    granular,
    is_member,
    item_key,
    paths,
    subtract,
    union,
)
from platform_lib.embedded.schematypes import ANY, Node
from platform_lib.errors import Conflict, Invalid
from platform_lib.model import Obj

if TYPE_CHECKING:
    from platform_lib.embedded.kinds import Kind
    from platform_lib.embedded.schema import Schemas

_UNOWNED: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        f"f:{name}": {}
        for name in (
            "name", "namespace", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
            "selfLink", "uid", "generation", "managedFields", "resourceVersion", "generateName",
        )
    },
}  # fmt: skip
"""Identity and bookkeeping that no manager owns."""

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
CLIENT_SIDE, BEFORE_FIRST = "kubectl-client-side-apply", "before-first-apply"


class ApplyConflict(Conflict):
    """Another manager owns a field that the apply would change; ``causes`` lists each of them.

    Attributes:
        causes: ``Status.details.causes``: ``{reason, message, field}``.
    """

    causes: list[dict[str, str]]

    def __str__(self) -> str:
        return self.message


@dataclass(slots=True)
class Owner:
    """One entry of managedFields."""

    manager: str
    operation: str
    subresource: str
    api_version: str
    fields: FieldSet
    time: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes an owner distinct."""
        return self.manager, self.operation, self.subresource

    def __str__(self) -> str:
        text = orjson.dumps(self.manager).decode()
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


def server_side_apply(
    live: Obj | None,
    applied: Obj,
    *,
    manager: str,
    force: bool,
    kind: Kind,
    schemas: Schemas,
    now: datetime,
    sub: str = "",
) -> Obj:
    """Return the object after an apply, with managedFields brought up to date.

    Fields that the manager applied last time and no longer applies disappear, unless another manager owns
    them. An apply that changes nothing returns an object equal to ``live``.

    Args:
        live: Stored object, or None to create it.
        applied: What the manager wants, with apiVersion, kind and name.
        manager: Name of the field manager.
        force: Take conflicting fields from their owners.
        kind: Kind of the object.
        schemas: Where list keys come from.
        now: Time for a changed entry, aware.
        sub: Subresource the apply goes to (``status``), or empty.

    Raises:
        ApplyConflict: 409, another manager owns a field that would change, and ``force`` is False.
        Invalid: 400, a field is not declared in the schema.
    """
    node = schemas.node(kind)
    wanted = _configuration(applied, kind, schemas, sub)
    base = clone(live) if live is not None else {}
    owners = _owners(base, node, kind)
    mine = subtract(field_set(node, wanted), _UNOWNED)
    own_key = (manager, "Apply", sub)
    before = next((owner for owner in owners if owner.key == own_key), None)
    others = [owner for owner in owners if owner.key != own_key]
    merged: Obj = _merge(node, base, wanted)
    if before is not None:
        kept = mine
        for owner in others:
            kept = union(kept, owner.fields)
        _remove(merged, before.fields, kept)
    _take(mine, others, live, merged, force=force)
    time = before.time if before is not None and before.fields == mine else _stamp(now)
    entry = Owner(manager, "Apply", sub, kind.api_version, mine, time)
    _write(merged, [*others, entry])
    return merged


def record_update(
    old: Obj,
    new: Obj,
    *,
    manager: str,
    now: datetime,
    sub: str = "",
    kind: Kind | None = None,
    schemas: Schemas | None = None,
) -> None:
    """Note in ``new.metadata.managedFields`` what a plain write changed, in place.

    Changed fields become the writer's, removed ones leave every set. Does nothing for an object without
    managedFields, and for a status write where no manager owns status: those are the frequent writes, and
    nobody could conflict with them.

    Args:
        old: Object before.
        new: Object after, carrying the managedFields of before.
        manager: Field manager or user of the write.
        now: Time for a changed entry, aware.
        sub: Subresource that was written, or empty.
        kind: With ``schemas`` keyed lists are compared item by item; without it lists change as a whole.
        schemas: See ``kind``.
    """
    owners = _read(new)
    if not owners or (sub == "status" and not any("f:status" in owner.fields for owner in owners)):
        return
    node = schemas.node(kind) if kind is not None and schemas is not None else ANY
    touched, removed = (subtract(part, _UNOWNED) for part in changes(node, old, new))
    if sub != "status":
        touched.pop("f:status", None)
        removed.pop("f:status", None)
    gone = union(touched, removed)
    if not gone:
        return
    own_key = (manager, "Update", sub)
    before = next((owner for owner in owners if owner.key == own_key), None)
    for owner in owners:
        owner.fields = subtract(owner.fields, removed if owner is before else gone)
    mine = union(before.fields if before else {}, touched)
    entry = Owner(manager, "Update", sub, new.get("apiVersion", ""), mine, _stamp(now))
    _write(new, [*(owner for owner in owners if owner is not before), entry])


def _configuration(applied: Obj, kind: Kind, schemas: Schemas, sub: str) -> Obj:
    """Return the applied body as typed configuration, without what this endpoint ignores."""
    unknown = schemas.unknown_fields(kind, applied)
    if unknown:
        raise _undeclared(applied, kind, unknown)
    wanted: Obj = drop_nulls(applied)
    if sub == "status":
        wanted = {key: wanted[key] for key in ("apiVersion", "kind", "metadata", "status") if key in wanted}
    elif kind.status:
        wanted.pop("status", None)
    schemas.prune(kind, wanted)
    return wanted


def _undeclared(applied: Obj, kind: Kind, unknown: list[str]) -> Invalid:
    metadata = applied.get("metadata") or {}
    name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    places = [text.split('"')[1] for text in unknown]
    listed = ", ".join(f".{place}: field not declared in schema" for place in places)
    text = f"failed to create typed patch object ({name}; {kind.api_version}, Kind={kind.kind}): {listed}"
    return Invalid(text, status=400, reason="BadRequest")


def _merge(node: Node, live: Any, wanted: Any) -> Any:
    """Lay a configuration over a live value, in place where both are granular."""
    if not (granular(node, wanted) and isinstance(live, type(wanted))):
        return wanted
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            live[key] = _merge(node.child(key), live[key], value) if key in live else value
        return live
    positions = {item_key(node, item): index for index, item in enumerate(live)}
    for element, below, item in entries(node, wanted):
        index = positions.get(element)
        if index is None:
            live.append(item)
        else:
            live[index] = _merge(below, live[index], item)
    return live


def _remove(value: Any, last: FieldSet, kept: FieldSet) -> None:
    """Remove what was applied last time and nobody keeps, in place."""
    for element, inner in last.items():
        if element == ".":
            continue
        keeping = kept.get(element)
        position = _position(value, element)
        if position is None:
            continue
        if keeping is None and is_member(inner):
            del value[position]
        elif inner and (keeping is None or keeping):
            part = value[position]
            _remove(part, inner, keeping or {})
            if not part and keeping is None:
                del value[position]


def _position(value: Any, element: str) -> Any:
    """Return the dictionary key or list index of a path element, None when it is not there."""
    if element[0] == "f":
        return element[2:] if isinstance(value, dict) and element[2:] in value else None
    return find_item(value, element) if isinstance(value, list) else None


def _take(mine: FieldSet, others: list[Owner], live: Obj | None, merged: Obj, *, force: bool) -> None:
    """Find conflicts; take the fields when forced.

    Raises:
        ApplyConflict: There are conflicts and ``force`` is False.
    """
    if live is None:
        return
    found = [(owner, fields) for owner in others if (fields := differing(mine, owner.fields, live, merged))]
    if found and not force:
        raise _conflict([(str(owner), place) for owner, fields in found for place in paths(fields)])
    for owner, fields in found:
        owner.fields = subtract(owner.fields, fields)


def _conflict(found: list[tuple[str, str]]) -> ApplyConflict:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": place}
        for owner, place in found
    ]
    if len(found) == 1:
        owner, place = found[0]
        text = f"Apply failed with 1 conflict: conflict with {owner}: {place}"
    else:
        lines = []
        for owner in sorted({owner for owner, _ in found}):
            lines.append(f"conflicts with {owner}:")
            lines += [f"- {place}" for name, place in found if name == owner]
        text = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return ApplyConflict(text, status=409, reason="Conflict", causes=causes)


def _read(obj: Obj) -> list[Owner]:
    return [
        Owner(
            entry.get("manager", ""),
            entry.get("operation", "Update"),
            entry.get("subresource", ""),
            entry.get("apiVersion", ""),
            entry.get("fieldsV1") or {},
            entry.get("time", ""),
        )
        for entry in obj.get("metadata", {}).get("managedFields") or ()
    ]


def _owners(live: Obj, node: Node, kind: Kind) -> list[Owner]:
    """Read the owners of a live object; fields that were written before anybody applied get one name."""
    owners = _read(live)
    if owners or not live:
        return owners
    fields = subtract(field_set(node, live), _UNOWNED)
    if kind.status:
        fields.pop("f:status", None)
    annotations = live.get("metadata", {}).get("annotations") or {}
    name = CLIENT_SIDE if _LAST_APPLIED in annotations else BEFORE_FIRST
    created = live.get("metadata", {}).get("creationTimestamp", "")
    return [Owner(name, "Update", "", kind.api_version, fields, created)]


def _write(obj: Obj, owners: list[Owner]) -> None:
    """Store the owners that own something: Apply entries first, then by time."""
    kept = [owner for owner in owners if owner.fields]
    kept.sort(key=lambda owner: (owner.operation, owner.time, owner.manager))
    obj.setdefault("metadata", {})["managedFields"] = [_entry(owner) for owner in kept]


def _entry(owner: Owner) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "manager": owner.manager,
        "operation": owner.operation,
        "apiVersion": owner.api_version,
        "time": owner.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": owner.fields,
    }
    if not owner.time:
        del entry["time"]
    if owner.subresource:
        entry["subresource"] = owner.subresource
    return entry


def _stamp(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
