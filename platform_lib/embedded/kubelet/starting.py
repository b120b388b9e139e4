"""How does one run of a container begin? Image, environment, sandbox, process, record; retried with a reason.

What happens after the start belongs to ``container``.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from platform_lib.embedded.identity import Identity
from platform_lib.embedded.kubelet import environment, runtime, seccomp
from platform_lib.embedded.kubelet.cgroups import Group
from platform_lib.embedded.kubelet.confinement import confine, limits_of, security, unenforced
from platform_lib.embedded.kubelet.environment import ConfigError
from platform_lib.embedded.kubelet.imagestore import Image, ImageError
from platform_lib.embedded.kubelet.records import ContainerRecord
from platform_lib.embedded.kubelet.runtime import Launch
from platform_lib.embedded.kubelet.sandbox import Confinement, command_line, host_environment
from platform_lib.embedded.kubelet.services import PodContext, stamp
from platform_lib.errors import ApiError, Unreachable
from platform_lib.model import Obj

RETRY_S = 2.0
PULL_SETTLE_S = 2.0

WaitFor = Callable[[str, str], None]
"""Shows a waiting reason with its message."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a start needed: kept for exec probes and for the pod's condition."""

    confinement: Confinement
    group: Group | None
    unenforced: tuple[str, ...]


class Starter:
    """Starts the runs of one container.

    Args:
        context: Its pod.
        spec: Its specification.
        record: What is known of it; filled in by a start.
        init: Whether it is an init container (for event paths).
        wait_for: Shows waiting reasons.
    """

    def __init__(
        self, context: PodContext, spec: Obj, record: ContainerRecord, wait_for: WaitFor, *, init: bool
    ) -> None:
        self._context, self._spec, self._record, self._init = context, spec, record, init
        self._wait_for = wait_for

    def event(self, type_: str, reason: str, message: str) -> None:
        """Record an event about this container."""
        self._context.event(type_, reason, message, self._spec["name"], init=self._init)

    async def start(self) -> Start:
        """Start it, however long that takes; each failure shows its reason and is tried again."""
        delay_s = 0.0
        while True:
            try:
                return await self._launch(await self._image())
            except ImageError as error:
                delay_s = self._longer(delay_s)
                await self._image_failed(error, delay_s)
            except ConfigError as error:
                await self._failed("CreateContainerConfigError", str(error), RETRY_S)
            except (Unreachable, ApiError) as error:
                self._wait_for("ContainerCreating", f"waiting for the API: {error.message}")
                await asyncio.sleep(RETRY_S)
            except OSError as error:
                delay_s = self._longer(delay_s)
                await self._failed("CreateContainerError", str(error), delay_s)

    def _longer(self, delay_s: float) -> float:
        """Return the next back-off."""
        policy = self._context.services.restart_policy
        return min(delay_s * 2, policy.cap_s) if delay_s else policy.base_s

    async def _failed(self, reason: str, message: str, delay_s: float) -> None:
        """Show a failure, then wait."""
        self.event("Warning", "Failed", f"Error: {message}")
        self._wait_for(reason, message)
        await asyncio.sleep(delay_s)

    async def _image(self) -> Image:
        """Get the image, with the events that Kubernetes shows."""
        reference, images = self._spec.get("image", ""), self._context.services.images
        if images.present(reference):
            self.event("Normal", "Pulled", f'Container image "{reference}" already present on machine')
            return images.load(reference)
        if self._spec.get("imagePullPolicy") == "Never":
            message = f'Container image "{reference}" is not present with pull policy of Never'
            raise ImageError("ErrImageNeverPull", message)
        self.event("Normal", "Pulling", f'Pulling image "{reference}"')
        image = await images.pull(reference)
        took = f"in {(image.pulled_s or 0) * 1000:.0f}ms"
        told = f'Successfully pulled image "{reference}" {took}. Image size: {image.size_bytes} bytes.'
        self.event("Normal", "Pulled", told)
        return image

    async def _image_failed(self, error: ImageError, delay_s: float) -> None:
        """Show why there is no image, then wait."""
        reference = self._spec.get("image", "")
        self._wait_for(error.reason, error.message)
        if error.reason != "ErrImagePull":
            reason = "InspectFailed" if error.reason == "InvalidImageName" else error.reason
            self.event("Warning", reason, error.message)
            self.event("Warning", "Failed", f"Error: {error.reason}")
            await asyncio.sleep(delay_s)
            return
        self.event("Warning", "Failed", f'Failed to pull image "{reference}": {error.message}')
        self.event("Warning", "Failed", "Error: ErrImagePull")
        settle_s = min(PULL_SETTLE_S, delay_s / 2)
        await asyncio.sleep(settle_s)
        self.event("Normal", "BackOff", f'Back-off pulling image "{reference}"')
        self.event("Warning", "Failed", "Error: ImagePullBackOff")
        self._wait_for("ImagePullBackOff", f'Back-off pulling image "{reference}": ErrImagePull: {error.message}')
        await asyncio.sleep(delay_s - settle_s)

    async def confinement(self, image: Image) -> Confinement:
        """Resolve the container as this run has it."""
        objects = await self._context.objects(environment.references(self._spec))
        context, spec = self._context, self._spec
        env = environment.variables(context.pod, spec, image.env, context.facts, objects)
        return confine(context, spec, image, env, self._record.restarts)

    async def _launch(self, image: Image) -> Start:
        """Start the process and put it on record."""
        context, record, name = self._context, self._record, self._spec["name"]
        wanted = await self.confinement(image)
        record.container_id = secrets.token_hex(32)
        record.image_id = f"{image.reference.partition('@')[0]}@{image.digest}"
        self.event("Normal", "Created", f"Created container: {name}")
        group = self._group()
        record.cgroups = group.paths if group else []
        record.monitor = self._spawn(wanted, group)
        record.started_at, record.oom_killed = stamp(), False
        record.sandboxed = context.services.sandbox.mode != "plain"
        context.save()
        self.event("Normal", "Started", f"Started container {name}")
        return Start(wanted, group, tuple(unenforced(context, self._spec, wanted)))

    def _spawn(self, wanted: Confinement, group: Group | None) -> Identity:
        """Start the command line with its control group, status file and filter."""
        services, folder = self._context.services, self._context.folder
        name, run = self._spec["name"], self._record.restarts
        inside = wanted.rootfs / wanted.cwd.strip("/")
        plain = services.sandbox.mode == "plain"
        status_fd, filter_fd = runtime.open_status(folder.status(name, run)), self._filter_fd()
        fds = tuple(fd for fd in (status_fd, filter_fd) if fd is not None)
        try:
            launch = Launch(
                command=command_line(services.sandbox, wanted, status_fd, filter_fd),
                env=host_environment(services.sandbox, wanted),
                cwd=str(inside) if plain and inside.is_dir() else "/",
                log_file=folder.log(name, run),
                entrances=tuple(group.entrances()) if group else (),
                pass_fds=fds,
            )
            return runtime.spawn(launch)
        finally:
            for descriptor in fds:
                os.close(descriptor)

    def _group(self) -> Group | None:
        """Create the control group, where this machine has them."""
        hierarchy = self._context.services.hierarchy
        name = group_name(self._context, self._spec["name"])
        return Group.create(hierarchy, name, limits_of(self._spec)) if hierarchy.version else None

    def _filter_fd(self) -> int | None:
        """Return an open system call filter when the pod asks for one and the sandbox can load it."""
        profile = security(self._context.pod, self._spec, "seccompProfile") or {}
        compiled = seccomp.program() if profile.get("type") == "RuntimeDefault" else None
        if compiled is None or self._context.services.sandbox.mode == "plain":
            return None
        descriptor = os.memfd_create("apqx-seccomp", 0)
        os.write(descriptor, compiled)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor


def group_name(context: PodContext, container: str) -> str:
    """Return the name of a container's control group."""
    return f"apqx-{context.record.uid}-{container}"
