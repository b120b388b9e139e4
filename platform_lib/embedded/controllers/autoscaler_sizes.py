"""How many replicas do the readings ask for, and how fast may the size change? Numbers only.

Source: kubernetes pkg/controller/podautoscaler (replica_calculator.go, horizontal.go); documentation
"Horizontal Pod Autoscaling: algorithm details" and "configurable scaling behavior".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

TOLERANCE = 0.1
"""Ratios this close to 1 change nothing (horizontal-pod-autoscaler-tolerance)."""

DOWN_WINDOW_S = 300
"""How long a higher wish is remembered (horizontal-pod-autoscaler-downscale-stabilization)."""

Behavior = Mapping[str, Any] | None
"""``spec.behavior``; None is not the same as empty: without it the older, simpler limits hold."""

_UP: dict[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_DOWN: dict[str, Any] = {
    "stabilizationWindowSeconds": DOWN_WINDOW_S,
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One pod: what it uses and what it asked for, in thousandths or bytes.

    Attributes:
        usage: None when there is no reading of it (upstream: missing).
        request: What its containers asked for.
        counts: False when what it uses says nothing yet, because it is starting (upstream: unready).
    """

    usage: int | None
    request: int
    counts: bool


@dataclass(frozen=True, slots=True)
class Memory:
    """What an autoscaler remembers.

    Attributes:
        wishes: Earlier wishes, each with its time.
        changes: Earlier changes of size.
        judged_at: When it last looked at the readings; None before the first time.
        generation: Of its specification at that time.
    """

    wishes: tuple[tuple[datetime, int], ...] = ()
    changes: tuple[tuple[datetime, int], ...] = ()
    judged_at: datetime | None = None
    generation: int = 0


Entry = tuple[int, int]
"""(used, asked) of one pod, as assumed."""


def wanted_for_utilization(readings: Sequence[Reading], target_percent: int, current: int) -> tuple[int, int]:
    """Return (replicas, present utilization in percent) for a target in percent of the requests."""

    def percent(entries: Sequence[Entry]) -> int:
        return sum(used for used, _ in entries) * 100 // sum(asked for _, asked in entries)

    known = _known(readings)
    if not sum(asked for _, asked in known):
        return current, 0
    full_percent = max(100, target_percent)
    wanted = _wanted(
        readings,
        current,
        ratio=lambda entries: percent(entries) / target_percent,
        full=lambda one: one.request * full_percent // 100,
    )
    return wanted, percent(known)


def wanted_for_average(readings: Sequence[Reading], target: int, current: int) -> tuple[int, int]:
    """Return (replicas, present average) for a target amount for each pod."""

    def average(entries: Sequence[Entry]) -> int:
        return sum(used for used, _ in entries) // len(entries)

    known = _known(readings)
    if not known or target <= 0:
        return current, 0
    wanted = _wanted(readings, current, ratio=lambda entries: average(entries) / target, full=lambda _: target)
    return wanted, average(known)


def _known(readings: Sequence[Reading]) -> list[Entry]:
    """Return the pods whose use is known and says something."""
    return [(one.usage, one.request) for one in readings if one.usage is not None and one.counts]


def _wanted(
    readings: Sequence[Reading],
    current: int,
    *,
    ratio: Callable[[Sequence[Entry]], float],
    full: Callable[[Reading], int],
) -> int:
    """Return the size that brings the ratio to 1, assuming of silent pods what makes the step smaller.

    A pod without a reading counts as idle when growing and as fully used when shrinking; one that is starting
    counts as idle when growing and not at all when shrinking. A step that these assumptions turn round, or make
    as small as the tolerance, is not taken.
    """
    known = _known(readings)
    first = ratio(known)
    missing = [one for one in readings if one.usage is None and one.counts]
    starting = [one for one in readings if not one.counts] if first > 1 else []
    if not missing and not starting:
        return current if _close(first) else math.ceil(first * len(known))
    entries = known + [(full(one) if first < 1 else 0, one.request) for one in missing if first != 1]
    entries += [(0, one.request) for one in starting]
    again = ratio(entries)
    if _close(again) or (first < 1 < again) or (again < 1 < first):
        return current
    wanted = math.ceil(again * len(entries))
    turned = (again < 1 and wanted > current) or (again > 1 and wanted < current)
    return current if turned else wanted


def _close(ratio: float) -> bool:
    return 1.0 - TOLERANCE <= ratio <= 1.0 + TOLERANCE


def stabilized(wanted: int, current: int, memory: Memory, behavior: Behavior, now: datetime) -> int:
    """Return the wish after looking back: no growth above, no shrinking below what was wished in the window."""
    if behavior is None:
        since = now - timedelta(seconds=DOWN_WINDOW_S)
        return max([wanted, *(wish for moment, wish in memory.wishes if moment > since)])
    lowest, highest = wanted, wanted
    for moment, wish in memory.wishes:
        if moment > now - _window(behavior, "scaleUp"):
            lowest = min(lowest, wish)
        if moment > now - _window(behavior, "scaleDown"):
            highest = max(highest, wish)
    return min(max(current, lowest), highest)


def limited(wanted: int, current: int, memory: Memory, behavior: Behavior, now: datetime) -> int:
    """Return the size that the scaling policies allow now."""
    if behavior is None:
        return min(wanted, max(2 * current, 4))
    if wanted > current:
        return min(wanted, max(current, _edge(current, memory, _rules(behavior, "scaleUp"), now, 1)))
    if wanted < current:
        return max(wanted, min(current, _edge(current, memory, _rules(behavior, "scaleDown"), now, -1)))
    return wanted


def first_memory(current: int, now: datetime) -> Memory:
    """Return what is remembered at the first look: the present size was wished, so nothing shrinks at once."""
    return Memory(((now, current),))


def remember(memory: Memory, wish: int | None, change: int, now: datetime) -> Memory:
    """Add a wish (None: there was no reading) and a change, and forget what is older than an hour."""
    oldest = now - timedelta(hours=1)
    wishes = tuple(item for item in memory.wishes if item[0] >= oldest)
    changes = tuple(item for item in memory.changes if item[0] >= oldest)
    if wish is not None:
        wishes = (*wishes, (now, wish))
    return Memory(wishes, (*changes, (now, change)) if change else changes)


def _rules(behavior: Mapping[str, Any], direction: str) -> dict[str, Any]:
    defaults = _UP if direction == "scaleUp" else _DOWN
    given = {key: value for key, value in (behavior.get(direction) or {}).items() if value is not None}
    return {**defaults, **given}


def _window(behavior: Mapping[str, Any], direction: str) -> timedelta:
    return timedelta(seconds=int(_rules(behavior, direction)["stabilizationWindowSeconds"]))


def _edge(current: int, memory: Memory, rules: Mapping[str, Any], now: datetime, sign: int) -> int:
    """Return how far the policies let the size go in one direction (``sign`` 1 up, -1 down)."""
    choice = rules["selectPolicy"]
    if choice == "Disabled":
        return current
    edges = [_policy_edge(current, memory, policy, now, sign) for policy in rules["policies"]]
    far = max if (choice == "Max") == (sign > 0) else min
    return far(edges)


def _policy_edge(current: int, memory: Memory, policy: Mapping[str, Any], now: datetime, sign: int) -> int:
    """Return how far one policy lets it go, counted from the size at the start of its period."""
    since = now - timedelta(seconds=int(policy["periodSeconds"]))
    start = current - sum(change for moment, change in memory.changes if moment > since)
    if policy["type"] == "Pods":
        return start + sign * int(policy["value"])
    factor = 1 + sign * int(policy["value"]) / 100
    return math.ceil(start * factor) if sign > 0 else math.floor(start * factor)
