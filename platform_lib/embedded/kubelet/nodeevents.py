"""What happened on this node? Kubernetes events, counted instead of repeated, sent in the background.

A lost event is logged and forgotten: events inform, nothing depends on them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from platform_lib.embedded.client import Client
from platform_lib.errors import ApiError, NotFound, Unreachable
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

log = logging.getLogger(__name__)

REMEMBERED = 512
QUEUED = 256


@dataclass(slots=True)
class _Sent:
    """An event that the API has, and how often it happened."""

    namespace: str
    name: str
    count: int


class Recorder:
    """Sends events about objects; equal ones are one event with a count.

    Args:
        client: Open client.
        node: Name of the node, the source of the events.
    """

    def __init__(self, client: Client, node: str) -> None:
        self._client, self._node = client, node
        self._queue: asyncio.Queue[Obj] = asyncio.Queue(QUEUED)
        self._sent: OrderedDict[tuple[str, ...], _Sent] = OrderedDict()

    def record(self, obj: Obj, type_: str, reason: str, message: str, field_path: str = "") -> None:
        """Queue an event (``Normal`` or ``Warning``); never blocks."""
        log.info("%s/%s: %s %s: %s", m.namespace(obj), m.name(obj), type_, reason, message)
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        namespace = m.namespace(obj) or "default"
        about = {
            "apiVersion": obj.get("apiVersion", "v1"),
            "kind": obj.get("kind") or "Pod",
            "name": m.name(obj),
            "namespace": m.namespace(obj),
            "uid": m.uid(obj),
            "resourceVersion": m.resource_version(obj),
            "fieldPath": field_path,
        }
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{m.name(obj)}.{secrets.token_hex(8)}", "namespace": namespace},
            "involvedObject": {key: value for key, value in about.items() if value},
            "type": type_,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": "kubelet", "host": self._node},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            log.warning("event dropped: %d are waiting for the API", QUEUED)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                await self._send(event)
            except (ApiError, Unreachable) as error:
                log.warning("event %s not recorded: %s", event["reason"], error)

    async def flush(self) -> None:
        """Send what is queued, once; for the end of the agent."""
        while not self._queue.empty():
            try:
                await self._send(self._queue.get_nowait())
            except (ApiError, Unreachable) as error:
                log.warning("event not recorded: %s", error)
                return

    async def _send(self, event: Obj) -> None:
        """Create the event, or count it when the API has an equal one."""
        about = event["involvedObject"]
        key = (about.get("uid", ""), about.get("fieldPath", ""), event["type"], event["reason"], event["message"])
        known = self._sent.get(key)
        if known is not None:
            known.count += 1
            change = {"count": known.count, "lastTimestamp": event["lastTimestamp"]}
            try:
                await self._client.patch("v1/events", known.name, change, known.namespace)
                return
            except NotFound:
                del self._sent[key]
        await self._client.create("v1/events", event, event["metadata"]["namespace"])
        self._sent[key] = _Sent(event["metadata"]["namespace"], event["metadata"]["name"], 1)
        while len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)
