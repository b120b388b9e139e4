"""How does a watch follow the store? Filters, replays and streams changes as lines of JSON.

The hub is told of every committed change and hands it to the watchers of that resource. A line is encoded once
for all watchers that see the object unchanged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import orjson

from platform_lib.embedded import refusals
from platform_lib.embedded.store import Event, Store
from platform_lib.errors import ApiError
from platform_lib.model import Obj

Match = Callable[[Obj], bool]
Encode = Callable[[str, Obj], bytes]
"""Builds a line from the type of a change and its object (for Tables and bare metadata)."""

BACKLOG = 20_000
"""Lines a slow client may be behind before its watch is ended; it resumes from its last version."""

INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


def line(type_: str, raw: bytes) -> bytes:
    """Return one line of the stream."""
    return b'{"type":"' + type_.encode() + b'","object":' + raw + b"}\n"


class Watcher:
    """One client's view of one resource: what it wants to see, and the lines waiting for it.

    Args:
        namespace: Only this namespace; empty for all.
        match: Selectors, or None.
        encode: Builds the lines, or None for plain objects.
    """

    def __init__(self, namespace: str, match: Match | None, encode: Encode | None) -> None:
        self.lines: deque[bytes] = deque()
        self.overrun = False
        self._namespace, self._match, self._encode = namespace, match, encode
        self._waiting: asyncio.Future[None] | None = None

    def see(self, type_: str, obj: Obj, old: Obj | None, raw: bytes, shared: dict[str, bytes]) -> None:
        """Queue a change if it concerns this watcher; entering and leaving a selection shows as such."""
        if self._namespace and obj["metadata"].get("namespace") != self._namespace:
            return
        if self._match is not None:
            seen = self._transition(type_, obj, old)
            if seen is None:
                return
            type_ = seen
        self.push(self._line(type_, obj, raw, shared))

    def push(self, text: bytes) -> None:
        """Queue a line and wake the stream."""
        if len(self.lines) >= BACKLOG:
            self.overrun = True
        else:
            self.lines.append(text)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Return when a line is waiting, or after that time."""
        if self.lines or self.overrun:
            return
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        timer = loop.call_later(seconds, self._wake)
        try:
            await self._waiting
        finally:
            timer.cancel()
            self._waiting = None

    def take(self) -> bytes:
        """Return everything that waits and forget it."""
        text = b"".join(self.lines)
        self.lines.clear()
        return text

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _transition(self, type_: str, obj: Obj, old: Obj | None) -> str | None:
        """Return the type of change as seen through the selection, or None when it is not seen."""
        match = self._match
        assert match is not None
        before = old is not None and match(old)
        if type_ == "DELETED":
            return "DELETED" if before else None
        after = match(obj)
        if after:
            return type_ if before or type_ == "ADDED" else "ADDED" if old is not None else type_
        # After a restart the former state may be unknown; telling of one removal too many is harmless.
        return "DELETED" if before or (old is None and type_ == "MODIFIED") else None

    def _line(self, type_: str, obj: Obj, raw: bytes, shared: dict[str, bytes]) -> bytes:
        if self._encode is not None:
            return self._encode(type_, obj)
        text = shared.get(type_)
        if text is None:
            text = shared[type_] = line(type_, raw)
        return text


class Hub:
    """Hands every change to the watchers of its resource."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watchers: dict[str, set[Watcher]] = {}
        store.subscribe(self._tell)

    def open(
        self,
        gvr: str,
        version: str,
        *,
        namespace: str = "",
        match: Match | None = None,
        encode: Encode | None = None,
        initial_end: Callable[[str], bytes] | None = None,
    ) -> Watcher:
        """Start a watch; what it must see first is queued already.

        Args:
            gvr: Resource.
            version: Resume after this one; empty or ``0``: everything there is first.
            namespace: Only this one.
            match: Selectors.
            encode: Line builder.
            initial_end: Given for a WatchList: everything first, then the line this returns for the version.

        Raises:
            Expired: The version is too old.
            Invalid: The version is no number.
        """
        watcher = Watcher(namespace, match, encode)
        if initial_end is not None or version in ("", "0"):
            for found in self._store.entries(gvr, namespace or None):
                watcher.see("ADDED", found.obj, None, found.raw, {})
            if initial_end is not None:
                watcher.push(initial_end(str(self._store.version)))
        else:
            self._replay(watcher, gvr, version)
        self._watchers.setdefault(gvr, set()).add(watcher)
        return watcher

    def close(self, gvr: str, watcher: Watcher) -> None:
        """End a watch."""
        self._watchers.get(gvr, set()).discard(watcher)

    def _replay(self, watcher: Watcher, gvr: str, version: str) -> None:
        if not version.isdigit():
            raise refusals.bad_request(f'resourceVersion: Invalid value: "{version}": must be a number')
        for record in self._store.since(gvr, int(version)):
            old = orjson.loads(record.old) if record.old else None
            watcher.see(record.type, orjson.loads(record.raw), old, record.raw, {})

    def _tell(self, event: Event) -> None:
        shared: dict[str, bytes] = {}
        for watcher in self._watchers.get(event.gvr, ()):
            watcher.see(event.type, event.obj, event.old, event.raw, shared)


def bookmark(kind: str, api_version: str, version: str, annotations: dict[str, str] | None = None) -> bytes:
    """Return the line that tells a client how far it is."""
    metadata: Obj = {"resourceVersion": version, "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    return line("BOOKMARK", orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata}))


def error_line(error: ApiError) -> bytes:
    """Return the line that ends a stream with a Status."""
    return line("ERROR", orjson.dumps(refusals.status_document(error)))
