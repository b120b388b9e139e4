"""Who may change a platform right now? One mutating run per platform at a time.

Two locks say so. A file lock in the state folder works when there is no cluster (setup, cluster loss); a
Kubernetes Lease tells runs on other machines. A killed holder frees the file lock at once (the kernel drops
it) and the Lease when it expires.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from platform_lib.errors import Locked
from platform_lib.model import to_json
from platform_lib.wait import now


def identity() -> str:
    """Name this process for people: user, host and process id."""
    return f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}"


@contextlib.contextmanager
def exclusive(home: Path, *, purpose: str) -> Iterator[None]:
    """Hold the platform's lock while the block runs.

    Args:
        home: State folder of the platform; created when missing.
        purpose: What the holder does, shown to whoever is refused.

    Raises:
        Locked: Somebody else holds it; names the holder, the purpose and since when.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    note = home / "run.lock.json"
    lock = FileLock(home / "run.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise _refusal(note) from None
    try:
        note.touch(mode=0o600, exist_ok=True)
        note.write_text(json.dumps({"holder": identity(), "purpose": purpose, "since": to_json(now())}))
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _refusal(note: Path) -> Locked:
    """Say who holds the lock; the note may be missing for the instant between lock and note."""
    try:
        held = json.loads(note.read_text())
    except (OSError, ValueError):
        held = {"holder": "another process", "purpose": "starting", "since": "just now"}
    return Locked(
        f"platform lock - held by {held['holder']} for {held['purpose']} since {held['since']}",
        hint="wait for that run, or end it",
        holder=held["holder"],
        since=held["since"],
    )
