"""What happened, in one line of time? Records of all sources merged, folded and put into plain words.

The order does not depend on the order of arrival; a fact told twice by one source appears once; a fact that repeats
becomes one entry with a count; an entry whose place in time is not certain says so.

Source: PagerDuty and Google's post-mortem practice (facts only, UTC, each entry traceable to its record).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from platform_lib.rules.wording import sentence

Record = Mapping[str, Any]

DOUBT_S = 2.0
"""Two clocks that differ by more than this leave the order of their facts open."""
FOLD_S = 60.0
"""The same fact again within this time continues the entry before it."""
_ORDER = ("incident", "git", "deploy", "rollback", "argocd", "rollout", "kubernetes", "drill", "prometheus", "probe")
"""At the same moment causes are listed before symptoms."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline.

    Attributes:
        utc: When it happened, as its source says.
        seen_utc: When we learned it.
        last_utc: When it happened last; equal to ``utc`` for what happened once.
        source, kind, subject, run_id, cause, uid, data: As recorded.
        text: The fact in plain words.
        records: How many records were folded into this entry.
        count: How often it happened: records, or what the source itself counted.
        doubt: Why its place in time is uncertain; empty when it is not.
    """

    utc: datetime
    seen_utc: datetime
    last_utc: datetime
    source: str
    kind: str
    subject: str
    run_id: str
    cause: str
    uid: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    records: int = 1
    count: int = 1
    doubt: str = ""

    @property
    def line(self) -> str:
        """The text, with the number of repeats and the mark of a doubt."""
        repeats = f" (×{self.count})" if self.count > 1 else ""
        return f"{self.text}{repeats}{' (?)' if self.doubt else ''}"


def merge(records: Iterable[Record], *, fold_s: float = FOLD_S, doubt_s: float = DOUBT_S) -> tuple[Entry, ...]:
    """Merge records of all sources into one timeline.

    Args:
        records: Journal records (aware datetimes in ``utc`` and ``seen_utc``), in any order.
        fold_s: Equal facts closer than this become one entry.
        doubt_s: Clock difference above which an entry is marked.

    Returns:
        Entries in time order; the same for every order of the input.
    """
    entries = sorted({_identity(record): _entry(record) for record in _fullest_last(records)}.values(), key=_key)
    return fold(_doubted(entries, doubt_s), fold_s=fold_s)


def fold(entries: Sequence[Entry], *, fold_s: float = FOLD_S) -> tuple[Entry, ...]:
    """Fold repeats: the same fact within ``fold_s`` of its last time. Folding twice is the same as folding once."""
    folded: list[Entry] = []
    open_at: dict[tuple[str, ...], int] = {}
    for entry in sorted(entries, key=_key):
        same = (entry.source, entry.kind, entry.subject, entry.text)
        place = open_at.get(same)
        if place is not None and entry.utc - folded[place].last_utc <= timedelta(seconds=fold_s):
            folded[place] = _joined(folded[place], entry)
            continue
        open_at[same] = len(folded)
        folded.append(entry)
    return tuple(folded)


def _joined(first: Entry, again: Entry) -> Entry:
    """Return the entry for a fact and its repeat."""
    records = first.records + again.records
    return replace(
        first,
        records=records,
        count=max(records, first.count, again.count),
        last_utc=max(first.last_utc, again.last_utc),
        doubt=first.doubt or again.doubt,
    )


def _fullest_last(records: Iterable[Record]) -> list[Record]:
    """Order records so that of two with one identity the one that says most wins, then the one seen first."""
    by_time = sorted(records, key=lambda r: (r.get("seen_utc") or r["utc"], _canonical(r)), reverse=True)
    return sorted(by_time, key=lambda record: len(record.get("data") or {}))


def _identity(record: Record) -> tuple[str, ...]:
    """Return what makes a record the same fact: the identity at its source, else all of its content."""
    if record.get("uid"):
        return (str(record["source"]), str(record["uid"]))
    return (str(record["source"]), "", _canonical(record))


def _canonical(record: Record) -> str:
    """All that a record says, as text; when and in which run we learned it does not count."""
    fields = ("utc", "source", "kind", "subject", "cause", "data")
    return json.dumps([record.get(name) for name in fields], sort_keys=True, default=str)


def _entry(record: Record) -> Entry:
    """Turn a record into an entry."""
    data = record.get("data") or {}
    utc = record["utc"]
    counted = data.get("count")
    return Entry(
        utc=utc,
        seen_utc=record.get("seen_utc") or utc,
        last_utc=utc,
        source=str(record["source"]),
        kind=str(record["kind"]),
        subject=str(record["subject"]),
        run_id=str(record.get("run_id") or ""),
        cause=str(record.get("cause") or ""),
        uid=str(record.get("uid") or ""),
        text=sentence(record),
        data=data,
        count=counted if isinstance(counted, int) and counted > 1 else 1,
    )


def _key(entry: Entry) -> tuple[Any, ...]:
    """Order: time, then cause before symptom, then names, so that ties have one order."""
    rank = _ORDER.index(entry.source) if entry.source in _ORDER else len(_ORDER)
    content = json.dumps(entry.data, sort_keys=True, default=str)
    return (entry.utc, rank, entry.source, entry.kind, entry.subject, entry.uid, entry.text, entry.run_id, content)


def _doubted(entries: Sequence[Entry], doubt_s: float) -> list[Entry]:
    """Mark entries whose clock disagrees with ours, and effects that are older than their cause."""
    committed = {str(e.data.get("commit")): e.utc for e in entries if (e.source, e.kind) == ("git", "commit")}
    return [replace(entry, doubt=_doubt(entry, committed, doubt_s)) for entry in entries]


def _doubt(entry: Entry, committed: Mapping[str, datetime], doubt_s: float) -> str:
    """Say why the place of an entry in time is uncertain; empty when it is not."""
    late_s = (entry.seen_utc - entry.utc).total_seconds()
    if late_s > doubt_s:
        return f"learned {late_s:.1f} s after the time its source gives"
    if late_s < -doubt_s:
        return f"its source gives a time {-late_s:.1f} s ahead of our clock"
    commit = committed.get(str(entry.data.get("revision") or entry.cause))
    early_s = (commit - entry.utc).total_seconds() if commit else 0.0
    if entry.source != "git" and early_s > doubt_s:
        return f"{early_s:.1f} s before the commit it follows from: clocks of two sources disagree"
    return ""
