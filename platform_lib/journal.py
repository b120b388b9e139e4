"""What happened, when, and because of what? One append-only record with one schema, one line each.

Every operation, probe window, Kubernetes event, Argo CD operation and commit of a run goes into one file.
A record is written with a single ``write`` and flushed, so that a crash loses nothing and several
processes may append to the same file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_lib.model import to_json
from platform_lib.wait import now

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("utc", "source", "kind", "subject", "run_id", "cause", "data")
_SECRET_WORDS = ("token", "password", "secret", "authorization", "credential", "private_key")
_REDACTED = "[redacted]"


class Journal:
    """An append-only record.

    Args:
        path: JSON lines file; created (with its folder) at the first record. None keeps no record.
        run_id: Written into every record; joins the records of one run.
    """

    def __init__(self, path: Path | None, *, run_id: str = "") -> None:
        self.path, self.run_id = path, run_id

    def append(self, source: str, kind: str, subject: str, *, cause: str = "", **data: Any) -> None:
        """Add one record with the current time.

        Args:
            source: Who says so: ``deploy``, ``argocd``, ``git``, ``probe``, ``kubernetes``, ``drill``.
            kind: What it is: ``commit``, ``step``, ``fault``, ``verdict``, ``window``.
            subject: What it is about: ``sample-app``, ``Pod/sample-app-abc``.
            cause: Why, where known: a commit, an operation, a drill.
            **data: Plain facts; values under keys that name secrets are replaced.
        """
        if self.path is None:
            return
        record = {
            "utc": now(),
            "source": source,
            "kind": kind,
            "subject": subject,
            "run_id": self.run_id,
            "cause": cause,
            "data": _redacted(data),
        }
        line = json.dumps(to_json(record), separators=(",", ":"), default=str) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def frame(self) -> pd.DataFrame:
        """Return the records so far; see ``read``."""
        return read(self.path) if self.path is not None else _frame([])


_active: ContextVar[Journal | None] = ContextVar("apqx_journal", default=None)


def current() -> Journal:
    """Return the journal of this run: the one in use here, else the one the settings name, else none."""
    active = _active.get()
    if active is not None:
        return active
    from platform_lib.settings import settings

    path = settings().journal_path
    return Journal(Path(path), run_id=Path(path).parent.name) if path else Journal(None)


@contextmanager
def use(journal: Journal) -> Iterator[Journal]:
    """Make a journal the current one inside the block."""
    previous = _active.set(journal)
    try:
        yield journal
    finally:
        _active.reset(previous)


def read(path: Path) -> pd.DataFrame:
    """Read a journal.

    Returns:
        One row per record in file order, columns ``utc`` (UTC time stamps), ``source``, ``kind``,
        ``subject``, ``run_id``, ``cause`` (text) and ``data`` (dict). Empty when the file is absent. A last
        line that was cut off by a crash is left out.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return _frame([])
    return _frame([record for record in map(_decoded, lines) if record is not None])


def _frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Build the DataFrame, typed also when it is empty."""
    import pandas as pd

    frame = pd.DataFrame(records, columns=list(FIELDS))
    frame["utc"] = pd.to_datetime(frame["utc"], utc=True, format="ISO8601")
    return frame


def _decoded(line: str) -> dict[str, Any] | None:
    """Decode a line; None for one that is not a whole record."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "utc" in record else None


def _redacted(value: Any, key: str = "") -> Any:
    """Replace values whose key names a secret."""
    if any(word in key.lower() for word in _SECRET_WORDS):
        return _REDACTED
    if isinstance(value, Mapping):
        return {str(name): _redacted(item, str(name)) for name, item in value.items()}
    return value
