"""How is a watch kept open over HTTP? One chunked answer, a line for each change, a bookmark now and then."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping

import orjson
from aiohttp import web

from platform_lib.embedded import refusals
from platform_lib.embedded.kinds import Kind
from platform_lib.embedded.listing import selection
from platform_lib.embedded.negotiation import Form, partial
from platform_lib.embedded.store import Store
from platform_lib.embedded.watching import (
    INITIAL_EVENTS_END,
    Encode,
    Hub,
    Watcher,
    bookmark,
    error_line,
    line,
)
from platform_lib.model import Obj

BOOKMARK_S = 60.0
"""Seconds between bookmarks, as kube-apiserver sends them."""

LONGEST_S = 1800


async def watch(
    request: web.BaseRequest, hub: Hub, store: Store, kind: Kind, namespace: str, form: Form
) -> web.StreamResponse:
    """Stream changes until the time is up or the client goes.

    Raises:
        Expired: 410 before the stream begins, the version is too old.
        Invalid: A parameter cannot be read.
    """
    query = request.query
    seconds = _seconds(query)
    bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
    initial = _wants_initial_events(query)
    watcher = hub.open(
        kind.gvr,
        query.get("resourceVersion", ""),
        namespace=namespace,
        match=selection(query, kind.gvr),
        encode=_encoder(kind, form, query.get("includeObject", "")),
        initial_end=(
            (lambda version: bookmark(kind.kind, kind.api_version, version, INITIAL_EVENTS_END)) if initial else None
        ),
    )
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    answer.enable_chunked_encoding()
    try:
        # The client hangs up: that is how most watches end.
        with contextlib.suppress(ConnectionError):
            await answer.prepare(request)
            await _pump(answer, watcher, store, kind, seconds, bookmarks=bookmarks)
            await answer.write_eof()
    finally:
        hub.close(kind.gvr, watcher)
    return answer


async def _pump(
    answer: web.StreamResponse,
    watcher: Watcher,
    store: Store,
    kind: Kind,
    seconds: float,
    *,
    bookmarks: bool,
) -> None:
    """Write lines as they come; a bookmark is only sent when everything before it was."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    next_mark = loop.time() + BOOKMARK_S
    while (now := loop.time()) < end:
        await watcher.wait(min(end, next_mark) - now)
        if watcher.overrun:
            gone = refusals.expired("the client fell too far behind; list again")
            await answer.write(watcher.take() + error_line(gone))
            return
        text = watcher.take()
        if bookmarks and loop.time() >= next_mark:
            text += bookmark(kind.kind, kind.api_version, str(store.version))
            next_mark = loop.time() + BOOKMARK_S
        if text:
            await answer.write(text)
    if bookmarks:
        await answer.write(watcher.take() + bookmark(kind.kind, kind.api_version, str(store.version)))


def _seconds(query: Mapping[str, str]) -> float:
    """Return how long the stream may last; without a wish 30 to 60 minutes, spread like Kubernetes does."""
    text = query.get("timeoutSeconds") or ""
    if not text:
        return LONGEST_S * (1 + random.random())  # noqa: S311 - spreads reconnects, no secret
    if not text.isdigit():
        raise refusals.bad_request(f'timeoutSeconds: Invalid value: "{text}": must be a number')
    return float(text)


def _wants_initial_events(query: Mapping[str, str]) -> bool:
    """Return whether this is a WatchList request.

    Raises:
        Invalid: 422, its parameters do not go together.
    """
    match, wish = query.get("resourceVersionMatch"), query.get("sendInitialEvents")
    if wish is None:
        if match:
            text = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            raise _bad_options("resourceVersionMatch", "FieldValueForbidden", text)
        return False
    if match != "NotOlderThan":
        text = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise _bad_options("resourceVersionMatch", "FieldValueForbidden", text)
    return wish in ("true", "1")


def _bad_options(field: str, reason: str, text: str) -> Exception:
    return refusals.invalid("meta.k8s.io/v1/listoptions", "ListOptions", "", [(field, reason, text)])


def _encoder(kind: Kind, form: Form, include: str) -> Encode | None:
    """Return what builds the lines of Tables or bare metadata; None for plain objects."""
    if form == "json":
        return None
    if form == "partial":
        return lambda type_, obj: line(type_, orjson.dumps(partial(obj)))

    def encode(type_: str, obj: Obj) -> bytes:
        from platform_lib.embedded.answers import as_table

        metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        return line(type_, orjson.dumps(as_table(kind, [obj], metadata, include)))

    return encode
