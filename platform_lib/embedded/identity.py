"""Which process is it really? A pid alone can be reused; a pid with its start time cannot.

Reads /proc and signals through pidfds, so a signal never reaches a stranger.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36
STAT_STATE, STAT_PARENT, STAT_START = 0, 1, 19
"""Places in /proc/PID/stat counted from the field after the command name (proc_pid_stat(5))."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One process: its pid and its start in clock ticks since boot."""

    pid: int
    start_ticks: int

    def to_json(self) -> dict[str, Any]:
        """Return what ``processes.json`` stores; ``create_time`` is in Unix seconds, for people."""
        created = _boot_time_s() + self.start_ticks / os.sysconf("SC_CLK_TCK")
        return {"pid": self.pid, "create_time": round(created, 2), "start_ticks": self.start_ticks}

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> Identity | None:
        """Read what ``to_json`` gave; None stays None."""
        return cls(int(data["pid"]), int(data["start_ticks"])) if data and data.get("pid") else None


def identify(pid: int) -> Identity | None:
    """Return the identity of a running process; None when there is none or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rsplit(")", 1)[1].split()
    if fields[STAT_STATE] in "ZX":
        return None
    return Identity(pid, int(fields[STAT_START]))


def alive(identity: Identity | None) -> bool:
    """Return whether exactly this process still runs."""
    return identity is not None and identify(identity.pid) == identity


def open_pidfd(identity: Identity) -> int | None:
    """Return a pidfd that becomes readable when the process ends; None when it has ended already."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if identify(identity.pid) == identity:
        return handle
    os.close(handle)
    return None


def send(identity: Identity | None, number: signal.Signals) -> bool:
    """Signal exactly this process; return False when it no longer runs."""
    handle = open_pidfd(identity) if identity is not None else None
    if handle is None:
        return False
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def set_name(name: str) -> None:
    """Set the command name that ``ps`` shows (15 bytes)."""
    _libc().prctl(PR_SET_NAME, ctypes.create_string_buffer(name.encode()[:15]), 0, 0, 0)


def become_subreaper() -> None:
    """Make orphaned descendants children of this process, so that none stays a zombie."""
    _libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> dict[int, int]:
    """Collect every child that has ended; return exit codes (negative: signal) by pid."""
    codes: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            codes[pid] = os.waitstatus_to_exitcode(status)
    return codes


@functools.cache
def _libc() -> ctypes.CDLL:
    """Return the C library (prctl has no wrapper in the standard library)."""
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _boot_time_s() -> float:
    """Return the time of boot in Unix seconds."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
