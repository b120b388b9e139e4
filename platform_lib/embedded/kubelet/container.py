"""How does one container live? Pull, start, probe, notice the exit, restart with back-off, stop.

The kubelet's behaviour for one container, on top of ``runtime``. Everything that must survive the agent is in
the record; what is here in memory can be computed again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Literal

from platform_lib.embedded.kubelet import runtime
from platform_lib.embedded.kubelet.backoff import next_delay_s, remaining_s
from platform_lib.embedded.kubelet.cgroups import Group
from platform_lib.embedded.kubelet.confinement import last_words_file
from platform_lib.embedded.kubelet.environment import ConfigError
from platform_lib.embedded.kubelet.execution import execute
from platform_lib.embedded.kubelet.imagestore import ImageError
from platform_lib.embedded.kubelet.podstatus import ContainerView
from platform_lib.embedded.kubelet.probes import Kind, Prober, Reports, Target, attempt
from platform_lib.embedded.kubelet.records import ContainerRecord
from platform_lib.embedded.kubelet.runtime import Running
from platform_lib.embedded.kubelet.sandbox import Confinement
from platform_lib.embedded.kubelet.services import PodContext, epoch, stamp
from platform_lib.embedded.kubelet.starting import Starter, group_name
from platform_lib.errors import ApiError, Unreachable
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

log = logging.getLogger(__name__)

Role = Literal["init", "sidecar", "app"]
LAST_WORDS_BYTES = 4096
HOOK_TIMEOUT_S = 30.0
KEPT_RUNS = 2
SIGKILLED = 137


class Container:
    """One container of one pod on this node.

    Args:
        context: Its pod.
        spec: Its specification.
        record: What is known of it; belongs to the pod's record.
        role: ``init`` runs once, ``sidecar`` is an init container that stays, ``app`` is the rest.
    """

    def __init__(self, context: PodContext, spec: Obj, record: ContainerRecord, role: Role) -> None:
        self.context, self.spec, self.record, self.role = context, spec, record, role
        self.name: str = spec["name"]
        self.running: Running | None = None
        self.group: Group | None = None
        self.unenforced: tuple[str, ...] | None = None
        self.stopping = False
        self.started = asyncio.Event()
        self._over = asyncio.Event()
        self._fresh = False
        initializing = role == "app" and m.spec(context.pod).get("initContainers")
        self._waiting: Obj = {"reason": "PodInitializing" if initializing else "ContainerCreating"}
        self._confinement: Confinement | None = None
        self._starter = Starter(context, spec, record, self.wait_for, init=role != "app")
        self._tasks: set[asyncio.Task[None]] = set()
        if record.started:
            self.started.set()

    # What it looks like

    def view(self) -> ContainerView:
        """Return what the API should show."""
        record = self.record
        if self.running is not None:
            state: Obj = {"running": {"startedAt": record.started_at}}
        elif record.exit and (self.stopping or not self._waiting):
            state = {"terminated": record.exit}
        else:
            state = {"waiting": self._waiting or {"reason": "ContainerCreating"}}
        ended = record.exit if "waiting" in state and record.exit else record.last
        return ContainerView(
            name=self.name,
            image=self.spec.get("image", ""),
            image_id=record.image_id,
            container_id=f"apqx://{record.container_id}" if record.container_id else "",
            state=state,
            last_state={"terminated": ended} if ended else {},
            ready=self.ready,
            started=record.started,
            restarts=record.restarts,
        )

    @property
    def ready(self) -> bool:
        """Whether it is running and its readiness probe, if any, passes; a finished init container is ready."""
        if self.role == "init":
            return bool(self.record.exit) and self.record.exit.get("exitCode") == 0
        return self.running is not None and self.record.ready

    def wait_for(self, reason: str, message: str = "") -> None:
        """Show a waiting reason."""
        self._waiting = {"reason": reason} | ({"message": message} if message else {})
        self.context.changed()

    def _event(self, type_: str, reason: str, message: str) -> None:
        self._starter.event(type_, reason, message)

    # Its life

    async def run(self) -> None:
        """Live until the container has ended for good or is told to stop."""
        await self._until_exit()
        while not self.stopping:
            if self.running is None:
                if self.record.exit:
                    if not self._restarts():
                        return
                    await self._back_off()
                    self._next_run()
                start = await self._starter.start()
                self._confinement, self.group, self.unenforced = start.confinement, start.group, start.unenforced
                self._attach(fresh=True)
            await self._until_exit()

    def _restarts(self) -> bool:
        """Apply the restart policy to the last exit."""
        policy = m.spec(self.context.pod).get("restartPolicy") or "Always"
        failed = self.record.exit.get("exitCode") != 0
        if self.role == "sidecar":
            return True
        if self.role == "init":
            return failed and policy != "Never"
        return policy == "Always" or (policy == "OnFailure" and failed)

    async def _back_off(self) -> None:
        """Wait as the kubelet does between a crash and the next start."""
        record, policy = self.record, self.context.services.restart_policy
        failed_at = record.ended_at
        left_s = remaining_s(record.backoff_s, failed_at, epoch())
        if left_s > 0 and failed_at - record.backoff_since <= 2 * policy.cap_s:
            pod = self.context.record
            whole = f"{pod.name}_{pod.namespace}({pod.uid})"
            delay = go_duration(record.backoff_s)
            self._event("Warning", "BackOff", f"Back-off restarting failed container {self.name} in pod {whole}")
            message = f"back-off {delay} restarting failed container={self.name} pod={whole}"
            self.wait_for("CrashLoopBackOff", message)
            await asyncio.sleep(left_s)
        record.backoff_s = next_delay_s(policy, record.backoff_s, record.backoff_since, failed_at)
        record.backoff_since = failed_at

    def _next_run(self) -> None:
        """Turn the record to the next run."""
        record = self.record
        record.last, record.exit = record.exit, {}
        record.restarts += 1
        record.monitor = record.init = record.app = None
        folder = self.context.folder
        for place in (folder.log, folder.status):
            place(self.name, record.restarts - KEPT_RUNS).unlink(missing_ok=True)
        last_words_file(self.context, self.name, record.restarts - KEPT_RUNS).unlink(missing_ok=True)

    # Running

    def adopt(self) -> None:
        """Take over the process that an earlier agent started, if there is one."""
        if self.record.monitor is None or self.record.exit:
            return
        log.info("%s/%s: adopting container %s", m.namespace(self.context.pod), m.name(self.context.pod), self.name)
        hierarchy = self.context.services.hierarchy
        if hierarchy.version and self.record.cgroups:
            self.group = Group.adopt(hierarchy, group_name(self.context, self.name))
        self._attach(fresh=False)

    def _attach(self, *, fresh: bool) -> None:
        """Follow the process of this run; a fresh one still needs its postStart hook."""
        status_file = self.context.folder.status(self.name, self.record.restarts)
        self.running = Running(self.record, status_file)
        self._fresh, self._waiting = fresh, {}
        self._over.clear()
        if not self.spec.get("startupProbe"):
            self.record.started = True
            self.started.set()
        if not self.spec.get("readinessProbe") and self.record.started:
            self.record.ready = True
        self.context.changed()

    async def _until_exit(self) -> None:
        """Probe while it runs; then note how it ended."""
        running = self.running
        if running is None:
            return
        probing = asyncio.ensure_future(self._identify_and_probe(running))
        try:
            code = await running.wait()
        finally:
            probing.cancel()
            for task in self._tasks:
                task.cancel()
        self._ended(code)

    async def _identify_and_probe(self, running: Running) -> None:
        """Record the program's pid, run postStart and the probes."""
        if await running.identified():
            self.context.save()
        hook = (self.spec.get("lifecycle") or {}).get("postStart")
        if hook and self._fresh:
            result = await attempt(hook, self._target(), HOOK_TIMEOUT_S)
            if not result.ok:
                self._event("Warning", "FailedPostStartHook", f"PostStartHook failed: {result.message}")
                await self._restart("FailedPostStartHook")
        if self.spec.get("startupProbe") and not self.record.started:
            await self._prober("startup", passing=False).run()
        later: list[tuple[Kind, bool]] = [("readiness", self.record.ready), ("liveness", True)]
        probers = [self._prober(kind, passing=passing) for kind, passing in later if self.spec.get(f"{kind}Probe")]
        await asyncio.gather(*(prober.run() for prober in probers))

    def _target(self) -> Target:
        return Target(self.context.record.ip, self.spec, self.execute)

    def _prober(self, kind: Kind, *, passing: bool) -> Prober:
        """Build one probe of this container."""

        def report(passes: bool) -> None:
            self._probed(kind, passes)

        def unhealthy(message: str) -> None:
            if not self.stopping:
                self._event("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {message}")

        return Prober(kind, self.spec[f"{kind}Probe"], self._target(), Reports(report, unhealthy), passing=passing)

    def _probed(self, kind: Kind, passes: bool) -> None:
        """Act on a probe's verdict."""
        if kind == "readiness":
            self.record.ready = passes
        elif kind == "startup" and passes:
            self.record.started = True
            self.record.ready = not self.spec.get("readinessProbe")
            self.started.set()
        elif not self.stopping:
            self._event("Normal", "Killing", f"Container {self.name} failed {kind} probe, will be restarted")
            self._spawn_task(self._restart(kind))
        self.context.changed()

    async def _restart(self, why: str) -> None:
        """End this run so that the restart policy starts another; it takes no new traffic meanwhile."""
        spec = self.spec.get(f"{why}Probe") or {}
        grace_s = spec.get("terminationGracePeriodSeconds")
        if grace_s is None:
            grace_s = m.spec(self.context.pod).get("terminationGracePeriodSeconds", 30)
        self.record.ready = False
        self.context.changed()
        deadline = asyncio.get_running_loop().time() + float(grace_s)
        await self.pre_stop(float(grace_s))
        await self.end(lambda: deadline)

    def _spawn_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something beside the life of the container, at most until its exit."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def execute(self, words: list[str], timeout_s: float) -> tuple[int, str]:
        """Run a command inside; see ``execution.execute``."""
        if self._confinement is None:
            try:
                image = await self.context.services.images.pull(self.spec["image"])
                self._confinement = await self._starter.confinement(image)
            except (ImageError, ConfigError, ApiError, Unreachable) as error:
                return 1, f"cannot enter the container: {error}"
        return await execute(self.context.services.sandbox, self._confinement, self.record, words, timeout_s)

    # The end

    async def pre_stop(self, timeout_s: float) -> None:
        """Run the preStop hook, at most as long as the grace period."""
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if not hook or self.running is None:
            return
        if hook.get("sleep"):
            await asyncio.sleep(min(float(hook["sleep"]["seconds"]), timeout_s))
            return
        result = await attempt(hook, self._target(), timeout_s)
        if not result.ok:
            self._event("Warning", "FailedPreStopHook", f"PreStopHook failed: {result.message}")

    async def end(self, deadline: Callable[[], float]) -> None:
        """Ask the program to finish (SIGTERM), then kill it.

        Args:
            deadline: Loop time after which it is killed; asked again and again, because it may be shortened.
        """
        running = self.running
        if running is None:
            return
        await running.terminate()
        loop = asyncio.get_running_loop()
        while not self._over.is_set() and loop.time() < deadline():
            await self._is_over(min(1.0, max(0.0, deadline() - loop.time())))
        if not self._over.is_set():
            running.kill()
            await self._over.wait()

    async def _is_over(self, timeout_s: float) -> bool:
        """Wait a while for the exit to be noted."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._over.wait()
        except TimeoutError:
            return False

    def kill(self) -> None:
        """Kill at once."""
        self.stopping = True
        if self.running is not None:
            self.running.kill()

    def _ended(self, code: int | None) -> None:
        """Note how a run ended and tell it."""
        record = self.record
        by_kernel = self.group is not None and self.group.oom_kills() > 0 and code == SIGKILLED
        oom = record.oom_killed or (by_kernel and not self.stopping)
        exit_code = runtime.LOST if code is None else code
        reason = "OOMKilled" if oom else "Completed" if exit_code == 0 else "Error"
        message = self._last_words(exit_code)
        if code is None and not oom and not self.stopping:
            reason = "ContainerStatusUnknown"
            message = "The container could not be located when the pod was observed"
        record.exit = {
            "exitCode": exit_code,
            "reason": reason,
            "startedAt": record.started_at,
            "finishedAt": stamp(),
            "containerID": f"apqx://{record.container_id}",
        } | ({"message": message} if message else {})
        record.ended_at, record.ready, record.started = epoch(), False, False
        self.started.clear()
        self.running = None
        record.cgroups = self.group.remove() if self.group is not None else record.cgroups
        self.group = None
        self._over.set()
        self.context.changed()

    def _last_words(self, exit_code: int) -> str:
        """Read the termination message, or the end of the log where the policy says so."""
        file = last_words_file(self.context, self.name, self.record.restarts)
        words = file.read_bytes()[:LAST_WORDS_BYTES] if file.exists() else b""
        if not words and exit_code != 0 and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            words = tail(self.context.folder.log(self.name, self.record.restarts), 2048)
        return words.decode(errors="replace")


def tail(file: Path, size: int) -> bytes:
    """Read the last bytes of a file; nothing when it does not exist."""
    if not file.exists():
        return b""
    with file.open("rb") as source:
        source.seek(max(0, file.stat().st_size - size))
        return source.read()


def go_duration(seconds: float) -> str:
    """Format seconds as Go does (``10s``, ``2m40s``).

    Example:
        >>> go_duration(10), go_duration(160), go_duration(0.5)
        ('10s', '2m40s', '500ms')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
