"""How much CPU and memory does each container use? Readings, and the memory limit where the kernel enforces none.

A control group counts everything that ever ran in it; without one the live process tree is summed (CPU of
children that were waited for included, memory as PSS).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from platform_lib.embedded.kubelet import procfs
from platform_lib.embedded.kubelet.confinement import limits_of
from platform_lib.embedded.kubelet.container import Container
from platform_lib.embedded.kubelet.pod import PodWorker
from platform_lib.embedded.kubelet.services import epoch, parse_stamp

log = logging.getLogger(__name__)

POLL_S = 1.0
REMEMBERED = 4096
ROTATE_BYTES = 10 * 1024 * 1024
KEEP_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """One container now."""

    namespace: str
    pod: str
    container: str
    image: str
    cpu_s: float
    memory_bytes: int
    memory_limit_bytes: int
    started_at: float
    oom_kills: int


def read(container: Container) -> Reading | None:
    """Measure one container; None when it does not run."""
    running, record, pod = container.running, container.record, container.context.record
    if running is None:
        return None
    group = container.group
    cpu_s = group.cpu_seconds() if group is not None else None
    memory = group.memory_bytes() if group is not None else None
    if cpu_s is None or memory is None:
        pids = running.pids()
        cpu_s = procfs.cpu_seconds(pids) if cpu_s is None else cpu_s
        memory = procfs.memory_bytes(pids) if memory is None else memory
    return Reading(
        namespace=pod.namespace,
        pod=pod.name,
        container=container.name,
        image=container.spec.get("image", ""),
        cpu_s=cpu_s,
        memory_bytes=memory,
        memory_limit_bytes=limits_of(container.spec).memory_bytes or 0,
        started_at=parse_stamp(record.started_at),
        oom_kills=group.oom_kills() if group is not None else int(record.oom_killed),
    )


class Watchkeeper:
    """Looks at every container once a second: memory limit, and when its log grew.

    The log file has no time stamps (the program writes it directly, so that it survives the agent); the sizes
    seen here tell the time of a line to about a second.

    Args:
        workers: Returns the pods of the node.
    """

    def __init__(self, workers: Callable[[], Iterable[PodWorker]]) -> None:
        self._workers = workers
        self._sizes: dict[str, deque[tuple[float, int]]] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            seen = set()
            for container in self._running():
                self._limit(container)
                seen.add(self._note_size(container))
            for gone in set(self._sizes) - seen:
                if len(self._sizes) > REMEMBERED:
                    del self._sizes[gone]

    def _running(self) -> Iterator[Container]:
        for worker in list(self._workers()):
            yield from (container for container in worker.containers if container.running is not None)

    def _limit(self, container: Container) -> None:
        """Kill a container above its memory limit where no control group does."""
        limit = limits_of(container.spec).memory_bytes
        if limit is None or container.group is not None or container.running is None:
            return
        pids = container.running.pids()
        if procfs.rss_bytes(pids) > limit and procfs.memory_bytes(pids) > limit:
            log.warning("%s: above its memory limit of %d bytes, killed", container.name, limit)
            container.record.oom_killed = True
            container.running.kill()

    def _note_size(self, container: Container) -> str:
        """Remember how long the log is now; cut it when it is too long."""
        file = container.context.folder.log(container.name, container.record.restarts)
        history = self._sizes.setdefault(str(file), deque(maxlen=REMEMBERED))
        size = file.stat().st_size if file.exists() else 0
        if size > ROTATE_BYTES:
            with file.open("r+b") as log_file:
                log_file.seek(-KEEP_BYTES, 2)
                kept = log_file.read()
                log_file.truncate(0)
            with file.open("ab") as log_file:
                log_file.write(kept.partition(b"\n")[2])
            history.clear()
            size = file.stat().st_size
        if not history or history[-1][1] != size:
            history.append((epoch(), size))
        return str(file)

    def offset_at(self, file: str, moment: float) -> int:
        """Return where in a log the lines after a moment begin (to about a second)."""
        earlier = [size for seen, size in self._sizes.get(file, ()) if seen <= moment]
        return earlier[-1] if earlier else 0

    def time_at(self, file: str, offset: int) -> float:
        """Return when the line at an offset was seen (to about a second)."""
        later = [seen for seen, size in self._sizes.get(file, ()) if size > offset]
        return later[0] if later else epoch()


def exposition(readings: Iterable[Reading]) -> str:
    """Format readings for Prometheus under the names of cAdvisor."""
    found = list(readings)
    families: list[tuple[str, str, Callable[[Reading], float]]] = [
        ("container_cpu_usage_seconds_total", "counter", lambda r: r.cpu_s),
        ("container_memory_working_set_bytes", "gauge", lambda r: r.memory_bytes),
        ("container_spec_memory_limit_bytes", "gauge", lambda r: r.memory_limit_bytes),
        ("container_start_time_seconds", "gauge", lambda r: r.started_at),
        ("container_oom_events_total", "counter", lambda r: r.oom_kills),
    ]
    lines = []
    for name, kind, value in families:
        lines.append(f"# TYPE {name} {kind}")
        for r in found:
            labels = f'namespace="{r.namespace}",pod="{r.pod}",container="{r.container}",image="{r.image}"'
            lines.append(f"{name}{{{labels}}} {float(value(r))!r}")
    return "\n".join(lines) + "\n"
