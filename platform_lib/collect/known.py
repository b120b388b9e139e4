"""What does the record hold already? Read back from its last two days, then kept up with every append."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from platform_lib.collect.facts import Fact
from platform_lib.journal import Journal, decoded
from platform_lib.journal.record import day_file, told_on
from platform_lib.journal.schema import moment
from platform_lib.wait import now

BACK_DAYS = 2
"""Kubernetes keeps events for an hour; what must be known for longer is repeated in a checkpoint each day."""
_OWN = ("kubernetes", "prometheus", "collector")
"""Sources that nobody but the collector writes."""


class Known:
    """The collector's memory: identities of recorded facts, and the last value of what changes.

    Args:
        folder: Folder of the record.
        today: Present moment, aware.
    """

    def __init__(self, folder: Path, today: datetime) -> None:
        self._journal = Journal(None, record=folder)
        self._uids: dict[date, set[tuple[str, str]]] = {}
        self._lock = threading.Lock()
        self.values: dict[str, Any] = {}
        self.alerts: dict[str, Mapping[str, str]] = {}
        self.last_seen: datetime | None = None
        self.checkpoint_day = ""
        self._folder = folder
        for back in reversed(range(BACK_DAYS)):
            then = today - timedelta(days=back)
            self._uids[then.astimezone(UTC).date()] = set()
            self._load(day_file(folder, then))

    def append(self, fact: Fact) -> bool:
        """Write a fact unless the record holds it; return whether it was new."""
        with self._lock:
            at = fact.at or now()
            if self._has(fact.source, fact.uid, fact.at):
                return False
            self._journal.append(
                fact.source, fact.kind, fact.subject, cause=fact.cause, at=at, uid=fact.uid, **fact.data
            )
            self._learn(fact.source, fact.kind, fact.uid, fact.data, at)
        return True

    def say(self, kind: str, subject: str, **data: Any) -> None:
        """Write something about the collector itself."""
        with self._lock:
            self._journal.append("collector", kind, subject, **data)

    def checkpoint(self, today: datetime) -> None:
        """Repeat once a day what must not be forgotten with the day that holds it."""
        day = f"{today.astimezone(UTC):%Y-%m-%d}"
        if day != self.checkpoint_day:
            self.checkpoint_day = day
            self.say("checkpoint", "collector", values=dict(self.values), alerts=dict(self.alerts))
            with self._lock:
                oldest = today.astimezone(UTC).date() - timedelta(days=BACK_DAYS)
                self._uids = {day: uids for day, uids in self._uids.items() if day >= oldest}

    def _has(self, source: str, uid: str, at: datetime | None) -> bool:
        """Whether the record holds a fact; an older day is read the first time a fact of it is told again.

        An Application tells its last operation, and a pod its last restart, however long ago that was. A fact
        without a time is one of these days.
        """
        if at is None:
            return any((source, uid) in uids for uids in self._uids.values())
        day = at.astimezone(UTC).date()
        if day not in self._uids:
            self._uids[day] = told_on(self._folder, day)
        return (source, uid) in self._uids[day]

    def _load(self, path: Path) -> None:
        """Learn from one day."""
        if not path.is_file():
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            for record in filter(None, map(decoded, file)):
                at = moment(record["utc"])
                self._learn(record["source"], record["kind"], record["uid"], record["data"], at)
                if record["kind"] == "checkpoint":
                    self.checkpoint_day = record["utc"][:10]
                if record["source"] in _OWN:  # what others write says nothing about when the collector last looked
                    self.last_seen = max(self.last_seen or moment(record["seen_utc"]), moment(record["seen_utc"]))

    def _learn(self, source: str, kind: str, uid: str, data: Mapping[str, Any], at: datetime) -> None:
        """Take over what one record says."""
        # A deploy records its commit too, without its files: git still has to tell it, and the walk to reach it.
        others = (source, kind) == ("git", "commit") and "files" not in data
        if uid and not others:
            self._uids.setdefault(at.astimezone(UTC).date(), set()).add((source, uid))
        if (source, kind) == ("collector", "checkpoint"):
            self.values, self.alerts = dict(data["values"]), dict(data["alerts"])
        elif (source, kind) == ("git", "commit") and not others:
            self.values["head"] = data.get("commit", "")
        elif (source, kind) == ("prometheus", "alert"):
            if data["state"] == "firing":
                self.alerts[data["key"]] = data["labels"]
            else:
                self.alerts.pop(data["key"], None)
        elif "key" in data:
            self.values[data["key"]] = data["to"]
