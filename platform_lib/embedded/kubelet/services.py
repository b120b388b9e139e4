"""What do pods need of the node they run on? The things shared by all pods of one agent, and one pod's view of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from platform_lib.embedded.client import Client
from platform_lib.embedded.config import Config, NodeConfig
from platform_lib.embedded.kubelet.backoff import Policy
from platform_lib.embedded.kubelet.cgroups import Hierarchy
from platform_lib.embedded.kubelet.environment import Facts, Reference
from platform_lib.embedded.kubelet.imagestore import ImageStore
from platform_lib.embedded.kubelet.nodeevents import Recorder
from platform_lib.embedded.kubelet.records import PodFolder, PodRecord
from platform_lib.embedded.kubelet.sandbox import Sandbox
from platform_lib.errors import NotFound
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

log = logging.getLogger(__name__)

RESOURCES = {"ConfigMap": "v1/configmaps", "Secret": "v1/secrets"}


def epoch() -> float:
    """Return seconds since the epoch."""
    return time.time()


def stamp(seconds: float | None = None) -> str:
    """Format a time as the API does (RFC 3339, whole seconds, UTC); now when none is given."""
    moment = dt.datetime.fromtimestamp(epoch() if seconds is None else seconds, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_stamp(text: str) -> float:
    """Return the seconds since the epoch of an RFC 3339 time."""
    return dt.datetime.fromisoformat(text).timestamp()


@dataclass(slots=True)
class Services:
    """What all pods of a node share.

    Attributes:
        config, node: Who we are.
        client: Connection to the API.
        recorder: Where events go.
        images: Where images come from.
        sandbox, hierarchy: What this machine can enforce.
        python: The interpreter that images name ``python``.
        restart_policy: Back-off of crashing containers and of image pulls.
    """

    config: Config
    node: NodeConfig
    client: Client
    recorder: Recorder
    images: ImageStore
    sandbox: Sandbox
    hierarchy: Hierarchy
    python: Path
    restart_policy: Policy = field(default_factory=Policy)


@dataclass(slots=True)
class PodContext:
    """One pod as its containers see it.

    Attributes:
        services: The node.
        pod: The newest object from the API.
        folder, record: Its files and its record.
        volumes: Its volumes, with the token volume.
        on_change: Called after anything visible changed.
    """

    services: Services
    pod: Obj
    folder: PodFolder
    record: PodRecord
    on_change: Callable[[], None]
    volumes: list[Obj] = field(default_factory=list)

    @property
    def facts(self) -> Facts:
        """What the pod can learn of where it runs."""
        node, config = self.services.node, self.services.config
        return Facts(self.record.ip, node.address, node.name, node.cpu, node.memory, "127.0.0.1", config.ports.api)

    @property
    def namespace(self) -> str:
        """Namespace of the pod."""
        return self.record.namespace

    def changed(self) -> None:
        """Save the record and have the status told."""
        self.save()
        self.on_change()

    def save(self) -> None:
        """Save the record. On a full disk the pod goes on; a restarted agent would start it anew."""
        try:
            self.folder.save(self.record)
        except OSError as error:
            log.warning("%s/%s: record not saved: %s", self.record.namespace, self.record.name, error)

    async def objects(self, references: set[Reference]) -> dict[Reference, Obj | None]:
        """Read config maps and secrets; None for one that does not exist."""
        wanted = sorted(references)
        found = await asyncio.gather(*(self._read(kind, name) for kind, name in wanted))
        return dict(zip(wanted, found, strict=True))

    async def _read(self, kind: str, name: str) -> Obj | None:
        try:
            obj = await self.services.client.get(RESOURCES[kind], name, self.namespace)
        except NotFound:
            return None
        return {"kind": kind, **obj}

    async def account(self) -> Obj | None:
        """Read the pod's service account; None when it does not exist."""
        name = m.spec(self.pod).get("serviceAccountName") or "default"
        try:
            return await self.services.client.get("v1/serviceaccounts", name, self.namespace)
        except NotFound:
            return None

    async def token(self, lifetime_s: int, audience: str) -> str:
        """Ask the API for a token of the pod's service account, bound to the pod."""
        name = m.spec(self.pod).get("serviceAccountName") or "default"
        bound = {"apiVersion": "v1", "kind": "Pod", "name": self.record.name, "uid": self.record.uid}
        spec = {"expirationSeconds": lifetime_s, "audiences": [audience] if audience else [], "boundObjectRef": bound}
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": name},
            "spec": spec,
        }
        answer = await self.services.client.create("v1/serviceaccounts", body, self.namespace, sub="token")
        return str(answer["status"]["token"])

    def event(self, type_: str, reason: str, message: str, container: str = "", *, init: bool = False) -> None:
        """Record an event about the pod or one of its containers."""
        field_path = f"spec.{'initContainers' if init else 'containers'}{{{container}}}" if container else ""
        self.services.recorder.record(self.pod, type_, reason, message, field_path)
