"""Who may change a platform right now? One mutating run per platform at a time.

Two locks say so. A file lock in the state folder works when there is no cluster (setup, cluster loss); a
Kubernetes Lease tells runs on other machines. A killed holder frees the file lock at once (the kernel drops
it) and the Lease when it expires, or at once for the next run of the same state folder.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from platform_lib import guard
from platform_lib.errors import Locked, PlatformError, Unreachable
from platform_lib.model import to_json
from platform_lib.providers.state import read_endpoints
from platform_lib.settings import settings
from platform_lib.wait import now
from platform_lib.wire.lease import RENEWALS, Lease

_held_here: set[Path] = set()
"""State folders whose lock this process holds: an operation inside another one needs no lock of its own."""


def identity() -> str:
    """Name this process for people: user, host and process id."""
    return f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}"


@contextlib.contextmanager
def exclusive(home: Path, *, purpose: str) -> Iterator[None]:
    """Hold the platform's locks while the block runs.

    The Lease is taken when the cluster answers, renewed in the background, and taken as soon as it answers when
    it comes up, or comes back, inside the block.

    Args:
        home: State folder of the platform; created when missing.
        purpose: What the holder does, shown to whoever is refused.

    Raises:
        Locked: Somebody else holds it; names the holder, the purpose and since when.
        GuardRefused: The platform may not be changed from here.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    note = home / "run.lock.json"
    lock = FileLock(home / "run.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise _refusal(note) from None
    try:
        ended, token = _note(note).get("token", ""), secrets.token_hex(8)
        keeper = _Keeper(home, purpose, token)
        keeper.start(ended)
        note.touch(mode=0o600, exist_ok=True)
        note.write_text(json.dumps({"holder": identity(), "purpose": purpose, "since": to_json(now()), "token": token}))
        _held_here.add(home)
        try:
            yield
        finally:
            _held_here.discard(home)
            keeper.stop()
            note.unlink(missing_ok=True)
    finally:
        lock.release()


@contextlib.contextmanager
def shared_with_run(home: Path, *, purpose: str) -> Iterator[None]:
    """Hold the locks for one operation, unless the run it belongs to, or this process, holds them already.

    Args:
        home: State folder of the platform.
        purpose: What the operation does.

    Raises:
        Locked: As ``exclusive``.
    """
    if settings().run_dir is not None or home in _held_here:
        yield
        return
    with exclusive(home, purpose=purpose):
        yield


class _Keeper:
    """Takes the Lease, renews it in the background, gives it back."""

    def __init__(self, home: Path, purpose: str, token: str) -> None:
        self._home, self._purpose, self._token = home, purpose, token
        self._stop = threading.Event()
        self._lease: Lease | None = None
        self._thread: threading.Thread | None = None

    def start(self, ended: str) -> None:
        """Take the Lease if there is a cluster, and go on in the background.

        Raises:
            Locked: Somebody else holds it.
        """
        current = settings()
        if not current.lease_namespace:
            return
        try:
            self._take(ended)
        except Unreachable:
            self._lease = None
        self._thread = threading.Thread(target=self._keep, args=(current.lease_s / RENEWALS,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the renewals and give the Lease back; with the cluster gone there is nothing to give back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        if self._lease is not None:
            with contextlib.suppress(PlatformError):
                self._lease.release()

    def _take(self, ended: str = "") -> None:
        """Take the Lease of the platform whose endpoints the state folder names."""
        current, platform = settings(), read_endpoints(self._home)
        guard.check(platform, self._purpose)
        lease = Lease(
            platform,
            current.lease_namespace,
            holder=identity(),
            token=self._token,
            purpose=self._purpose,
            duration_s=current.lease_s,
        )
        lease.acquire(ended=ended)
        self._lease = lease

    def _keep(self, interval_s: float) -> None:
        """Renew until the end; a cluster that does not answer is asked again, one that is held by others is left."""
        while not self._stop.wait(interval_s):
            try:
                self._lease.renew() if self._lease is not None else self._take()
            except Locked:
                self._lease = None
                return
            except PlatformError:
                continue


def _note(path: Path) -> dict[str, str]:
    """Read the note beside the lock; empty when there is none or it is being written."""
    try:
        note = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _refusal(path: Path) -> Locked:
    """Say who holds the lock; the note may be missing for the instant between lock and note."""
    held = {"holder": "another process", "purpose": "starting", "since": "just now"} | _note(path)
    return Locked(
        f"platform lock - held by {held['holder']} for {held['purpose']} since {held['since']}",
        hint="wait for that run, or end it",
        holder=held["holder"],
        since=held["since"],
    )
