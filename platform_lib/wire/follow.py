"""How does the library see changes as they happen? Lists that follow the server, in threads.

One thread per topic lists, watches, resumes and lists again after 410. The caller waits for "something
changed" and looks at the caches; nothing is polled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from platform_lib.errors import ApiError, Expired, PlatformError, Unreachable
from platform_lib.model import Obj
from platform_lib.wire.kube import Kube

_FIRST_LIST_S = 10.0


@dataclass(frozen=True, slots=True)
class Topic:
    """What to follow: one resource, perhaps only a part of it."""

    gvr: str
    namespace: str | None = None
    labels: str = ""
    fields: str = ""


class Follow:
    """Caches of several topics, kept current by watches while the context is open.

    Args:
        kube: Connection.
        topics: What to follow; at most one topic per resource.
        on_event: Called in a watcher thread as ``(gvr, type, object)`` after the cache changed; be quick.
    """

    def __init__(
        self,
        kube: Kube,
        topics: Sequence[Topic],
        *,
        on_event: Callable[[str, str, Obj], None] | None = None,
    ) -> None:
        self._kube, self._topics, self._on_event = kube, tuple(topics), on_event
        self._caches: dict[str, dict[tuple[str, str], Obj]] = {topic.gvr: {} for topic in topics}
        self._trouble: dict[str, str] = {}
        self._listed: set[str] = set()
        self._open: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._changes = 0
        self._seen = 0
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Follow:
        for topic in self._topics:
            thread = threading.Thread(target=self._run, args=(topic,), name=f"follow {topic.gvr}", daemon=True)
            self._threads.append(thread)
            thread.start()
        with self._changed:
            self._changed.wait_for(self._answered, timeout=_FIRST_LIST_S)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop all watches and wait for their threads."""
        self._stop.set()
        for answer in list(self._open.values()):
            _shut_down(answer)
        for thread in self._threads:
            thread.join(timeout=2.0)

    def items(self, gvr: str) -> list[Obj]:
        """Return the objects of a topic as last seen."""
        with self._changed:
            return list(self._caches[gvr].values())

    def find(self, gvr: str, name: str) -> Obj | None:
        """Return one object by name, or None."""
        return next((obj for obj in self.items(gvr) if obj["metadata"]["name"] == name), None)

    def trouble(self) -> str:
        """Return why caches may be stale, or an empty string."""
        return "; ".join(self._trouble.values())

    def wait(self, timeout_s: float) -> bool:
        """Block until something changed since the last call, at most ``timeout_s``; say whether it did."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes > self._seen, timeout=max(timeout_s, 0.0))
            changed = self._changes > self._seen
            self._seen = self._changes
        return changed

    def _answered(self) -> bool:
        """Return whether every topic was listed or refused once."""
        return all(topic.gvr in self._listed or topic.gvr in self._trouble for topic in self._topics)

    def _run(self, topic: Topic) -> None:
        """Follow one topic until stopped; back off while the server is away."""
        version, backoff_s = "", 0.05
        while not self._stop.is_set():
            try:
                version = version or self._relist(topic)
                version = self._stream(topic, version)
                backoff_s = 0.05
            except Expired:
                version = ""
            except (Unreachable, ApiError) as error:
                self._troubled(topic, error)
                version = "" if isinstance(error, ApiError) else version
                self._stop.wait(backoff_s)
                backoff_s = min(backoff_s * 2, 1.0)

    def _relist(self, topic: Topic) -> str:
        """Read everything and tell the differences; return the version to watch from."""
        objects, version = self._kube.list(topic.gvr, topic.namespace, labels=topic.labels, fields=topic.fields)
        fresh = {_key(obj): obj for obj in objects}
        known = dict(self._caches[topic.gvr])
        for key in known.keys() - fresh.keys():
            self._store(topic.gvr, "DELETED", known[key])
        for key, obj in fresh.items():
            if key not in known:
                self._store(topic.gvr, "ADDED", obj)
            elif _version(known[key]) != _version(obj):
                self._store(topic.gvr, "MODIFIED", obj)
        with self._changed:
            self._listed.add(topic.gvr)
            self._trouble.pop(topic.gvr, None)
            self._bump()
        return version

    def _stream(self, topic: Topic, version: str) -> str:
        """Watch until the server ends the stream; return the version to resume from."""
        stream = self._kube.watch(
            topic.gvr,
            version,
            topic.namespace,
            labels=topic.labels,
            fields=topic.fields,
            opened=lambda answer: self._opened(topic.gvr, answer),
        )
        for kind, obj in stream:
            version = _version(obj) or version
            if kind != "BOOKMARK":
                self._store(topic.gvr, kind, obj)
        return version

    def _opened(self, gvr: str, answer: Any) -> None:
        """Remember the open stream so that ``close`` can end it, and clear the trouble it ends."""
        self._open[gvr] = answer
        with self._changed:
            self._trouble.pop(gvr, None)
        if self._stop.is_set():
            _shut_down(answer)

    def _store(self, gvr: str, kind: str, obj: Obj) -> None:
        """Change the cache, wake the waiter, call the handler."""
        with self._changed:
            if kind == "DELETED":
                self._caches[gvr].pop(_key(obj), None)
            else:
                self._caches[gvr][_key(obj)] = obj
            self._bump()
        if self._on_event is not None:
            self._on_event(gvr, kind, obj)

    def _troubled(self, topic: Topic, error: PlatformError) -> None:
        """Record why a topic cannot be followed at the moment."""
        if self._stop.is_set():
            return
        with self._changed:
            self._trouble[topic.gvr] = error.message
            self._bump()

    def _bump(self) -> None:
        """Count a change and wake the waiter; the caller holds the lock."""
        self._changes += 1
        self._changed.notify_all()


def _key(obj: Obj) -> tuple[str, str]:
    """Identify an object within its resource."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _version(obj: Obj) -> str:
    """Return the resource version of an object or bookmark."""
    return str(obj.get("metadata", {}).get("resourceVersion", ""))


def _shut_down(answer: Any) -> None:
    """End a stream that another thread reads; a stream that has ended already is fine."""
    try:
        answer.shutdown()
    except (ValueError, RuntimeError, OSError, AttributeError):
        answer.close()
