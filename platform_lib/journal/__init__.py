"""What happened, when, and because of what? One append-only record with one schema, one line each.

``schema`` says what a record is, ``writing`` appends, ``record`` keeps the days of a platform and reads them by
time window. Every operation writes into the journal of its run and into the record of the platform.
"""

from __future__ import annotations

from platform_lib.journal.record import FOLDER, compact, days, frame, read
from platform_lib.journal.schema import FIELDS, VOCABULARY, decoded, encoded, redacted
from platform_lib.journal.writing import Journal, current, platform_journal, use

__all__ = [
    "FIELDS",
    "FOLDER",
    "VOCABULARY",
    "Journal",
    "compact",
    "current",
    "days",
    "decoded",
    "encoded",
    "frame",
    "platform_journal",
    "read",
    "redacted",
    "use",
]
