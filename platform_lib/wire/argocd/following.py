"""How does the library see changes through argocd-server? Its stream of Applications, and a look at the workloads.

The stream wakes whoever waits. Deployment and pods are read when they are asked for, at most once between two
events and at least once a second, because argocd-server streams no workloads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from platform_lib.errors import ApiError, Forbidden, PlatformError, Unreachable
from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.wait import monotonic
from platform_lib.wire.argocd.door import OnEvent
from platform_lib.wire.argocd.rest import Rest
from platform_lib.wire.kube import APPLICATIONS, DEPLOYMENTS, PODS

_FIRST_S = 10.0
_FRESH_S = 1.0
_DELETED = "DELETED"


class ServerView:
    """Caches of one application, kept current while the context is open.

    Args:
        rest: Client.
        query: Which Application to stream.
        deployment: Reads the Deployment.
        pods: Reads the pods.
        on_event: Called as ``(gvr, type, object)``: Applications from the stream's thread, workloads by whoever
            looked.
    """

    def __init__(
        self,
        rest: Rest,
        query: dict[str, Any],
        *,
        deployment: Callable[[], Obj | None],
        pods: Callable[[], list[Obj]],
        on_event: OnEvent | None = None,
    ) -> None:
        self._rest, self._query, self._on_event = rest, query, on_event
        self._readers: dict[str, Callable[[], list[Obj]]] = {
            DEPLOYMENTS: lambda: [found for found in (deployment(),) if found is not None],
            PODS: pods,
        }
        self._application: Obj | None = None
        self._workloads: dict[str, list[Obj]] = {}
        self._read_at: dict[str, tuple[int, float]] = {}
        self._trouble: dict[str, str] = {}
        self._open: Any = None
        self._changed = threading.Condition()
        self._changes = self._seen = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follow argocd-server", daemon=True)

    def __enter__(self) -> ServerView:
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._changes > 0, timeout=_FIRST_S)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream and its thread."""
        self._stop.set()
        self._shut()
        if self._thread.ident is not None:
            self._thread.join(timeout=2.0)

    def _shut(self) -> None:
        """End the open stream from another thread; one that has ended is fine."""
        if self._open is None:
            return
        try:
            self._open.raw.shutdown()
        except (OSError, ValueError, RuntimeError, AttributeError):
            self._open.close()

    def items(self, gvr: str) -> list[Obj]:
        """Return the objects of a kind as last seen."""
        if gvr == APPLICATIONS:
            with self._changed:
                return [] if self._application is None else [self._application]
        count, at = self._read_at.get(gvr, (-1, 0.0))
        if count != self._changes or monotonic() - at >= _FRESH_S:
            self._look(gvr)
        return self._workloads.get(gvr, [])

    def find(self, gvr: str, name: str) -> Obj | None:
        """Return one object by name, or None."""
        return next((obj for obj in self.items(gvr) if manifests.name(obj) == name), None)

    def trouble(self) -> str:
        """Return why what is shown may be stale or incomplete, or an empty text."""
        return "; ".join(self._trouble.values())

    def wait(self, timeout_s: float) -> bool:
        """Block until the Application changed since the last call, at most ``timeout_s``; say whether it did."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes > self._seen, timeout=max(timeout_s, 0.0))
            changed = self._changes > self._seen
            self._seen = self._changes
        return changed

    def _look(self, gvr: str) -> None:
        """Read the workloads of a kind; where the token may not, judge by the Application alone and say so."""
        before = {manifests.name(obj): obj for obj in self._workloads.get(gvr, [])}
        self._read_at[gvr] = (self._changes, monotonic())
        try:
            now = self._readers[gvr]()
        except Forbidden:
            self._trouble[gvr] = f"judged without {gvr.rpartition('/')[2]}: the token may not read them"
            return
        except (ApiError, Unreachable) as error:
            self._trouble[gvr] = error.message
            return
        self._trouble.pop(gvr, None)
        self._workloads[gvr] = now
        self._tell(gvr, before, {manifests.name(obj): obj for obj in now})

    def _tell(self, gvr: str, before: dict[str, Obj], now: dict[str, Obj]) -> None:
        """Tell the handler what is different."""
        if self._on_event is None:
            return
        for name in before.keys() - now.keys():
            self._on_event(gvr, _DELETED, before[name])
        for name, obj in now.items():
            if name not in before:
                self._on_event(gvr, "ADDED", obj)
            elif manifests.resource_version(before[name]) != manifests.resource_version(obj):
                self._on_event(gvr, "MODIFIED", obj)

    def _run(self) -> None:
        """Follow the stream until closed; back off while the server is away."""
        backoff_s = 0.05
        while not self._stop.is_set():
            try:
                for event in self._rest.lines("/stream/applications", params=self._query, opened=self._opened):
                    self._take(str(event.get("type") or ""), event.get("application") or {})
                    backoff_s = 0.05
            except (ApiError, Unreachable) as error:
                self._troubled(error)
            self._stop.wait(backoff_s)
            backoff_s = min(backoff_s * 2, 1.0)

    def _opened(self, answer: Any) -> None:
        """Remember the open stream so that ``close`` can end it."""
        self._open = answer
        with self._changed:
            self._trouble.pop(APPLICATIONS, None)
        if self._stop.is_set():
            self._shut()

    def _take(self, kind: str, application: Obj) -> None:
        """Take an event into the view; the server's own cache may send an older one after a newer one."""
        with self._changed:
            known = self._application
            if known is not None and kind != _DELETED and _version(application) < _version(known):
                return
            self._application = None if kind == _DELETED else application
            self._changes += 1
            self._changed.notify_all()
        if self._on_event is not None:
            self._on_event(APPLICATIONS, kind, application)

    def _troubled(self, error: PlatformError) -> None:
        """Record why the stream cannot be followed at the moment."""
        if self._stop.is_set():
            return
        with self._changed:
            self._trouble[APPLICATIONS] = error.message
            self._changes += 1
            self._changed.notify_all()


def _version(obj: Obj) -> int:
    """Return the version of an Application as the number it is where argocd-server compares it; else 0."""
    text = manifests.resource_version(obj)
    return int(text) if text.isdigit() else 0
