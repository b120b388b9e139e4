"""How does one container process start, end, and get found again? By pidfd, so that an exit is an event.

The exit code comes from a file that the sandbox or the shim writes: the agent that started a process need not be
the one that sees it end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platform_lib.embedded.identity import Identity, alive, identify, send
from platform_lib.embedded.kubelet import procfs
from platform_lib.embedded.kubelet.records import ContainerRecord, kill_container

log = logging.getLogger(__name__)

LOST = 137
"""Exit code when nobody could tell it, as the kubelet reports it (``ContainerStatusUnknown``)."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything that starting a process needs, resolved."""

    command: list[str]
    env: Mapping[str, str]
    cwd: str
    log_file: Path
    entrances: tuple[str, ...] = ()
    pass_fds: tuple[int, ...] = ()


def open_status(status_file: Path) -> int:
    """Open the file for child pid and exit code; the descriptor number goes into the command line."""
    status_file.parent.mkdir(parents=True, exist_ok=True)
    return os.open(status_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)


def spawn(launch: Launch) -> Identity:
    """Start a process in a session of its own, its output in a file.

    The output goes straight to the file (append mode), so a dead agent cannot break the program's stdout.

    Raises:
        OSError: The program cannot be started.
    """
    entrances = [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in launch.entrances]

    def join_groups() -> None:
        for entrance in entrances:
            os.write(entrance, b"0")

    out = os.open(launch.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        started = subprocess.Popen(
            launch.command,
            env=dict(launch.env),
            cwd=launch.cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            pass_fds=launch.pass_fds,
            start_new_session=True,
            preexec_fn=join_groups if entrances else None,
        )
    finally:
        for descriptor in (out, *entrances):
            os.close(descriptor)
    stat = procfs.read_stat(started.pid)
    started.returncode = 0  # reaped by Running.wait; keeps Popen from complaining that it was not
    return Identity(started.pid, stat.ticks if stat is not None else 0)


class Running:
    """A container process that runs or has just ended.

    Args:
        record: Its record; ``init`` and ``app`` are filled in as they become known.
        status_file: Where the sandbox or shim writes.
    """

    def __init__(self, record: ContainerRecord, status_file: Path) -> None:
        if record.monitor is None:
            raise ValueError(f"container {record.name} has no process")
        self._record, self._status_file = record, status_file
        self._monitor = record.monitor
        self._ended = asyncio.get_running_loop().create_future()
        self._watch()

    def _watch(self) -> None:
        """Have the event loop tell when the monitor exits; works for processes of an earlier agent too."""
        try:
            pidfd = os.pidfd_open(self._monitor.pid)
        except ProcessLookupError:
            self._ended.set_result(None)
            return
        if not alive(self._monitor) and not _is_own_zombie(self._monitor):
            os.close(pidfd)
            self._ended.set_result(None)
            return
        asyncio.get_running_loop().add_reader(pidfd, self._on_exit, pidfd)

    def _on_exit(self, pidfd: int) -> None:
        """Reap the monitor if it is ours and wake whoever waits."""
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        try:
            os.waitpid(self._monitor.pid, os.WNOHANG)
        except ChildProcessError:
            log.debug("pid %d was started by an earlier agent", self._monitor.pid)
        if not self._ended.done():
            self._ended.set_result(None)

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._ended.done()

    async def wait(self) -> int | None:
        """Wait for the end.

        Returns:
            The exit code (128 + signal number for a signal); None when it was lost, with every process that
            was left killed.
        """
        await asyncio.shield(self._ended)
        code = _status(self._status_file).get("exit-code")
        if code is None:
            self.identify()
            kill_container(self._record)
        return code

    def identify(self) -> bool:
        """Fill the record's ``init`` and ``app`` from what the sandbox told; True when both are known."""
        record = self._record
        if record.app is not None:
            return True
        child = _status(self._status_file).get("child-pid")
        record.init = identify(child) if child is not None else None
        if record.init is None:
            return False
        below = procfs.children(record.init.pid) if record.sandboxed else [record.init.pid]
        record.app = identify(below[0]) if below else None
        return record.app is not None

    async def identified(self, *, timeout_s: float = 2.0) -> bool:
        """Wait until the program's pid is known (a few milliseconds after the start)."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not self.identify():
            if self.ended or asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.003)
        return True

    async def terminate(self) -> None:
        """Send SIGTERM to the program itself (the sandbox would take the signal as its own end)."""
        if await self.identified() and self._record.app is not None:
            send(self._record.app, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the program and everything it started."""
        self.identify()
        kill_container(self._record)

    def pids(self) -> list[int]:
        """Return the processes of the container, without the monitor."""
        self.identify()
        top = self._record.init
        return procfs.tree(top.pid) if top is not None and alive(top) else []


async def wait_child(child: Identity) -> int:
    """Wait for a process started by ``spawn`` and return its exit code (128 + signal number for a signal)."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    pidfd = os.pidfd_open(child.pid)
    loop.add_reader(pidfd, ended.set_result, None)
    try:
        await ended
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    return 128 - code if code < 0 else code


def _is_own_zombie(process: Identity) -> bool:
    """Tell whether the process has ended but waits for this agent to reap it."""
    stat = procfs.read_stat(process.pid)
    return stat is not None and stat.ticks == process.start_ticks


def _status(file: Path) -> dict[str, int]:
    """Read the numbers that the sandbox or the shim has written so far."""
    found: dict[str, int] = {}
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        found |= {key: value for key, value in entry.items() if isinstance(value, int)}
    return found
