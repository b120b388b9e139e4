"""What is to be reconciled next? A queue without duplicates, with priorities and due times; no clock of its own."""

from __future__ import annotations

import heapq
from typing import NamedTuple

from platform_lib.embedded.controllers.writes import Key


class Item(NamedTuple):
    """One key of one controller."""

    controller: str
    key: Key

    def __str__(self) -> str:
        return f"{self.controller} {'/'.join(part for part in self.key if part)}"


class WorkQueue:
    """Items that wait for their turn or for their time; an item that waits already is not added again."""

    def __init__(self) -> None:
        self._ready: list[tuple[int, int, Item]] = []
        self._waiting: set[Item] = set()
        self._timers: list[tuple[float, int, int, Item]] = []
        self._due: dict[Item, float] = {}
        self._count = 0

    def add(self, item: Item, priority: int) -> None:
        """Queue an item; lower priorities come first, equal ones in order of arrival."""
        if item not in self._waiting:
            self._waiting.add(item)
            heapq.heappush(self._ready, (priority, self._next(), item))

    def set_due(self, item: Item, priority: int, due: float | None) -> None:
        """Queue an item at a time, in place of an earlier wish; None takes the wish back."""
        if due is None:
            self._due.pop(item, None)
            return
        self._due[item] = due
        heapq.heappush(self._timers, (due, self._next(), priority, item))

    def pop(self, now: float) -> Item | None:
        """Return the next item whose turn has come, or None."""
        self._ripen(now)
        if not self._ready:
            return None
        item = heapq.heappop(self._ready)[2]
        self._waiting.discard(item)
        return item

    def next_due(self) -> float | None:
        """Return when the next timer fires, or None."""
        while self._timers and self._due.get(self._timers[0][3]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def postpone(self, now: float, by: float) -> None:
        """Let everything that is due now wait ``by`` seconds more."""
        while (due := self.next_due()) is not None and due <= now:
            _, _, priority, item = heapq.heappop(self._timers)
            self.set_due(item, priority, now + by)

    def __len__(self) -> int:
        return len(self._ready)

    def _ripen(self, now: float) -> None:
        while (due := self.next_due()) is not None and due <= now:
            _, _, priority, item = heapq.heappop(self._timers)
            self._due.pop(item, None)
            self.add(item, priority)

    def _next(self) -> int:
        self._count += 1
        return self._count
