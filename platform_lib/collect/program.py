"""How does the collector run? One at a time per platform, until it is told to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from platform_lib.collect.known import Known
from platform_lib.collect.sources import Alerts, Git, Looking, follow_cluster
from platform_lib.errors import Locked, PlatformError, Unreachable
from platform_lib.journal import FOLDER
from platform_lib.model import Platform, to_json
from platform_lib.providers.state import read_endpoints
from platform_lib.settings import settings
from platform_lib.wait import now
from platform_lib.wire.follow import Follow

CONNECT_S = 0.5
TICK_S = 5.0
LEAVE_S = 0.2
"""A thread that is in the middle of a look may finish it; the platform waits under a second for all."""


def main() -> int:
    """Collect for the platform that the settings name, as soon as there is one; return the exit code."""
    stop = _on_signals()
    platform = _endpoints(settings().home, stop)
    try:
        if platform is not None:
            run(platform, stop=stop)
    except PlatformError as error:
        sys.stderr.write(f"collector: {error}\n")
        return error.exit_code
    return 0


def _endpoints(home: Path, stop: threading.Event) -> Platform | None:
    """Wait for the platform's endpoints: the collector may be started before they are written."""
    while not stop.is_set():
        try:
            return read_endpoints(home)
        except Unreachable:
            stop.wait(CONNECT_S)
    return None


def run(platform: Platform, *, stop: threading.Event | None = None) -> None:
    """Collect until ``stop`` is set or SIGTERM or SIGINT arrives.

    Args:
        platform: What to follow; its state folder holds the record.
        stop: Ends the collection; None makes one and connects it to the signals.

    Raises:
        Locked: Another collector works for this platform.
    """
    stop = stop or _on_signals()
    with _alone(platform.home):
        known = Known(platform.home / FOLDER, now())
        known.say("started", platform.name, records_known=len(known.values))
        try:
            _collect(platform, known, stop)
        finally:
            known.say("stopped", platform.name)


def _collect(platform: Platform, known: Known, stop: threading.Event) -> None:
    """Follow every source; the watches repair themselves, the others look again."""
    looking = [
        Looking("git", Git(platform, known).look, known, stop),
        Looking("prometheus", Alerts(platform, known).look, known, stop),
    ]
    for thread in looking:
        thread.start()
    follow = _connected(platform, known, stop)
    if follow is not None:
        with follow:
            _watch(follow, known, stop)
    for thread in looking:
        thread.join(timeout=LEAVE_S)


def _connected(platform: Platform, known: Known, stop: threading.Event) -> Follow | None:
    """Return the watches once there is a kubeconfig to connect with; None when told to stop before."""
    while not stop.is_set():
        try:
            return follow_cluster(platform, known)
        except Unreachable:
            stop.wait(CONNECT_S)
    return None


def _watch(follow: Follow, known: Known, stop: threading.Event) -> None:
    """Let the watches work; say for how long they saw nothing, and keep the memory of the day."""
    blind_since, reason = None, ""
    while not stop.wait(TICK_S):
        known.checkpoint(now())
        if follow.trouble():
            blind_since, reason = blind_since or now(), follow.trouble()
        elif blind_since is not None:
            gap_s = round((now() - blind_since).total_seconds(), 3)
            known.say("gap", "kubernetes", since=blind_since, gap_s=gap_s, reason=reason)
            blind_since = None


def _on_signals() -> threading.Event:
    """Return an event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return stop


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Let one collector work at a time; the second is told who is at it."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    note, lock = home / "collector.json", FileLock(home / "collector.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        held = _held(note)
        raise Locked(
            f"collector of {home.name} - {held['holder']} collects since {held['since']}, one is enough",
            hint="see what it recorded: apqx journal show",
            **held,
        ) from None
    try:
        note.touch(mode=0o600, exist_ok=True)
        note.write_text(
            json.dumps({"holder": f"process {os.getpid()} on {socket.gethostname()}", "since": to_json(now())})
        )
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _held(note: Path) -> dict[str, str]:
    """Read who holds the lock; the note may be missing for an instant."""
    try:
        found: dict[str, str] = json.loads(note.read_text())
    except (OSError, ValueError):
        return {"holder": "another process", "since": "just now"}
    return found
