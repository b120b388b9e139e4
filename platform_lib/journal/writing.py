"""How is a record kept? Appended with a single ``write`` under a shared lock, to the run and to the platform.

A crash loses nothing that was appended; several processes may append to the same file. A line that a full disk or
a power cut left unfinished is closed by the next append, so it never spoils its successor.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_lib.journal.record import FOLDER, day_file, read
from platform_lib.journal.schema import encoded, identity
from platform_lib.redact import of_process
from platform_lib.wait import now

if TYPE_CHECKING:
    import pandas as pd


class Journal:
    """An append-only record.

    Args:
        path: JSON lines file; created (with its folder) at the first record. None keeps no file of its own.
        run_id: Written into every record; joins the records of one run.
        record: Folder of the platform's record, one file per UTC day; None writes to ``path`` only.
    """

    def __init__(self, path: Path | None, *, run_id: str = "", record: Path | None = None) -> None:
        self.path, self.run_id, self.record = path, run_id, record

    def append(
        self,
        source: str,
        kind: str,
        subject: str,
        *,
        cause: str = "",
        at: datetime | None = None,
        uid: str = "",
        **data: Any,
    ) -> None:
        """Add one record.

        Args:
            source: Who says so: ``deploy``, ``argocd``, ``git``, ``probe``, ``kubernetes``, ``drill``.
            kind: What it is, see ``schema.VOCABULARY``: ``commit``, ``fault``, ``verdict``, ``window``.
            subject: What it is about: ``sample-app``, ``Pod/sample-app-abc``.
            cause: Why, where known: a commit, an operation, a drill.
            at: When it happened; None is now.
            uid: Identity of the fact at its source; a commit is known by its hash, our own acts get a random one.
            **data: Plain facts; values under keys that name secrets are replaced.
        """
        if self.path is None and self.record is None:
            return
        seen = now()
        record = {
            "utc": at or seen,
            "seen_utc": seen,
            "source": source,
            "kind": kind,
            "subject": subject,
            "run_id": self.run_id,
            "cause": cause,
            "uid": uid or identity(source, kind, data) or secrets.token_hex(8),
            "data": data,
        }
        line = of_process().scrub(encoded(record)) + "\n"
        if self.path is not None:
            append_line(self.path, line)
        if self.record is not None:
            append_line(day_file(self.record, at or seen), line)

    def frame(self) -> pd.DataFrame:
        """Return the records of ``path`` so far; see ``read``."""
        return read(self.path)


def append_line(path: Path, line: str) -> None:
    """Append one line; waits while the file is being compacted and then writes to its successor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if not _is_still(descriptor, path):
                continue
            os.write(descriptor, (_closing(descriptor) + line).encode())
            return
        finally:
            os.close(descriptor)


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one of that name; compaction renames a file before it reads it."""
    try:
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _closing(descriptor: int) -> str:
    """Return the line end that a crash left out, if any."""
    size = os.fstat(descriptor).st_size
    return "\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else ""


_active: ContextVar[Journal | None] = ContextVar("apqx_journal", default=None)


def current() -> Journal:
    """Return the journal of this run: the one in use here, else the one the settings name.

    Its records go to the record of the platform too, as soon as there is one on this machine.
    """
    active = _active.get()
    if active is not None:
        return active
    from platform_lib.settings import settings

    found = settings()
    path, record = found.journal_path, found.home / FOLDER if found.home.is_dir() else None
    return Journal(path, run_id=path.parent.name if path else "", record=record)


def platform_journal(home: Path) -> Journal:
    """Return the record of a platform, without a run.

    Args:
        home: State folder of the platform.
    """
    return Journal(None, record=home / FOLDER)


@contextmanager
def use(journal: Journal) -> Iterator[Journal]:
    """Make a journal the current one inside the block."""
    previous = _active.set(journal)
    try:
        yield journal
    finally:
        _active.reset(previous)
