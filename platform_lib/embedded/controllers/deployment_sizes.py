"""How many pods may each ReplicaSet of a Deployment have at this moment? Numbers only.

Source: kubernetes pkg/controller/deployment (rolling.go, sync.go, util/deployment_util.go).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from platform_lib.embedded.controllers.objects import resolve_percent
from platform_lib.model import Obj
from platform_lib.rules import manifests


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the rolling update of a Deployment must hold.

    Attributes:
        wanted: ``spec.replicas``.
        surge: Pods that may exist above ``wanted`` while creating (rounded up, not corrected).
        max_surge, max_unavailable: The pair after the correction below.
    """

    wanted: int
    surge: int
    max_surge: int
    max_unavailable: int

    @property
    def min_available(self) -> int:
        """Pods that must stay available."""
        return self.wanted - self.max_unavailable


@dataclass(frozen=True, slots=True)
class Size:
    """One ReplicaSet in numbers: wanted pods and pods reported available."""

    name: str
    wanted: int
    available: int


def bounds_of(deployment: Obj) -> Bounds:
    """Read the bounds of a Deployment; a Recreate strategy has neither surge nor unavailability."""
    wanted = manifests.replicas(deployment)
    strategy = manifests.spec(deployment).get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return Bounds(wanted, 0, 0, 0)
    rolling = strategy.get("rollingUpdate") or {}
    surge = resolve_percent(rolling.get("maxSurge", "25%"), wanted, round_up=True)
    unavailable = resolve_percent(rolling.get("maxUnavailable", "25%"), wanted, round_up=False)
    if surge == 0 and unavailable == 0:
        # Both may round to zero, and then nothing could ever move: allow one pod to be missing.
        unavailable = 1
    return Bounds(wanted, surge, surge if wanted else 0, min(unavailable, wanted))


def new_size(bounds: Bounds, current: int, total: int) -> int:
    """Return the next size of the new ReplicaSet.

    Args:
        bounds: Bounds of the update.
        current: Present size of the new ReplicaSet.
        total: Present size of all ReplicaSets together.
    """
    if current >= bounds.wanted:
        return bounds.wanted
    room = bounds.wanted + bounds.surge - total
    if room <= 0:
        return current
    return current + min(room, bounds.wanted - current)


def old_sizes(bounds: Bounds, new: Size, old: Sequence[Size]) -> dict[str, int]:
    """Return the next sizes of the old ReplicaSets that shrink: broken pods first, then the oldest set.

    Args:
        bounds: Bounds of the update.
        new: The new ReplicaSet.
        old: The old ReplicaSets, oldest first.
    """
    total = new.wanted + sum(item.wanted for item in old)
    waiting_for = new.wanted - new.available
    may_go = total - bounds.min_available - waiting_for
    if may_go <= 0:
        return {}
    sizes = {item.name: item.wanted for item in old}
    for item in old:
        broken = min(may_go, item.wanted - item.available)
        if broken > 0:
            sizes[item.name] -= broken
            may_go -= broken
    spare = new.available + sum(item.available for item in old) - bounds.min_available
    for item in old:
        less = min(sizes[item.name], max(0, spare))
        sizes[item.name] -= less
        spare -= less
    return {item.name: sizes[item.name] for item in old if sizes[item.name] != item.wanted}


@dataclass(frozen=True, slots=True)
class Share:
    """One ReplicaSet in a scaling of the whole Deployment: its size and the ``max-replicas`` noted on it."""

    name: str
    wanted: int
    noted_max: int


def proportional_sizes(bounds: Bounds, shares: Sequence[Share]) -> dict[str, int]:
    """Spread a change of ``spec.replicas`` over the active ReplicaSets in proportion to their sizes.

    Args:
        bounds: Bounds for the new ``spec.replicas``.
        shares: Active ReplicaSets, biggest first (equal ones: newest first when growing, oldest first when
            shrinking); the first takes what rounding leaves over.
    """
    allowed = bounds.wanted + bounds.max_surge if bounds.wanted > 0 else 0
    to_add = allowed - sum(item.wanted for item in shares)
    sizes, added = {}, 0
    for item in shares:
        part = _proportion(bounds, item, to_add, added)
        sizes[item.name] = item.wanted + part
        added += part
    if shares and to_add:
        first = shares[0].name
        sizes[first] = max(0, sizes[first] + to_add - added)
    return sizes


def _proportion(bounds: Bounds, item: Share, to_add: int, added: int) -> int:
    if item.wanted == 0 or to_add == 0 or to_add == added:
        return 0
    fraction = _fraction(bounds, item)
    left = to_add - added
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _fraction(bounds: Bounds, item: Share) -> int:
    if bounds.wanted == 0 or item.noted_max <= 0:
        return -item.wanted
    exact = item.wanted * (bounds.wanted + bounds.max_surge) / item.noted_max
    return int(exact + 0.5) - item.wanted
