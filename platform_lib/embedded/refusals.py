"""How does the API say no? One function per Kubernetes reason, with the texts client programs look for.

Every function returns the error to raise; ``status_document`` renders it as the ``Status`` of the wire.
"""

from __future__ import annotations

from typing import Any

from platform_lib.errors import AlreadyExists, ApiError, Conflict, Expired, Forbidden, Invalid, NotFound
from platform_lib.model import Obj


def resource_name(gvr: str) -> str:
    """Return ``plural.group`` (``deployments.apps``), the way error texts name a resource."""
    group, plural = split_group(gvr)
    return f"{plural}.{group}" if group else plural


def split_group(gvr: str) -> tuple[str, str]:
    """Return (group, plural) of ``group/version/plural``; the core group is an empty string."""
    parts = gvr.split("/")
    return (parts[0], parts[2]) if len(parts) == 3 else ("", parts[-1])


def details(gvr: str, name: str = "", **more: Any) -> dict[str, Any]:
    """Build ``Status.details`` (``kind`` holds the plural, as Kubernetes does)."""
    group, plural = split_group(gvr)
    found = {"name": name, "group": group, "kind": plural}
    return {key: value for key, value in found.items() if value} | more


def not_found(gvr: str, name: str) -> NotFound:
    """404 for an object."""
    message = f'{resource_name(gvr)} "{name}" not found'
    return NotFound(message, status=404, reason="NotFound", details=details(gvr, name))


def no_route() -> NotFound:
    """404 for a path or kind that nobody serves."""
    message = "the server could not find the requested resource"
    return NotFound(message, status=404, reason="NotFound", details={})


def already_exists(gvr: str, name: str) -> AlreadyExists:
    """409 AlreadyExists."""
    message = f'{resource_name(gvr)} "{name}" already exists'
    return AlreadyExists(message, status=409, reason="AlreadyExists", details=details(gvr, name))


def conflict(gvr: str, name: str, why: str = "", causes: list[dict[str, Any]] | None = None) -> Conflict:
    """409 Conflict; the default text is the one of a stale resourceVersion."""
    why = why or ("the object has been modified; please apply your changes to the latest version and try again")
    message = f'Operation cannot be fulfilled on {resource_name(gvr)} "{name}": {why}'
    more = {"causes": causes} if causes else {}
    return Conflict(message, status=409, reason="Conflict", details=details(gvr, name, **more))


def apply_conflict(message: str, causes: list[dict[str, Any]]) -> Conflict:
    """409 of a server-side apply that meets another field manager."""
    return Conflict(message, status=409, reason="Conflict", details={"causes": causes})


def forbidden(gvr: str, name: str, why: str, *, causes: list[dict[str, Any]] | None = None) -> Forbidden:
    """403; ``why`` continues the sentence "x is forbidden: "."""
    subject = f'{resource_name(gvr)} "{name}"' if name else resource_name(gvr)
    more = {"causes": causes} if causes else {}
    return Forbidden(
        f"{subject} is forbidden: {why}",
        status=403,
        reason="Forbidden",
        details=details(gvr, name, **more),
    )


def forbidden_path(user: str, verb: str, path: str) -> Forbidden:
    """403 for a path that is no resource."""
    message = f'forbidden: User "{user}" cannot {verb} path "{path}"'
    return Forbidden(message, status=403, reason="Forbidden", details={})


def unauthorized() -> Forbidden:
    """401: no token, or one that nobody issued or that is over."""
    return Forbidden("Unauthorized", status=401, reason="Unauthorized", details=None)


def invalid(gvr: str, kind: str, name: str, causes: list[tuple[str, str, str]]) -> Invalid:
    """422; ``causes`` are (field, reason, message) triples."""
    texts = [f"{field}: {text}" if field else text for field, _, text in causes]
    body = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    group, _ = split_group(gvr)
    title = f"{kind}.{group}" if group else kind
    found = [{"reason": reason, "message": text, "field": field} for field, reason, text in causes]
    more = {"name": name, "group": group, "kind": kind}
    return Invalid(
        f'{title} "{name}" is invalid: {body}',
        status=422,
        reason="Invalid",
        details={key: value for key, value in more.items() if value} | {"causes": found},
    )


def bad_request(message: str) -> Invalid:
    """400."""
    return Invalid(message, status=400, reason="BadRequest", details=None)


def expired(message: str) -> Expired:
    """410: history before that version is gone."""
    return Expired(message, status=410, reason="Expired", details=None)


def other(status: int, reason: str, message: str, found: dict[str, Any] | None = None, **headers: str) -> ApiError:
    """Any other refusal; ``headers`` (underscores for dashes) go with the answer."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return ApiError(message, status=status, reason=reason, details=found, headers=sent)


def too_many_requests(message: str, causes: list[dict[str, Any]], retry_after_s: int = 0) -> ApiError:
    """429; a positive ``retry_after_s`` also becomes the header."""
    found: dict[str, Any] = {"causes": causes}
    headers = {}
    if retry_after_s:
        found["retryAfterSeconds"] = retry_after_s
        headers["Retry_After"] = str(retry_after_s)
    return other(429, "TooManyRequests", message, found, **headers)


def method_not_allowed(gvr: str, what: str) -> ApiError:
    """405."""
    message = f"{what} is not supported on resources of kind {resource_name(gvr)!r}".replace("'", '"')
    return other(405, "MethodNotAllowed", message, details(gvr))


def internal(message: str) -> ApiError:
    """500 with the prefix Kubernetes uses."""
    text = f"Internal error occurred: {message}"
    return other(500, "InternalError", text, {"causes": [{"message": message}]})


def status_document(error: ApiError) -> Obj:
    """Render an error as the ``Status`` object a client expects."""
    context = error.context
    found: Obj = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": context.get("reason") or "InternalError",
    }
    if context.get("details") is not None:
        found["details"] = context["details"]
    found["code"] = int(context.get("status") or 500)
    return found
