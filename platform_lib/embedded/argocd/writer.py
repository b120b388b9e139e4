"""How is an Application written? Guarded patches and the Events that go with them."""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import UTC, datetime

from platform_lib.embedded.argocd.cluster import Cluster
from platform_lib.embedded.argocd.operation import TERMINATING, state_of, timestamp
from platform_lib.embedded.argocd.status import merge_patch
from platform_lib.errors import ApiError, Conflict, PlatformError
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

APPLICATIONS = "argoproj.io/v1alpha1/applications"
_TRIES = 8

log = logging.getLogger(__name__)


class Writer:
    """Writes one Application.

    Args:
        cluster: View of the API; learns every answer at once.
        key: Key of the Application.
    """

    def __init__(self, cluster: Cluster, key: m.ObjectKey) -> None:
        self._cluster, self._key = cluster, key
        self._events: set[asyncio.Task[None]] = set()

    async def patch(self, app: Obj, patch: Obj, *, guard: bool = False) -> Obj:
        """Merge-patch the Application.

        Args:
            app: Its last known form.
            patch: The merge patch.
            guard: Refuse when the Application changed since it was read.

        Raises:
            Conflict: With ``guard``, it changed.
        """
        if guard:
            metadata = {**(patch.get("metadata") or {}), "resourceVersion": m.resource_version(app)}
            patch = {**patch, "metadata": metadata}
        return await self._cluster.merge({**app, "apiVersion": "argoproj.io/v1alpha1", "kind": "Application"}, patch)

    async def reread(self) -> Obj:
        """Read the Application from the API."""
        fresh = await self._cluster.client.get(APPLICATIONS, self._key.name, self._key.namespace)
        self._cluster.observe(fresh)
        return fresh

    async def state(self, app: Obj, state: Obj, *, extra: Obj | None = None) -> Obj:
        """Write an operation state; a request to terminate that came meanwhile is kept.

        Args:
            app: The Application.
            state: The whole new state (fields it does not have are removed).
            extra: More to write in the same patch.

        Raises:
            Conflict: The Application keeps changing under our hands.
        """
        for attempt in range(_TRIES):
            old = state_of(app)
            if old.get("phase") == TERMINATING and state.get("phase") == "Running" and "finishedAt" not in state:
                state = {**state, "phase": TERMINATING}
            body = {"status": {"operationState": merge_patch(old, state)}, **(extra or {})}
            try:
                return await self.patch(app, body, guard=True)
            except Conflict:
                if attempt == _TRIES - 1:
                    raise
                app = await self.reread()
        raise AssertionError("unreachable")

    def event(self, app: Obj, type_: str, reason: str, message: str) -> None:
        """Record an Event about the Application; it is written behind the scenes."""
        now = timestamp(datetime.now(UTC))
        namespace = m.namespace(app)
        body: Obj = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{m.name(app)}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Application",
                "name": m.name(app),
                "namespace": namespace,
                "uid": m.uid(app),
                "resourceVersion": m.resource_version(app),
            },
            "type": type_,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": "argocd-application-controller"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        task = asyncio.create_task(self._record(body, namespace))
        self._events.add(task)
        task.add_done_callback(self._events.discard)

    async def _record(self, body: Obj, namespace: str) -> None:
        """Write one Event; losing one is logged and harms nobody."""
        try:
            await self._cluster.client.create("v1/events", body, namespace)
        except (ApiError, PlatformError) as error:
            log.warning("event not written: %s", error)
