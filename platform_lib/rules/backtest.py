"""What would the alert rules have done with this history, and how good would that have been? Pure, numpy only.

Counts of bad and all events in, firing per rule and moment out; then episodes are held against labelled incidents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from platform_lib.rules.slo import Rule

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Incident(NamedTuple):
    """A labelled stretch of trouble in Unix seconds; ``end_s`` is None while it lasts."""

    name: str
    start_s: float
    end_s: float | None


class Episode(NamedTuple):
    """A stretch of firing in Unix seconds; ``end_s`` is None when it still fired at the end of the data."""

    start_s: float
    end_s: float | None


@dataclass(frozen=True, slots=True)
class Replay:
    """What one rule did: when it fired, and how often only the guard for low traffic kept it silent."""

    rule: Rule
    firing: NDArray[np.bool_]
    silenced: NDArray[np.bool_]
    complete: bool
    """Whether the data covers the long window at least once; else its first hours are those of a young server."""


@dataclass(frozen=True, slots=True)
class Match:
    """One incident and what was said of it; times are None when it was missed."""

    incident: Incident
    detect_s: float | None
    reset_s: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """How well episodes of firing fit labelled incidents."""

    episodes: tuple[Episode, ...]
    false: tuple[Episode, ...]
    matches: tuple[Match, ...]

    @property
    def precision(self) -> float | None:
        """Return the share of episodes that belonged to an incident; None without any episode."""
        return (len(self.episodes) - len(self.false)) / len(self.episodes) if self.episodes else None

    @property
    def recall(self) -> float | None:
        """Return the share of incidents that were noticed; None without any incident."""
        return len(self.detected) / len(self.matches) if self.matches else None

    @property
    def detected(self) -> tuple[Match, ...]:
        """Return the incidents that were noticed."""
        return tuple(match for match in self.matches if match.detect_s is not None)


def window_sums(times_s: NDArray[np.float64], counts: NDArray[np.float64], window_s: float) -> NDArray[np.float64]:
    """Return, for every moment, the events of the window that ends there (its start is left out).

    Args:
        times_s: Ascending Unix seconds; a count belongs to the stretch that ends at its time.
        counts: Events; NaN counts as none.
        window_s: Length of the window.
    """
    running = np.concatenate(([0.0], np.nancumsum(counts)))
    begin = np.searchsorted(times_s, times_s - window_s + 1e-6, side="left")
    sums: NDArray[np.float64] = running[1:] - running[begin]
    return sums


def replay(
    times_s: NDArray[np.float64],
    bad: NDArray[np.float64],
    total: NDArray[np.float64],
    rules: Sequence[Rule],
    *,
    budget: float,
    min_bad: float,
) -> list[Replay]:
    """Apply rules to a history.

    Args:
        times_s: Ascending Unix seconds.
        bad: Bad events of each step.
        total: All events of each step.
        rules: The rules.
        budget: Allowed share of bad events.
        min_bad: Bad events that the long window must hold.
    """
    span = float(times_s[-1] - times_s[0]) if len(times_s) else 0.0
    found = []
    for rule in rules:
        failed = window_sums(times_s, bad, rule.long_s)
        hot = _above(failed, window_sums(times_s, total, rule.long_s), rule.factor * budget)
        short = window_sums(times_s, bad, rule.short_s), window_sums(times_s, total, rule.short_s)
        hot &= _above(*short, rule.factor * budget)
        enough = failed >= min_bad
        found.append(Replay(rule, hot & enough, hot & ~enough, complete=span >= rule.long_s))
    return found


def _above(bad: NDArray[np.float64], total: NDArray[np.float64], limit: float) -> NDArray[np.bool_]:
    """Tell where the ratio exceeds a limit; without events it does not."""
    # A product and no quotient: nothing to divide by is no error. The margin takes up the rounding of sums.
    above: NDArray[np.bool_] = (total > 0) & (bad > limit * total * (1 + 1e-12) + 1e-9)
    return above


def episodes(times_s: NDArray[np.float64], firing: NDArray[np.bool_]) -> list[Episode]:
    """Return the stretches in which a rule fired."""
    padded = np.concatenate(([False], firing, [False])).astype(np.int8)
    change = np.diff(padded)
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    return [
        Episode(float(times_s[start]), float(times_s[end]) if end < len(times_s) else None)
        for start, end in zip(starts, ends, strict=True)
    ]


def score(found: Sequence[Episode], incidents: Sequence[Incident], *, grace_s: float) -> Score:
    """Hold episodes against incidents.

    Args:
        found: Stretches of firing.
        incidents: Labelled trouble.
        grace_s: An alert that begins so long after the end of an incident is still about it (late, not false).
    """
    false = tuple(one for one in found if not any(_about(one, incident, grace_s) for incident in incidents))
    matches = []
    for incident in incidents:
        own = [one for one in found if _about(one, incident, grace_s)]
        detect = max(0.0, own[0].start_s - incident.start_s) if own else None
        ended = own[-1].end_s if own else None
        reset = max(0.0, ended - incident.end_s) if ended is not None and incident.end_s is not None else None
        matches.append(Match(incident, detect, reset))
    return Score(tuple(found), false, tuple(matches))


def _about(episode: Episode, incident: Incident, grace_s: float) -> bool:
    """Tell whether an episode overlaps an incident, or begins shortly after it."""
    starts_in_time = incident.end_s is None or episode.start_s <= incident.end_s + grace_s
    return starts_in_time and (episode.end_s is None or episode.end_s > incident.start_s)


def wilson(good: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson); (0, 1) when nothing was counted."""
    if total == 0:
        return 0.0, 1.0
    share, spread = good / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * (share * (1 - share) / total + spread / (4 * total)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)
