"""How does one pod live on this node? Volumes, init containers, containers, and the way out.

One ``PodWorker`` per pod. It owns the pod's record, keeps its status in the API and ends by deleting the object.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

from platform_lib.embedded.kubelet.confinement import write_etc
from platform_lib.embedded.kubelet.container import Container, Role
from platform_lib.embedded.kubelet.podstatus import PodView, phase_of, status_of
from platform_lib.embedded.kubelet.records import ContainerRecord, remove_cgroups
from platform_lib.embedded.kubelet.services import PodContext, epoch, parse_stamp, stamp
from platform_lib.embedded.kubelet.statuspush import StatusPusher
from platform_lib.embedded.kubelet.termination import BARRIER_S, drained
from platform_lib.embedded.kubelet.volumes import (
    VolumeError,
    Volumes,
    pod_volumes,
    size_limits,
    used_bytes,
    volume_references,
)
from platform_lib.errors import ApiError, Conflict, NotFound, Unreachable
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

log = logging.getLogger(__name__)

READY_FALSE_S = 1.0
RETRY_S = 1.0
LIMITS_S = 10.0
FINISHED = ("Succeeded", "Failed")


class PodWorker:
    """Runs one pod until it is deleted.

    Args:
        context: The pod; ``on_change`` is set here.
        resumed: The record was written by an earlier agent.
        on_finished: Called when nothing of the pod is left.
    """

    def __init__(self, context: PodContext, *, resumed: bool, on_finished: Callable[[], None]) -> None:
        self.context = context
        context.on_change = self._changed
        self.inits = [self._container(spec, "init") for spec in m.spec(context.pod).get("initContainers") or ()]
        self.apps = [self._container(spec, "app") for spec in m.spec(context.pod).get("containers") or ()]
        self.deleted = asyncio.Event()
        self._deadline = math.inf
        self._on_finished = on_finished
        self._resumed, self._terminated, self._terminating = resumed, False, False
        client = context.services.client
        self._pusher = StatusPusher(client, context.pod, self._status, lambda: context.pod, self.observe)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def _container(self, spec: Obj, role: Role) -> Container:
        """Build a container over its record."""
        if role == "init" and spec.get("restartPolicy") == "Always":
            role = "sidecar"
        records = self.context.record.containers
        record = records.setdefault(spec["name"], ContainerRecord(spec["name"]))
        return Container(self.context, spec, record, role)

    @property
    def containers(self) -> list[Container]:
        """All containers, init containers first."""
        return [*self.inits, *self.apps]

    # What it looks like

    def view(self) -> PodView:
        """Return what the status is computed from."""
        known = [c.unenforced for c in self.containers if c.unenforced is not None]
        return PodView(
            pod=self.context.pod,
            host_ip=self.context.services.node.address,
            pod_ip=self.context.record.ip,
            started_at=self.context.record.started_at,
            inits=[c.view() for c in self.inits],
            apps=[c.view() for c in self.apps],
            sidecars=frozenset(c.name for c in self.inits if c.role == "sidecar"),
            terminated=self._terminated,
            failure=(self.context.record.failure[0], self.context.record.failure[1])
            if self.context.record.failure
            else None,
            unenforced=tuple(dict.fromkeys(item for items in known for item in items)) if known else None,
        )

    def _status(self) -> Obj:
        return status_of(self.view(), stamp())

    def _changed(self) -> None:
        self._pusher.mark()

    # What it is told

    def start(self) -> None:
        """Begin to live: run it, or end it when it is marked for deletion."""
        self._go("push", self._pusher.run())
        for container in self.containers:
            container.adopt()
        if m.deleting(self.context.pod):
            self._end()
        else:
            self._go("live", self._live())

    def observe(self, pod: Obj) -> None:
        """Take the newest object; an older one than what is known is ignored."""
        if int(m.resource_version(pod) or 0) < int(m.resource_version(self.context.pod) or 0):
            return
        self.context.pod = pod
        if m.deleting(pod):
            self._end()
        self._changed()

    def _end(self) -> None:
        """Begin to terminate, or shorten the time that is left."""
        self._bring_deadline_forward()
        if not self._terminating:
            self._terminating = True
            self._go("end", self._terminate())

    def remove(self) -> None:
        """The object is gone from the API: kill what is left of the pod and forget it."""
        if not self.deleted.is_set():
            self.deleted.set()
            self._go("remove", self._remove())

    def _go(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a task of this pod; a bug in it is logged with its traceback."""
        task = asyncio.ensure_future(coroutine)
        self._tasks[name] = task

        def done(ended: asyncio.Task[None]) -> None:
            if not ended.cancelled() and ended.exception() is not None:
                log.error("%s: %s ended by an error", self.context.record.name, name, exc_info=ended.exception())

        task.add_done_callback(done)

    # Living

    async def _live(self) -> None:
        """Bring the pod up and run it until every container has ended for good."""
        if phase_of(self.view()) in FINISHED and self._resumed:
            self._changed()
            return
        self.context.changed()
        await self._prepare()
        self._go("limits", self._watch_limits())
        sidecars: list[asyncio.Task[None]] = []
        for container in self.inits:
            if container.role == "sidecar":
                sidecars.append(asyncio.ensure_future(container.run()))
                await container.started.wait()
            elif container.record.exit.get("exitCode") != 0:
                await container.run()
                if container.record.exit.get("exitCode") != 0:
                    return
        await asyncio.gather(*(container.run() for container in self.apps))
        for container in self.inits:
            container.kill()
        await asyncio.gather(*sidecars)

    async def _prepare(self) -> None:
        """Fill the volumes; retried until everything that they need exists."""
        told = ""
        while True:
            try:
                await self.fill_volumes()
                uids = {m.spec(self.context.pod).get("securityContext", {}).get("runAsUser") or 0}
                write_etc(self.context.folder.etc(), self.context, uids)
                return
            except VolumeError as error:
                message = str(error)
            except (ApiError, Unreachable) as error:
                message = f"MountVolume.SetUp failed: {error.message}"
            except OSError as error:
                message = f"MountVolume.SetUp failed: {error}"
            if message != told:
                self.context.event("Warning", "FailedMount", message)
                told = message
            await asyncio.sleep(RETRY_S)

    async def fill_volumes(self) -> None:
        """Write the volumes from what the API has now; called again to refresh them.

        Raises:
            VolumeError: Something is missing.
        """
        context = self.context
        wants_account = m.spec(context.pod).get("automountServiceAccountToken") is None
        account = await context.account() if wants_account else None
        context.volumes = pod_volumes(context.pod, account)
        objects = await context.objects(volume_references(context.volumes))
        volumes = Volumes(context.pod, context.volumes, context.folder, context.facts, context.token)
        await volumes.fill(objects)

    async def _watch_limits(self) -> None:
        """Give the pod up when it lives longer or stores more than it may."""
        seconds = m.spec(self.context.pod).get("activeDeadlineSeconds")
        ends_at = parse_stamp(self.context.record.started_at) + float(seconds) if seconds else math.inf
        sizes = size_limits(self.context.volumes)
        while (sizes or seconds) and not self._terminating:
            await asyncio.sleep(max(0.0, min(LIMITS_S, ends_at - epoch())))
            broken = self._broken_limit(ends_at, sizes)
            if broken and not self._terminating:
                await self._give_up(*broken)
                return

    def _broken_limit(self, ends_at: float, sizes: dict[str, int]) -> tuple[str, str] | None:
        """Return (reason, message) of a limit that the pod has passed."""
        if epoch() >= ends_at:
            return "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
        for name, limit in sizes.items():
            if used_bytes(self.context.folder.volume(name)) > limit:
                return "Evicted", f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}" bytes'
        return None

    async def _give_up(self, reason: str, message: str) -> None:
        """Stop the containers for good and call the pod failed; the object stays."""
        self.context.event("Warning", reason, message)
        self.context.record.failure = [reason, message]
        grace_s = float(m.spec(self.context.pod).get("terminationGracePeriodSeconds", 30))
        self._deadline = min(self._deadline, asyncio.get_running_loop().time() + grace_s)
        for container in self.containers:
            container.stopping = True
        await self._end_containers([c for c in self.containers if c.running is not None])
        self._tasks["live"].cancel()
        self.context.changed()

    # Leaving

    def _bring_deadline_forward(self) -> None:
        """Compute when processes are killed; a second delete may only shorten the time."""
        meta = m.metadata(self.context.pod)
        grace_s = float(meta.get("deletionGracePeriodSeconds") or 0)
        rounded_s = 1.0
        left_s = parse_stamp(meta["deletionTimestamp"]) - epoch() + rounded_s
        until = asyncio.get_running_loop().time() + max(0.0, min(left_s, grace_s))
        self._deadline = min(self._deadline, until)

    async def _terminate(self) -> None:
        """Leave in the order that loses no request, then delete the object."""
        live = self._tasks.get("live")
        for container in self.containers:
            container.stopping = True
        alive = [c for c in self.containers if c.running is not None]
        if live is None:
            live = asyncio.ensure_future(_run_all(alive))
        for container in alive:
            self.context.event("Normal", "Killing", f"Stopping container {container.name}", container.name)
        grace_s = max(0.0, self._deadline - asyncio.get_running_loop().time())
        await asyncio.gather(*(container.pre_stop(grace_s) for container in alive))
        if alive and grace_s > 0:
            port = self.context.services.config.ports.traefik
            await drained(self.context.record.ip, port, timeout_s=min(BARRIER_S, grace_s / 2))
        await self._end_containers(alive)
        live.cancel()
        await asyncio.wait([live])
        self._terminated = True
        await self._pusher.flush(timeout_s=5.0)
        await self._delete_object()

    async def _end_containers(self, alive: list[Container]) -> None:
        """Tell that they are not ready, then stop them: all app containers at once, then the sidecars."""
        for container in alive:
            container.record.ready = False
        await self._pusher.flush(timeout_s=READY_FALSE_S)
        for group in ([c for c in alive if c.role != "sidecar"], [c for c in alive if c.role == "sidecar"]):
            await asyncio.gather(*(container.end(lambda: self._deadline) for container in group))

    async def _delete_object(self) -> None:
        """Tell the API that nothing of the pod is left."""
        record, client = self.context.record, self.context.services.client
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": record.uid}}
        delay_s = 0.1
        while not self.deleted.is_set():
            try:
                await client.delete("v1/pods", record.name, record.namespace, options=options)
                return
            except (NotFound, Conflict):
                self.remove()
                return
            except (ApiError, Unreachable) as error:
                log.warning("%s/%s - not deleted yet: %s", record.namespace, record.name, error.message)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 2.0)

    async def _remove(self) -> None:
        """Kill what is left, free what was taken."""
        for name, task in self._tasks.items():
            if name != "remove":
                task.cancel()
        for container in self.containers:
            container.kill()
            if container.running is not None:
                await container.running.wait()
        groups = [group for container in self.containers for group in container.record.cgroups]
        while groups := remove_cgroups(groups):
            await asyncio.sleep(0.05)
        self.context.folder.remove()
        self._on_finished()

    def detach(self) -> None:
        """Stop following the pod and leave its processes alone: the agent ends, the pod does not."""
        for task in self._tasks.values():
            task.cancel()


async def _run_all(containers: list[Container]) -> None:
    """Follow containers to their end."""
    await asyncio.gather(*(container.run() for container in containers))
