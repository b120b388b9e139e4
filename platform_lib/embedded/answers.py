"""How does an answer leave the server? Objects, Statuses, warnings and Tables as HTTP responses."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from aiohttp import web

from platform_lib.embedded import refusals
from platform_lib.embedded.kinds import Kind
from platform_lib.embedded.listing import Page, encode
from platform_lib.embedded.negotiation import Form, partial
from platform_lib.embedded.options import WriteOptions
from platform_lib.errors import ApiError
from platform_lib.model import Obj


def raw(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Answer with finished JSON."""
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def document(obj: Obj, status: int = 200) -> web.Response:
    """Answer with a JSON document."""
    return raw(orjson.dumps(obj), status)


def text(body: str, status: int = 200) -> web.Response:
    """Answer with plain text."""
    return web.Response(text=body, status=status)


def refusal(error: ApiError) -> web.Response:
    """Answer with the Status of an error."""
    found = refusals.status_document(error)
    return raw(orjson.dumps(found), int(found["code"]), error.context.get("headers"))


def success(kind: Kind, obj: Obj) -> web.Response:
    """Answer a deletion that is complete."""
    metadata = obj["metadata"]
    found = refusals.details(kind.gvr, metadata["name"], uid=metadata.get("uid", ""))
    return document({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": found})


def one(kind: Kind, obj: Obj, form: Form, body: bytes | None = None, include: str = "") -> web.Response:
    """Answer with one object in the form the client wants; ``body`` is its JSON where that is at hand."""
    if form == "table":
        return document(as_table(kind, [obj], {"resourceVersion": obj["metadata"].get("resourceVersion", "")}, include))
    if form == "partial":
        return document(partial(obj))
    return raw(body) if body is not None else document(obj)


def page(kind: Kind, found: Page, form: Form, include: str = "") -> web.Response:
    """Answer with a list in the form the client wants."""
    if form == "table":
        return document(as_table(kind, [item.obj for item in found.items], found.metadata(), include))
    if form == "partial":
        items = [partial(item.obj) for item in found.items]
        head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return document({**head, "metadata": found.metadata(), "items": items})
    return raw(encode(kind, found))


def written(kind: Kind, obj: Obj, form: Form, options: WriteOptions, status: int, body: bytes | None) -> web.Response:
    """Answer a write, with the warnings it collected."""
    answer = one(kind, obj, form, body)
    answer.set_status(status)
    for warning in options.warnings:
        escaped = warning.replace("\\", "\\\\").replace('"', '\\"')
        answer.headers.add("Warning", f'299 - "{escaped}"')
    return answer


def as_table(kind: Kind, objects: Sequence[Obj], metadata: Obj, include: str) -> Obj:
    """Build a Table; the module is loaded when somebody asks for one."""
    from platform_lib.embedded.table import table

    return table(kind, objects, metadata=metadata, include_object=include or "Metadata")
