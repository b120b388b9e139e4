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
        self._uids: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self.values: dict[str, Any] = {}
        self.alerts: dict[str, Mapping[str, str]] = {}
        self.last_seen: datetime | None = None
        self.checkpoint_day = ""
        self._folder, self._days = folder, set[date]()
        for back in reversed(range(BACK_DAYS)):
            then = today - timedelta(days=back)
            self._days.add(then.astimezone(UTC).date())
            self._load(day_file(folder, then))

    def append(self, fact: Fact) -> bool:
        """Write a fact unless the record holds it; return whether it was new."""
        with self._lock:
            if fact.at is not None:
                self._recall(fact.at.astimezone(UTC).date())
            if (fact.source, fact.uid) in self._uids:
                return False
            self._journal.append(
                fact.source, fact.kind, fact.subject, cause=fact.cause, at=fact.at, uid=fact.uid, **fact.data
            )
            self._learn(fact.source, fact.kind, fact.uid, fact.data)
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

    def knows(self, source: str, uid: str) -> bool:
        """Whether the record holds a fact."""
        return (source, uid) in self._uids

    def _recall(self, day: date) -> None:
        """Learn which facts an older day holds, the first time one of that day is told again.

        An Application tells its last operation, and a pod its last restart, however long ago that was.
        """
        if day not in self._days:
            self._days.add(day)
            self._uids |= told_on(self._folder, day)

    def _load(self, path: Path) -> None:
        """Learn from one day."""
        if not path.is_file():
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            for record in filter(None, map(decoded, file)):
                self._learn(record["source"], record["kind"], record["uid"], record["data"])
                if record["kind"] == "checkpoint":
                    self.checkpoint_day = record["utc"][:10]
                if record["source"] in _OWN:  # what others write says nothing about when the collector last looked
                    self.last_seen = max(self.last_seen or moment(record["seen_utc"]), moment(record["seen_utc"]))

    def _learn(self, source: str, kind: str, uid: str, data: Mapping[str, Any]) -> None:
        """Take over what one record says."""
        # A deploy records its commit too, without its files: git still has to tell it, and the walk to reach it.
        others = (source, kind) == ("git", "commit") and "files" not in data
        if uid and not others:
            self._uids.add((source, uid))
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
