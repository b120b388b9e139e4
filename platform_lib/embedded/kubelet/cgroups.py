"""Which limits does the kernel enforce for us? Control groups, version 1 or 2, where they may be written.

One flat folder per container and controller, named after the pod, so that nothing is left when it is removed.
Without write access nothing is created and the caller says so (and polls memory instead).
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platform_lib.embedded.kubelet.records import remove_cgroups

log = logging.getLogger(__name__)

CPU_PERIOD_US = 100_000
_V1 = {"memory": "memory", "cpu": "cpu", "cpuacct": "cpuacct", "pids": "pids"}
PIDS_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """What this machine offers.

    Attributes:
        version: 1 or 2; 0 when no control group can be written.
        roots: Folder per controller under which groups are created.
        reason: Why not, when version is 0.
    """

    version: Literal[0, 1, 2]
    roots: dict[str, Path]
    reason: str = ""

    def offers(self, controller: str) -> bool:
        """Tell whether a controller can be used."""
        return controller in self.roots


def detect(mount: Path = Path("/sys/fs/cgroup")) -> Hierarchy:
    """Find the controllers that this process may use, by creating and removing a group in each."""
    if (mount / "cgroup.controllers").exists():
        return _detect_v2(mount)
    roots = {name: mount / folder for name, folder in _V1.items() if (mount / folder / "cgroup.procs").exists()}
    usable = {name: root for name, root in roots.items() if _writable(root)}
    if "memory" in usable and "cpu" in usable:
        return Hierarchy(1, usable)
    reason = "control groups are not writable for this user" if roots else "no control group controllers are mounted"
    return Hierarchy(0, {}, reason)


def _detect_v2(mount: Path) -> Hierarchy:
    """Use the unified hierarchy when memory and cpu can be delegated from its root."""
    wanted = ("memory", "cpu", "pids")
    switch = mount / "cgroup.subtree_control"
    try:
        available = (mount / "cgroup.controllers").read_text().split()
        enabled = switch.read_text().split()
        missing = [name for name in wanted if name in available and name not in enabled]
        if missing:
            switch.write_text(" ".join(f"+{name}" for name in missing))
    except OSError as error:
        return Hierarchy(0, {}, f"control groups are not writable for this user ({error.strerror})")
    if not {"memory", "cpu"} <= set(available) or not _writable(mount):
        return Hierarchy(0, {}, "the memory and cpu controllers are not delegated to this user")
    return Hierarchy(2, {name: mount for name in (*wanted, "cpuacct") if name in (*available, "cpuacct")})


def _writable(root: Path) -> bool:
    """Try to create a group."""
    probe = root / f"apqx-probe-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Limits:
    """What one container may use; None is no limit. ``cpu_shares`` follows the CPU request (1024 per core)."""

    memory_bytes: int | None = None
    cpu_cores: float | None = None
    cpu_shares: int = 2


class Group:
    """The control group of one container (one folder in version 2, one per controller in version 1)."""

    def __init__(self, hierarchy: Hierarchy, folders: dict[str, Path]) -> None:
        self._v2 = hierarchy.version == 2
        self._folders = folders

    @classmethod
    def create(cls, hierarchy: Hierarchy, name: str, limits: Limits) -> Group:
        """Create the group and set its limits; an existing one is reused."""
        folders = {controller: root / name for controller, root in hierarchy.roots.items()}
        for folder in set(folders.values()):
            folder.mkdir(exist_ok=True)
        group = cls(hierarchy, folders)
        group._limit(limits)
        return group

    @classmethod
    def adopt(cls, hierarchy: Hierarchy, name: str) -> Group:
        """Return the handle of a group that an earlier agent created."""
        return cls(hierarchy, {controller: root / name for controller, root in hierarchy.roots.items()})

    @property
    def paths(self) -> list[str]:
        """The folders, for the record."""
        return sorted({str(folder) for folder in self._folders.values()})

    def _limit(self, limits: Limits) -> None:
        """Write the limits in the terms of the version."""
        quota = None if limits.cpu_cores is None else max(1000, int(limits.cpu_cores * CPU_PERIOD_US))
        if self._v2:
            weight = 1 + ((max(2, limits.cpu_shares) - 2) * 9999) // 262142
            self._write("cpu", "cpu.max", f"{quota or 'max'} {CPU_PERIOD_US}")
            self._write("cpu", "cpu.weight", str(weight))
            self._write("memory", "memory.max", str(limits.memory_bytes or "max"))
            self._write("memory", "memory.oom.group", "1")
            self._write("pids", "pids.max", str(PIDS_LIMIT))
            return
        self._write("cpu", "cpu.cfs_period_us", str(CPU_PERIOD_US))
        self._write("cpu", "cpu.cfs_quota_us", str(quota or -1))
        self._write("cpu", "cpu.shares", str(max(2, limits.cpu_shares)))
        self._write("memory", "memory.limit_in_bytes", str(limits.memory_bytes or -1))
        self._write("pids", "pids.max", str(PIDS_LIMIT))

    def _write(self, controller: str, file: str, value: str) -> None:
        """Set one value; a kernel built without that knob is not an error."""
        folder = self._folders.get(controller)
        if folder is not None:
            try:
                (folder / file).write_text(value)
            except OSError as error:
                log.warning("%s/%s - cannot set %s: %s", folder, file, value, error.strerror)

    def entrances(self) -> list[str]:
        """Return the files into which a process writes ``0`` to join."""
        return [f"{path}/cgroup.procs" for path in self.paths]

    def cpu_seconds(self) -> float | None:
        """CPU time that the group has used."""
        if self._v2:
            usage = _fields(self._folders["cpu"] / "cpu.stat").get("usage_usec")
            return None if usage is None else usage / 1e6
        folder = self._folders.get("cpuacct")
        usage = None if folder is None else _number(folder / "cpuacct.usage")
        return None if usage is None else usage / 1e9

    def memory_bytes(self) -> int | None:
        """Working set: usage without the file pages that can be dropped, as Kubernetes counts it."""
        folder = self._folders["memory"]
        usage = _number(folder / ("memory.current" if self._v2 else "memory.usage_in_bytes"))
        key = "inactive_file" if self._v2 else "total_inactive_file"
        return None if usage is None else max(0, usage - _fields(folder / "memory.stat").get(key, 0))

    def oom_kills(self) -> int:
        """How many processes of the group the kernel killed for memory."""
        folder = self._folders["memory"]
        return _fields(folder / ("memory.events" if self._v2 else "memory.oom_control")).get("oom_kill", 0)

    def remove(self) -> list[str]:
        """Remove the folders; returns those that are still busy."""
        return remove_cgroups(self.paths)


def _number(file: Path) -> int | None:
    """Read a file that holds one number; None when the group is gone."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _fields(file: Path) -> dict[str, int]:
    """Read a file of ``name number`` lines; empty when the group is gone."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].lstrip("-").isdigit()}
