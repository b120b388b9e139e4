"""How does what a controller asked for reach the API? One function for each verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_lib.embedded.controllers.writes import Write
from platform_lib.model import Obj

if TYPE_CHECKING:
    from platform_lib.embedded.api import Api

_MERGE = "application/merge-patch+json"


def execute(api: Api, write: Write, user: str) -> Obj:
    """Carry one write out (all verbs but ``event``).

    Returns:
        What the API answered: the object as it is now.

    Raises:
        Conflict: The object has another uid or version than the controller saw.
        ApiError: The API refused for another reason.
    """
    where = write.namespace or None
    if write.verb == "create":
        return api.create(write.gvr, write.body, where, user=user)
    if write.verb == "update":
        return api.update(write.gvr, write.body, where, user=user)
    if write.verb == "delete":
        return api.delete(write.gvr, write.name, where, user=user, options=_options(write))
    if write.verb == "bind":
        return api.create(write.gvr, write.body, where, user=user, sub="binding", name=write.name)
    if write.verb == "finalize":
        return api.update(write.gvr, write.body, where, user=user, sub="finalize")
    sub = "status" if write.verb == "status_merge" else None
    return api.patch(write.gvr, write.name, _guarded(write), where, content_type=_MERGE, user=user, sub=sub)


def _guarded(write: Write) -> Obj:
    """Return the patch with the uid and version it must meet."""
    guards = {"uid": write.uid, "resourceVersion": write.version}
    found = {field: text for field, text in guards.items() if text}
    return {**write.body, "metadata": {**(write.body.get("metadata") or {}), **found}}


def _options(write: Write) -> Obj:
    """Return the delete options with the uid and version as preconditions."""
    guards = {"uid": write.uid, "resourceVersion": write.version}
    found = {field: text for field, text in guards.items() if text}
    return {**write.body, "preconditions": found} if found else write.body
