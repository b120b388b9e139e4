"""Which fault is still in place, and how does any process remove it? One file per pending drill, written first.

The file is on disk (fsync of file and folder) before the fault strikes and goes after a successful undo. A drill
that dies with its process therefore leaves a file that names everything ``undo`` needs.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platform_lib import journal
from platform_lib.drills import faults
from platform_lib.drills.faults import Fault
from platform_lib.errors import InvalidInput, Locked, UndoFailed
from platform_lib.model import App, Platform, joined, to_json
from platform_lib.wait import now, uninterrupted

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pending:
    """A fault that was registered and not yet undone.

    Attributes:
        id: Name of the drill: UTC time and scenario.
        scenario: Scenario file.
        action: Fault action.
        parameters: Further keys of the scenario's ``[fault]``.
        target: What the fault chose, as JSON.
        platform: The platform's endpoints, so that the undo needs no cluster that answers.
        app: The application.
        pid: Process that runs the drill; 0 when it has given up.
        pid_started: When that process started (Unix seconds); a process id is used again one day.
        started_at: UTC, ISO 8601.
    """

    id: str
    scenario: str
    action: str
    parameters: dict[str, Any]
    target: dict[str, Any]
    platform: dict[str, Any]
    app: dict[str, Any]
    pid: int
    pid_started: float
    started_at: str

    @property
    def running(self) -> bool:
        """Whether the process that runs the drill is alive and still at it."""
        return self.pid > 0 and _born(self.pid) == self.pid_started

    def line(self) -> str:
        """Return one line for people."""
        whose = f"process {self.pid} runs it" if self.running else "nobody runs it any more"
        return f"{self.id}: {self.scenario} since {self.started_at}, {whose}"


def folder(home: Path) -> Path:
    """Return where the pending drills are."""
    return home / "drills" / "pending"


def pending(home: Path) -> list[Pending]:
    """Return the drills whose fault may still be in place, oldest first.

    Raises:
        UndoFailed: A file cannot be read; somebody has to look at it.
    """
    return [_read(path) for path in sorted(folder(home).glob("*.json"))]


def require_none(home: Path) -> None:
    """Refuse a new drill while a fault of another one may still be in place.

    Raises:
        Locked: Names the pending drill.
    """
    for one in pending(home):
        raise Locked(
            f"drill {one.id} - not undone yet: {one.line()}",
            hint="wait for it" if one.running else f"run: apqx drill undo {one.id}",
            holder=str(one.pid),
            since=one.started_at,
        )


def register(entry: Pending, home: Path) -> Path:
    """Write a pending drill to disk; returns when the disk has it."""
    place = folder(home)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = place / f"{entry.id}.json"
    fresh = path.with_suffix(".tmp")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(to_json(entry), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync(place)
    return path


def entry_of(id: str, scenario: str, spec: Any, fault: Fault, platform: Platform, app: App) -> Pending:
    """Describe a drill of this process that is about to strike."""
    return Pending(
        id=id,
        scenario=scenario,
        action=spec.action,
        parameters=spec.parameters,
        target=fault.target(),
        platform=to_json(platform),
        app=to_json(app),
        pid=os.getpid(),
        pid_started=_born(os.getpid()),
        started_at=to_json(now()),
    )


def renew(entry: Pending, fault: Fault, home: Path) -> Pending:
    """Write the target again: preparing may have added what the undo needs."""
    fresh = replace(entry, target=fault.target())
    register(fresh, home)
    return fresh


def clear(entry: Pending, home: Path) -> None:
    """Take a drill off the list; its fault is gone."""
    (folder(home) / f"{entry.id}.json").unlink(missing_ok=True)
    _sync(folder(home))


def carry_out(entry: Pending, fault: Fault, home: Path, words: str) -> None:
    """Undo a fault and take it off the list; signals wait until it is done.

    Raises:
        UndoFailed: The fault is still there, and on the list.
    """
    with uninterrupted():
        try:
            fault.undo()
        except Exception as error:
            register(replace(entry, pid=0), home)
            journal.current().append("drill", "undo_failed", entry.scenario, cause=entry.id, error=str(error))
            raise UndoFailed(
                f"drill {entry.scenario} - {words} failed: {error}", hint=f"run: apqx drill undo {entry.id}"
            ) from error
        clear(entry, home)
        journal.current().append("drill", "undone", entry.scenario, cause=entry.id, action=words)


def undo(home: Path, id: str = "", *, progress: Progress = lambda _line: None) -> list[Pending]:
    """Undo faults that a crashed workbench left behind.

    Args:
        home: State folder of the platform.
        id: One drill; empty takes every pending one.
        progress: Receives one line per drill.

    Returns:
        What was undone; empty when nothing was pending.

    Raises:
        InvalidInput: No such drill is pending.
        Locked: Its process is alive and will undo it itself.
        UndoFailed: A fault is still there.
    """
    entries = [one for one in pending(home) if id in ("", one.id)]
    if id and not entries:
        raise InvalidInput(
            f"drill {id} - not pending, wanted one of {joined(one.id for one in pending(home))}",
            hint="see: apqx drill list",
        )
    for one in entries:
        if one.running:
            raise Locked(f"drill {one.id} - {one.line()}", hint="interrupt that process; it undoes its fault")
        progress(f"undo {one.line()}")
        carry_out(one, _fault(one), home, "undo after a crash")
    return entries


@contextmanager
def terminable() -> Iterator[None]:
    """Take a request to terminate for a Ctrl-C inside the block: a cancelled job undoes its fault, too."""
    with _handling(_interrupt):
        yield


def _interrupt(_number: int, _frame: object) -> None:
    """Stop as on Ctrl-C."""
    raise KeyboardInterrupt


@contextmanager
def _handling(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Set a handler for both signals; elsewhere than in the main thread they do not arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _fault(entry: Pending) -> Fault:
    """Make the fault of a pending drill again."""
    place = {**entry.platform, "kubeconfig": Path(entry.platform["kubeconfig"]), "home": Path(entry.platform["home"])}
    return faults.from_target(entry.action, Platform(**place), App(**entry.app), entry.target)


def _born(pid: int) -> float:
    """When a process started, Unix seconds; 0 when it is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return 0.0


def _read(path: Path) -> Pending:
    """Read one file."""
    try:
        return Pending(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise UndoFailed(
            f"pending drill {path.name} - not readable: {error}", hint=f"look at {path}, undo by hand, then delete it"
        ) from error


def _sync(place: Path) -> None:
    """Make the folder's own change durable."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
