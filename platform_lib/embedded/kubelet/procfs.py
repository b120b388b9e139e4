"""What does the kernel say of a process? Descendants, CPU time and memory, read from ``/proc``.

Which process a pid means belongs to ``embedded.identity``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


class Stat(NamedTuple):
    """The fields of ``/proc/PID/stat`` that are used here; CPU time includes children that were waited for."""

    state: str
    parent: int
    session: int
    cpu_s: float
    ticks: int


def read_stat(pid: int) -> Stat | None:
    """Read a process's state; None when it does not exist."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    cpu_ticks = sum(int(value) for value in fields[11:15])
    return Stat(fields[0], int(fields[1]), int(fields[3]), cpu_ticks / _TICKS_PER_S, int(fields[19]))


def children(pid: int) -> list[int]:
    """Return the direct children of a process."""
    found: list[int] = []
    try:
        for task in (_PROC / str(pid) / "task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return _children_by_scan(pid) if (_PROC / str(pid)).exists() else found
    return found


def _children_by_scan(pid: int) -> list[int]:
    """Find children by everyone's parent, for kernels without the ``children`` file."""
    stats = ((int(p.name), read_stat(int(p.name))) for p in _PROC.iterdir() if p.name.isdigit())
    return [child for child, stat in stats if stat is not None and stat.parent == pid]


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants, parents first."""
    found = [pid]
    for parent in found:
        found += [child for child in children(parent) if child not in found]
    return found


def sessions() -> dict[int, list[int]]:
    """Return the live processes of every session (session id -> pids)."""
    members: dict[int, list[int]] = defaultdict(list)
    for entry in _PROC.iterdir():
        stat = read_stat(int(entry.name)) if entry.name.isdigit() else None
        if stat is not None and stat.state not in "ZX":
            members[stat.session].append(int(entry.name))
    return members


def cpu_seconds(pids: Iterable[int]) -> float:
    """Sum the CPU time of processes and of the children they have waited for."""
    return sum(stat.cpu_s for stat in map(read_stat, pids) if stat is not None)


def rss_bytes(pids: Iterable[int]) -> int:
    """Sum resident memory; counts shared pages once per process, so it is an upper bound."""
    return sum(_resident(pid) for pid in pids)


def _resident(pid: int) -> int:
    """Read the resident size of one process; 0 when it is gone."""
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0


def memory_bytes(pids: Iterable[int]) -> int:
    """Sum proportional memory (PSS: a page shared by n processes counts 1/n in each); RSS where unreadable."""
    return sum(_proportional(pid) for pid in pids)


def _proportional(pid: int) -> int:
    """Read the proportional size of one process."""
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return _resident(pid)
    return 0


def command_lines() -> dict[int, list[bytes]]:
    """Return the arguments of every process that has any, by pid."""
    found = {}
    for entry in _PROC.iterdir():
        words = _bytes(entry / "cmdline").split(b"\0") if entry.name.isdigit() else [b""]
        if words != [b""]:
            found[int(entry.name)] = words
    return found


def environment(pid: int) -> bytes:
    """Return the environment a process was started with; empty when it may not be read."""
    return _bytes(_PROC / str(pid) / "environ")


def _bytes(file: Path) -> bytes:
    """Read a file of /proc; empty when the process is gone or another user's."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
