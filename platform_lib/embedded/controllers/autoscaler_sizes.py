"""How many replicas do the readings ask for, and how fast may the size change? Numbers only.

Source: kubernetes pkg/controller/podautoscaler (replica_calculator.go, horizontal.go); documentation
"Horizontal Pod Autoscaling: algorithm details" and "configurable scaling behavior".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

TOLERANCE = 0.1
"""Ratios this close to 1 change nothing."""

_UP: dict[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_DOWN: dict[str, Any] = {
    "stabilizationWindowSeconds": 300,
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One pod: what it uses and what it asked for, in thousandths or bytes; ``usage`` None when not known."""

    usage: int | None
    request: int
    ready: bool


@dataclass(frozen=True, slots=True)
class Memory:
    """What an autoscaler remembers: earlier wishes, and earlier changes of size."""

    wishes: tuple[tuple[datetime, int], ...] = ()
    changes: tuple[tuple[datetime, int], ...] = ()


def wanted_for_utilization(readings: Sequence[Reading], target_percent: int, current: int) -> tuple[int, int]:
    """Return (replicas, present utilization in percent) for a target in percent of the requests."""
    known = [one for one in readings if one.usage is not None and one.ready]
    used, asked = sum(one.usage or 0 for one in known), sum(one.request for one in known)
    if not known or not asked:
        return current, 0
    utilization = used * 100 // asked
    ratio = utilization / target_percent
    silent = [one for one in readings if one.usage is None or not one.ready]
    if not silent:
        return (current if _close(ratio) else math.ceil(ratio * len(known))), utilization
    # Pods without a reading count as idle when growing, as fully used when shrinking: never overreact.
    assumed = used + (sum(one.request * max(100, target_percent) // 100 for one in silent) if ratio < 1 else 0)
    cautious = assumed * 100 / (asked + sum(one.request for one in silent)) / target_percent
    if _close(cautious) or (ratio < 1) != (cautious < 1):
        return current, utilization
    wanted = math.ceil(cautious * len(readings))
    overshoots = (cautious < 1 and wanted > current) or (cautious > 1 and wanted < current)
    return (current if overshoots else wanted), utilization


def wanted_for_average(readings: Sequence[Reading], target: int, current: int) -> tuple[int, int]:
    """Return (replicas, present average) for a target amount for each pod."""
    known = [one.usage for one in readings if one.usage is not None]
    if not known or target <= 0:
        return current, 0
    average = sum(known) // len(known)
    ratio = average / target
    return (current if _close(ratio) else math.ceil(ratio * len(known))), average


def _close(ratio: float) -> bool:
    return abs(1.0 - ratio) <= TOLERANCE


def stabilized(wanted: int, current: int, memory: Memory, behavior: Mapping[str, Any], now: datetime) -> int:
    """Return the wish after looking back: no growth above, no shrinking below what was wished in the window."""
    lowest, highest = wanted, wanted
    for moment, wish in memory.wishes:
        if moment >= now - _window(behavior, "scaleUp"):
            lowest = min(lowest, wish)
        if moment >= now - _window(behavior, "scaleDown"):
            highest = max(highest, wish)
    if current < lowest:
        return lowest
    return min(current, highest) if current > highest else current


def limited(wanted: int, current: int, memory: Memory, behavior: Mapping[str, Any], now: datetime) -> int:
    """Return the size that the scaling policies allow now."""
    if wanted > current:
        return min(wanted, max(current, _edge(current, memory, _rules(behavior, "scaleUp"), now, 1)))
    if wanted < current:
        return max(wanted, min(current, _edge(current, memory, _rules(behavior, "scaleDown"), now, -1)))
    return wanted


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
    since = now - timedelta(seconds=int(policy["periodSeconds"]))
    moved = sum(change for moment, change in memory.changes if moment > since and change * sign > 0)
    start = current - moved
    if policy["type"] == "Pods":
        return start + sign * int(policy["value"])
    factor = 1 + sign * int(policy["value"]) / 100
    return math.ceil(start * factor) if sign > 0 else math.floor(start * factor)
