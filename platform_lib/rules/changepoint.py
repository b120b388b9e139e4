"""When did it really start? The onset of a change of level as an interval, with a refusal where data are too few.

A first crossing of a threshold dates an incident too early or too late; the least-squares split of the whole series
does not depend on a threshold. The interval comes from the spread of the data around the fitted levels.

Source: Killick, Fearnhead, Eckley, "Optimal detection of changepoints with a linear computational cost" (2012);
Anscombe (1948) for the square root of counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Kind = Literal["counts", "latency"]

MIN_POINTS = 12
"""Below four segments of the smallest size, a split says more about chance than about the service."""
MIN_SIZE = 3
_SHARE = 0.25
"""A rise counts as the onset when it reaches this share of the largest rise (on the stabilised scale)."""
_MAD_TO_SIGMA = 0.6745


@dataclass(frozen=True, slots=True)
class Onset:
    """Where a series left its level, in sample numbers.

    Attributes:
        index: First sample at the new level; None when there is no onset (``reason`` says why).
        low, high: 5 % and 95 % points of that sample under resampling.
        ended: First sample back near the old level; None while it lasts.
        before, after: Mean of the raw values before the onset and from there to the end of that level.
        breaks: All samples at which the level changed.
        reason: One sentence: what was found, or why nothing can be said.
    """

    index: int | None
    low: int | None
    high: int | None
    ended: int | None
    before: float | None
    after: float | None
    breaks: tuple[int, ...]
    reason: str


def stabilised(values: Sequence[float] | Values, kind: Kind) -> Values:
    """Return values of about unit variance, which makes one penalty right for every series.

    Args:
        values: Counts per interval, or latencies (any unit above 0).
        kind: ``counts``: ``2 sqrt(x + 3/8)``, divided by a robust scale where the counts vary more than chance;
            ``latency``: the logarithm, freed of single spikes by a median of three, divided by a robust scale.
    """
    raw = np.asarray(values, dtype=float)
    if kind == "counts":
        moved = 2.0 * np.sqrt(np.maximum(raw, 0.0) + 3.0 / 8.0)
        return np.asarray(moved / max(_scale(moved), 1.0))
    moved = _median_of_three(np.log(np.maximum(raw, np.finfo(float).tiny)))
    scale = _scale(moved)
    return np.asarray(moved / scale if scale > 0 else moved)


def _median_of_three(values: Values) -> Values:
    """Replace each value by the median of itself and its neighbours: one slow request is no new level."""
    wide = np.concatenate([values[:1], values, values[-1:]])
    return np.asarray(np.median([wide[:-2], wide[1:-1], wide[2:]], axis=0))


def _scale(values: Values) -> float:
    """Spread of the noise from successive differences, so that a change of level does not count as noise."""
    steps = np.diff(values)
    if len(steps) == 0:
        return 0.0
    return float(np.median(np.abs(steps - np.median(steps))) / _MAD_TO_SIGMA / np.sqrt(2.0))


def breaks(values: Values, *, penalty: float | None = None) -> tuple[int, ...]:
    """Return the samples at which a new level begins (PELT, least squares).

    Args:
        values: Stabilised values.
        penalty: Price of a break; default ``2 ln n``.

    Returns:
        Indices in order, without 0 and n.
    """
    import ruptures

    size = len(values)
    if size < 2 * MIN_SIZE or float(np.ptp(values)) == 0.0:
        return ()
    price = 2.0 * float(np.log(size)) if penalty is None else penalty
    # The linear kernel is the l2 cost; this form runs in C and gives the same breaks.
    search = ruptures.KernelCPD(kernel="linear", min_size=MIN_SIZE, jump=1).fit(values.reshape(-1, 1))
    return tuple(int(index) for index in search.predict(pen=price)[:-1])


def onset(
    values: Sequence[float] | Values, *, kind: Kind = "counts", draws: int = 400, seed: int = 1, min_events: int = 3
) -> Onset:
    """Date the first lasting rise of a series.

    Args:
        values: One value per interval, oldest first; NaN is refused.
        kind: What they are, see ``stabilised``.
        draws: Resamplings for the interval.
        seed: Makes the interval repeatable.
        min_events: Counts only: fewer bad events than this in all are not dated.

    Returns:
        The onset, or one without an index that says why.
    """
    raw = np.asarray(values, dtype=float)
    refused = _refusal(raw, kind, min_events)
    if refused:
        return _none(refused)
    data = stabilised(raw, kind)
    found = breaks(data)
    levels = _levels(data, found)
    first = _first_rise(levels)
    if first is None:
        return _none(f"no lasting rise in {len(raw)} samples", found)
    edges = (0, *found, len(data))
    index = edges[first]
    low, high = _interval(data[edges[first - 1] : edges[first + 1]], index - edges[first - 1], draws, seed)
    after = float(raw[index : edges[first + 1]].mean())
    before = float(raw[edges[first - 1] : index].mean())
    start = edges[first - 1]
    ended = _end(levels, edges, first)
    reason = f"level rose from {before:.3g} to {after:.3g} per sample at sample {index} of {len(raw)}"
    return Onset(index, start + low, start + high, ended, before, after, found, reason)


def _refusal(raw: Values, kind: Kind, min_events: int) -> str:
    """Say why a series cannot be dated; empty when it can."""
    if len(raw) < MIN_POINTS:
        return f"{len(raw)} samples are too few to date a change: {MIN_POINTS} or more are needed"
    if not np.isfinite(raw).all():
        return f"{int((~np.isfinite(raw)).sum())} of {len(raw)} samples are missing: fill or cut the gaps first"
    if kind == "counts" and raw.sum() < min_events:
        return f"{raw.sum():g} bad events in the window are too few to date a change: {min_events} or more are needed"
    return ""


def _none(reason: str, found: tuple[int, ...] = ()) -> Onset:
    """Return the onset that is none."""
    return Onset(None, None, None, None, None, None, found, reason)


def _levels(data: Values, found: tuple[int, ...]) -> Values:
    """Mean of each segment."""
    return np.array([part.mean() for part in np.split(data, found)])


def _first_rise(levels: Values) -> int | None:
    """Return the segment with which the trouble begins: the first that rises by a fair share of the largest rise."""
    if len(levels) < 2:
        return None
    base = np.minimum.accumulate(levels)[:-1]
    rises = levels[1:] - base
    steps = np.diff(levels)
    if rises.max() <= 0:
        return None
    fair = (rises >= _SHARE * rises.max()) & (steps > 0)
    return int(np.flatnonzero(fair)[0]) + 1 if fair.any() else None


def _end(levels: Values, edges: tuple[int, ...], first: int) -> int | None:
    """Return the sample from which the level stays near the old one; None when it never comes back."""
    base, peak = levels[first - 1], levels[first:].max()
    high = np.flatnonzero(levels[first:] > base + _SHARE * (peak - base)) + first
    last = int(high[-1])
    return edges[last + 1] if last + 1 < len(levels) else None


def _interval(data: Values, split: int, draws: int, seed: int) -> tuple[int, int]:
    """Return the 5 % and 95 % points of the split of a two-level series, by block bootstrap of its residuals.

    Blocks keep neighbouring values together, so that noise with a memory widens the interval as it should. Each
    side is drawn from its own residuals: quiet stretches stay quiet.
    """
    generator = np.random.default_rng(seed)
    parts = (data[:split], data[split:])
    drawn = np.concatenate([part.mean() + _blocks(part - part.mean(), draws, generator) for part in parts], axis=1)
    found = _best_splits(drawn)
    low, high = np.percentile(found, [5, 95], method="nearest")
    return min(int(low), split), max(int(high), split)


def _blocks(residuals: Values, draws: int, generator: np.random.Generator) -> Values:
    """Draw ``draws`` series of the same length from blocks of the residuals (circular)."""
    size = len(residuals)
    length = max(1, round(size ** (1 / 3)))
    starts = generator.integers(0, size, size=(draws, -(-size // length)))
    index: npt.NDArray[Any] = (starts[:, :, None] + np.arange(length)) % size
    return np.asarray(residuals[index.reshape(draws, -1)[:, :size]])


def _best_splits(rows: Values) -> npt.NDArray[np.int64]:
    """Return, for each row, the split with the least sum of squares."""
    size = rows.shape[1]
    places = np.arange(1, size)
    sums = np.cumsum(rows, axis=1)
    left, total = sums[:, :-1], sums[:, -1:]
    gain = left**2 / places + (total - left) ** 2 / (size - places)
    return np.asarray(np.argmax(gain, axis=1) + 1)
