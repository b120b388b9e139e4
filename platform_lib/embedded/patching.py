"""Which patch turns an object into which? Chooses among the four patch types and keeps field ownership."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from platform_lib.embedded import refusals
from platform_lib.embedded.copying import clone
from platform_lib.embedded.kinds import Kind
from platform_lib.embedded.metadata import check_type, settle_scope
from platform_lib.embedded.options import WriteOptions
from platform_lib.embedded.patch import json_patch, merge_patch
from platform_lib.embedded.strategic import strategic_merge
from platform_lib.errors import ApiError
from platform_lib.model import Obj

if TYPE_CHECKING:
    from platform_lib.embedded.schema import Schemas

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
TYPES = (JSON_PATCH, MERGE, STRATEGIC, APPLY)


def unsupported(content_type: str, accepted: tuple[str, ...] = TYPES) -> ApiError:
    """415: the body is of a type nobody reads here."""
    wanted = ", ".join(accepted)
    return refusals.other(
        415,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format ({content_type or 'none'}) - "
        f"accepted media types include: {wanted}",
    )


def patched(old: Obj, body: Any, content_type: str, schemas: Schemas, kind: Kind) -> Obj:
    """Return a new object: ``old`` changed by a JSON, merge or strategic merge patch.

    Raises:
        Invalid: The patch is malformed or does not fit the object.
        ApiError: 415, unknown patch type, or strategic merge of a custom object.
    """
    new: Obj
    if content_type == JSON_PATCH:
        new = json_patch(clone(old), body)
    elif content_type == MERGE:
        new = merge_patch(clone(old), body)
    elif content_type == STRATEGIC:
        if kind.custom:
            raise unsupported(content_type, (JSON_PATCH, MERGE, APPLY))
        new = strategic_merge(clone(old), body, schemas, kind)
    else:
        raise unsupported(content_type)
    if not isinstance(new, dict):
        raise refusals.bad_request(f"the patch turns the object into {type(new).__name__}")
    new.setdefault("metadata", {}).setdefault("name", old["metadata"]["name"])
    if new["metadata"]["name"] != old["metadata"]["name"]:
        text = f'Invalid value: "{new["metadata"]["name"]}": field is immutable'
        raise refusals.invalid(
            kind.gvr, kind.kind, old["metadata"]["name"], [("metadata.name", "FieldValueInvalid", text)]
        )
    return new


def checked_apply_body(kind: Kind, name: str, body: Any, namespace: str | None) -> Obj:
    """Check a configuration for server-side apply and complete its name and namespace.

    Raises:
        Invalid: 400, it is no object, lacks its type, names another object, or carries managedFields.
    """
    if not isinstance(body, dict) or not body.get("apiVersion") or not body.get("kind"):
        raise refusals.bad_request("apply needs an object with apiVersion and kind")
    new = clone(body)
    check_type(kind, new)
    settle_scope(kind, new, namespace)
    if new["metadata"].setdefault("name", name) != name:
        raise refusals.bad_request(
            f"the name of the object ({new['metadata']['name']}) does not match the name on the URL ({name})"
        )
    if new["metadata"].get("managedFields"):
        raise refusals.bad_request("metadata.managedFields must be nil")
    return new


def applied(
    old: Obj | None, body: Obj, kind: Kind, schemas: Schemas, sub: str | None, options: WriteOptions, now: datetime
) -> Obj:
    """Return the object after a server-side apply.

    Raises:
        Conflict: Another manager owns a field and ``force`` is not set.
        Invalid: 422, no field manager was named.
    """
    from platform_lib.embedded.apply import ApplyConflict, server_side_apply

    if not options.manager:
        text = "Required value: is required for apply patch"
        raise refusals.invalid(
            "meta.k8s.io/v1/patchoptions", "PatchOptions", "", [("fieldManager", "FieldValueRequired", text)]
        )
    try:
        return server_side_apply(
            old,
            body,
            manager=options.manager,
            force=options.force,
            kind=kind,
            schemas=schemas,
            now=now,
            sub=sub or "",
        )
    except ApplyConflict as error:
        raise refusals.apply_conflict(error.message, error.causes) from error


def record_manager(
    old: Obj, new: Obj, kind: Kind, schemas: Schemas, sub: str | None, options: WriteOptions, now: datetime
) -> None:
    """Note in ``managedFields`` who changed what, only where an Apply manager would need to know.

    Tracking every plain update would make a status patch seven times slower, so objects that nobody applied
    carry no managedFields.
    """
    entries = new["metadata"].get("managedFields")
    if not entries or entries != old["metadata"].get("managedFields"):
        return
    from platform_lib.embedded.apply import record_update

    record_update(old, new, manager=options.manager, now=now, sub=sub or "", kind=kind, schemas=schemas)
