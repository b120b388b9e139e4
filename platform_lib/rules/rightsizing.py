"""What should a container ask for? Advice from what it used, in the terms of the Vertical Pod Autoscaler; pure.

The target is the 90th percentile of processor use and of memory peaks, plus 15 per cent. A short history widens the
bounds instead of pretending certainty: with one hour of data the upper bound is far away, with a week it is near.

Source: kubernetes/autoscaler, vertical-pod-autoscaler, pkg/recommender/logic (recommender.go, estimator.go):
target percentile 0.9, lower 0.5, upper 0.95, safety margin 0.15, confidence (1 + 1/days) for the upper bound and
(1 + 0.001/days)^-2 for the lower one, least values 25m and 250Mi per pod. That least memory is more than the sample
application uses at all, so here it is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "raise", "keep", "set", "not enough data"]

TARGET, LOWER, UPPER = 0.90, 0.50, 0.95
MARGIN = 0.15
LEAST_CPU_CORES = 0.025
LEAST_MEMORY_BYTES = 32 * 2**20
LEAST_SAMPLES = 30
"""Fewer readings than this are no distribution; a percentile of them is an anecdote."""
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Advice:
    """What a container should ask for, and why.

    Attributes:
        direction: ``lower``, ``raise``, ``keep``, ``set`` (nothing is asked for now) or ``not enough data``.
        target: Suggested request; None without enough data.
        lower, upper: The present request is kept inside these bounds.
        reason: The rule with its numbers, for people.
    """

    direction: Direction
    target: float | None
    lower: float | None
    upper: float | None
    reason: str


def quantile(values: Sequence[float], q: float) -> float:
    """Return a quantile by linear interpolation of the sorted values.

    Args:
        values: At least one number, in any order.
        q: 0 to 1.
    """
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    below = int(place)
    rest = ordered[below:][:2]
    return ordered[below] + (place - below) * (rest[-1] - ordered[below])


def advise(used: Sequence[float], *, request: float | None, history_s: float, least: float) -> Advice:
    """Advise on one resource of one container.

    Args:
        used: Readings of all its instances: cores, or bytes (peaks of memory).
        request: What it asks for now, in the same unit; None when it asks for nothing.
        history_s: Length of the history behind the readings in seconds.
        least: Smallest target in the same unit: ``LEAST_CPU_CORES`` or ``LEAST_MEMORY_BYTES``.

    Returns:
        The advice; ``keep`` while the present request lies inside the bounds.
    """
    if len(used) < LEAST_SAMPLES:
        reason = f"{len(used)} readings, {LEAST_SAMPLES} would be enough to begin with"
        return Advice("not enough data", None, None, None, reason)
    days = max(history_s, 1.0) / _DAY_S
    sized = {q: max(quantile(used, q) * (1 + MARGIN), least) for q in (LOWER, TARGET, UPPER)}
    target = sized[TARGET]
    lower = max(sized[LOWER] * (1 + 0.001 / days) ** -2, least)
    upper = sized[UPPER] * (1 + 1 / days)
    if request is None:
        return Advice("set", target, lower, upper, "nothing is asked for, so the scheduler reserves nothing")
    if request < lower:
        return Advice("raise", target, lower, upper, "half of the time more is used than asked for")
    if request > upper:
        return Advice("lower", target, lower, upper, "more is reserved than a busy time needs")
    reason = "within the bounds" if days >= 1 else f"within the bounds, which {history_s / 3600:.1f} h leave wide"
    return Advice("keep", target, lower, upper, reason)
